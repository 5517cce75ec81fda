"""What people call the parts of a split: ``train``, ``x_val``, ``xsub-Training``, ``test3``; and which lists belong together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SIDES = ("train", "validation", "test")
_WORDS = {
    "train": ("train", "training", "trn", "trainval", "trainvalid"),
    "validation": (
        "val",
        "valid",
        "validation",
        "validate",
        "validating",
        "vld",
        "dev",
        "devel",
        "development",
        "eval",
        "evaluation",
    ),
    "test": ("test", "testing", "tst"),
}
_SIDE = {word: side for side, words in _WORDS.items() for word in words}
_SHORT = {"tr": "train", "va": "validation", "te": "test"}
"""Read only where nothing else in the name tells: ``tr`` is Turkish too."""
_GLUED = sorted(_SIDE, key=len, reverse=True)
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ENDS = " _-./:"
_FILLING = frozenset("set data split list part subset samples clips videos ids".split())
WHOLE = "given"
"""The split of lists that are called ``train`` and ``test`` and no more."""


@dataclass(frozen=True)
class Lists:
    """Lists that make up one split, by their names. There is always one that trains and one that tests.

    Attributes:
        train, validation, test: names as the file has them; `validation` may be empty.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def side(self, carried: Iterable[str]) -> str | None:
        """Where a clip belongs that is in the lists `carried`: it tests if any of them tests, then it validates, then it trains."""
        names = set(carried)
        return next((s for s in ("test", "validation", "train") if not names.isdisjoint(getattr(self, s))), None)

    def overlaps(self, carried: Iterable[str]) -> bool:
        """Whether such a clip is in a list that tests and in one that does not."""
        names = set(carried)
        return not names.isdisjoint(self.test) and not names.isdisjoint(self.train + self.validation)


def side(text: str) -> str | None:
    """One of `SIDES` for a word such as ``Training`` or ``dev``, whatever its case and the blanks around it; None for any other."""
    word = text.strip().casefold()
    return _SIDE.get(word) or _SHORT.get(word)


def pair(names: Iterable[str]) -> dict[str, Lists]:
    """The splits that lists of such names make up, by the name of each.

    ``x_train`` belongs to ``x_test`` and ``x_val``, wherever in a name the word stands and whatever is between: the rest of the name is
    that of the split (`WHOLE` where there is no rest, ``split1`` where it is a number). A list ``train`` without a rest serves
    every other that has none (``test_seen``, ``test_unseen``), and so do ``val`` and ``test``. Where nothing tests, the validation
    list does, which is how PySKL's users call it. Names that make no pair are not in any of the splits.
    """
    called: dict[str, str] = {}
    groups: dict[str, dict[str, list[str]]] = {}
    glued: set[str] = set()
    for name in sorted(set(names)):
        found = _parts(name)
        if found is not None:
            rest, part, plain = found
            key = re.sub(r"[\W_]+", "_", rest).casefold()
            called.setdefault(key, rest)
            groups.setdefault(key, {}).setdefault(part, []).append(name)
            if not plain:
                glued.add(key)
    shared = groups.pop(WHOLE, {})
    lent = False
    for key, group in groups.items():
        whole = "train" in group and len(group) > 1
        if not whole and key not in glued:
            own = set(group)
            for part in shared:
                group.setdefault(part, shared[part])
            lent = lent or ("test" in own and "train" in shared)
    if shared and not (lent and "test" not in shared):  # otherwise its validation list belongs to the tests of the others
        groups[WHOLE] = shared
    splits: dict[str, Lists] = {}
    for key, group in groups.items():
        train, validation, test = (tuple(group.get(part, ())) for part in SIDES)
        if not test:
            validation, test = (), validation
        if train and test:
            splits[called[key]] = Lists(train, validation, test)
    return splits


def _parts(name: str) -> tuple[str, str, bool] | None:
    """What is left of a name without the word of its side, the side, and whether it is a word of its own; None where nothing tells it."""
    tokens = list(_TOKEN.finditer(name))
    for table in (_SIDE, _SHORT):
        found = next((t for t in reversed(tokens) if t[0].casefold() in table), None)
        if found is not None:
            return _rest(name[: found.start()], name[found.end() :]), table[found[0].casefold()], True
    low = name.casefold()
    for word in _GLUED:  # xsubtrain, trainset: they are a split only if another list has the same rest
        if low.endswith(word):
            return _rest(name[: -len(word)], ""), _SIDE[word], False
        if low.startswith(word):
            return _rest("", name[len(word) :]), _SIDE[word], False
    return None


def _rest(before: str, after: str) -> str:
    before, after = before.rstrip(_ENDS), after.lstrip(_ENDS)
    rest = (f"{before}_{after}" if before and after else before or after).strip(_ENDS)
    if not rest or rest.casefold() in _FILLING:
        return WHOLE
    return f"split{rest}" if rest.isdecimal() else rest
