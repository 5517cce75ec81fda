"""Splits: which clips train, which test, and which of the training clips are held out to choose by.

Published numbers are often the best test accuracy of a run. Here there is always a validation part, the published one or else carved
from the training clips, so that nothing is chosen by looking at the test clips; training on all of `train` remains possible.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UserError, unknown
from ..motion.formats.split_names import WHOLE, Lists, pair, side
from ..words import plural
from .datasets import DATASETS, Dataset, fact
from .store import Entry, Store

LOW, HIGH = 0.15, 0.20
"""Share of the training clips that validate."""
SUBJECTS = 4
"""From this many training subjects on, whole subjects validate."""
GIVEN, RANDOM = WHOLE, "random"
"""Splits of user data: by its column `split` or its lists, and, where it has none, drawn."""
RANDOM_TEST = 0.2
SHOWN = 5
"""Names that a remark gives at most."""


@dataclass(frozen=True, eq=False)
class Split:
    """Sorted int64 indices into a store.

    Attributes:
        name: of the split.
        train, test: as the protocol says; disjoint.
        fit, validation: `train` in two parts.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    fit: np.ndarray
    validation: np.ndarray


def splits(store: Store) -> list[str]:
    """Names of the splits of a store: those of its data set, those its clips carry, ``given``, or else ``random``."""
    if store.dataset in DATASETS:
        return list(DATASETS[store.dataset].splits)
    names = sorted(_carried(store))
    column = set(_column(store))
    if GIVEN not in names and "train" in column and column & {"validation", "test"}:
        names.append(GIVEN)
    return names or [RANDOM]


def split(store: Store, name: str) -> Split:
    """One split of a store. The same store and name always give the same split.

    A clip that lists of the store put on both sides tests, and does not train. Where clips validate and none tests, they test.

    Raises:
        UserError: no such split, with the closest names; or no clip trains or none tests.
    """
    known = splits(store)
    if name not in known:
        raise unknown("split", name, known)
    carried = {} if store.dataset in DATASETS else _carried(store)
    if store.dataset in DATASETS:
        rule = DATASETS[store.dataset].splits[name]
        sides = [rule.side(e) for e in store.entries]
    elif name == RANDOM and RANDOM not in carried:
        sides = ["train"] * len(store)
        for i in _stratified(np.arange(len(store)), store.labels, RANDOM_TEST, _rng("test", name)):
            sides[i] = "test"
    elif (lists := carried.get(name)) is not None:
        sides = [lists.side(_listed(e)) for e in store.entries]
    else:
        sides = _column(store)
        if "test" not in sides:
            sides = ["test" if side == "validation" else side for side in sides]
    train, held, test = (
        np.array([i for i, s in enumerate(sides) if s == side], np.int64) for side in ("train", "validation", "test")
    )
    if name == RANDOM and len(train) and not len(test):
        largest = int(np.bincount(store.labels[store.labels >= 0], minlength=1).max())
        raise UserError(
            f"{store.folder}: split {name!r} cannot be drawn: the largest class has {plural(largest, 'clip')}, too few to put one aside for "
            "testing; add clips, or say train or test in a column split of the table"
        )
    if not len(train) or not len(test):
        raise UserError(
            f"{store.folder}: split {name!r} has {len(train)} training and {len(test)} test clips; is the data complete?"
        )
    if not len(held):
        held = _carve(store, train, _rng("validation", name))
        return _assemble(name, train, test, held)
    return _assemble(name, np.union1d(train, held), test, held)


def subset(whole: Split, ratio: float, seed: int, labels: np.ndarray | None = None) -> Split:
    """A split with a part of its training clips, for semi-supervised protocols (1, 5, 10, 20 %).

    Args:
        whole: the split.
        ratio: share in (0, 1]; int(N * ratio) clips, at least 1, are drawn from `train`.
        seed: of the draw.
        labels: `(N of the store,)` classes: draw the same share of every class, at least one clip each. None: plainly at random,
            as published.

    Returns:
        The drawn clips as `train`; each stays in `fit` or `validation` as it was, but `fit` is never empty.

    Raises:
        UserError: a ratio outside (0, 1].
    """
    if not 0 < ratio <= 1:
        raise UserError(f"ratio {ratio}; expected a share of the training clips in (0, 1], for instance 0.1")
    rng = _rng("subset", seed)
    if labels is None:
        drawn = rng.permutation(whole.train)[: max(int(len(whole.train) * ratio), 1)]
    else:
        drawn = _stratified(whole.train, labels, ratio, rng, at_least=1)
    drawn = np.sort(drawn)
    held = np.intersect1d(drawn, whole.validation)
    return _assemble(whole.name, drawn, whole.test, held if len(held) < len(drawn) else drawn[:0])


def check(store: Store, strict: bool = False) -> list[str]:
    """What a store's data set should hold and this one does not, a line each; empty when all is there.

    Of a store of no known data set: what is doubtful in the splits and labels that its clips carry.

    Raises:
        UserError: with `strict`, the first such line.
    """
    lines = _differences(store, DATASETS[store.dataset]) if store.dataset in DATASETS else _remarks(store)
    if strict and lines:
        raise UserError(lines[0])
    return lines


def _differences(store: Store, known: Dataset) -> list[str]:
    """Where numbers of clips are not the published ones."""
    lines: list[str] = []
    if known.clips is not None and known.clips != len(store):
        lines.append(f"{store.name}: {plural(len(store), 'clip')}; {known.title} has {known.clips}")
    for name, rule in known.splits.items():
        sides = [rule.side(e) for e in store.entries]
        parts = ("train", "test") if rule.validation is None else ("train", "validation", "test")
        found = tuple(sides.count(part) for part in parts)
        if rule.counts is not None and found != rule.counts:
            has, expected = (" / ".join(map(str, numbers)) for numbers in (found, rule.counts))
            lines.append(f"{store.name}: split {name} has {has} clips; expected {expected}")
    return lines


def _assemble(name: str, train: np.ndarray, test: np.ndarray, held: np.ndarray) -> Split:
    return Split(name, train, test, np.setdiff1d(train, held), held)


def _rng(*key: object) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little"))


def _carve(store: Store, train: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The training clips that validate: those of whole subjects where there are enough, else a share of every class."""
    subjects = [store.entries[i].subject for i in train]
    if None not in subjects and len(set(subjects)) >= SUBJECTS:
        held = _whole_subjects(np.array(subjects), rng)
        labels = store.labels[train]
        if set(labels[held]) <= set(labels[~held]):  # otherwise classes that only they show would not be learned
            return train[held]
    held = _stratified(train, store.labels, (LOW + HIGH) / 2, rng)
    return np.sort(held if len(held) or len(train) < 2 else train[-1:])


def _whole_subjects(subjects: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`(N,)` bool: clips of drawn subjects that make up `LOW` to `HIGH` of all, or of the one subject that comes closest."""
    names, counts = np.unique(subjects, return_counts=True)
    chosen: list[int] = []
    for i in rng.permutation(len(names)):
        taken = counts[chosen].sum()
        if taken < LOW * len(subjects) and taken + counts[i] <= HIGH * len(subjects):
            chosen.append(int(i))
    wanted = len(subjects) * (LOW + HIGH) / 2
    best = min([chosen, *([i] for i in range(len(names)))], key=lambda c: abs(counts[c].sum() - wanted))
    return np.isin(subjects, names[best])


def _stratified(indices: np.ndarray, labels: np.ndarray, share: float, rng: np.random.Generator, at_least: int = 0) -> np.ndarray:
    """A share of each class of `indices` (rounded), in no order; never a whole class unless `at_least` says so."""
    parts = []
    for label in np.unique(labels[indices]):
        own = rng.permutation(indices[labels[indices] == label])
        most = len(own) if at_least else len(own) - 1
        parts.append(own[: min(max(round(len(own) * share), at_least), most)])
    return np.concatenate(parts) if parts else indices[:0]


def sizes(store: Store) -> list[str]:
    """For each split of a store, in words, how many of its clips are for what."""
    lines: list[str] = []
    for name in splits(store):
        try:
            found = split(store, name)
        except UserError as error:
            lines.append(str(error))
            continue
        parts = f"{len(found.train)} train ({len(found.validation)} of them validate), {len(found.test)} test"
        lines.append(f"split {name}: {parts}")
    return lines


def _listed(entry: Entry) -> Sequence[str]:
    """The lists of its data set's file that a clip is in."""
    names = entry.meta.get("splits", ())
    return [str(n) for n in names] if isinstance(names, list | tuple) else ()


def _carried(store: Store) -> dict[str, Lists]:
    """The splits that the lists of the clips make up."""
    return pair({name for e in store.entries for name in _listed(e)})


def _column(store: Store) -> list[str | None]:
    """What each clip says itself of its side."""
    return [side(fact(e, "split") or "") for e in store.entries]


def _remarks(store: Store) -> list[str]:
    """What a person should know of the splits that clips carry, lists that make no pair, and clips that are on both sides of one; and of
    labels that leave most classes empty."""
    found = _carried(store)
    names = {name for e in store.entries for name in _listed(e)}
    used = {name for lists in found.values() for name in lists.train + lists.validation + lists.test}
    lines: list[str] = []
    if names - used:
        shown = ", ".join(sorted(names - used)[:SHOWN]) + (", ..." if len(names - used) > SHOWN else "")
        offer = "" if found else f"; the split {RANDOM!r} is there instead"
        lines.append(f"{store.name}: lists that make no pair such as x_train and x_test, and are not used: {shown}{offer}")
    empty = len(store.classes) - len({e.label for e in store.entries if e.label is not None})
    if empty > max(10, len(store.classes) // 2):
        lines.append(f"{store.name}: {empty} of {len(store.classes)} classes have no clip; are all labels right, the largest too?")
    for name, lists in sorted(found.items()):
        both = [e.id for e in store.entries if lists.overlaps(_listed(e))]
        if both:
            shown = ", ".join(both[:SHOWN]) + (", ..." if len(both) > SHOWN else "")
            lines.append(f"{store.name}: split {name}: {len(both)} clips train and test; they only test: {shown}")
    return lines
