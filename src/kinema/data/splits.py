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
from ..words import plural
from .datasets import DATASETS, fact
from .store import Store

LOW, HIGH = 0.15, 0.20
"""Share of the training clips that validate."""
SUBJECTS = 4
"""From this many training subjects on, whole subjects validate."""
GIVEN, RANDOM = "given", "random"
"""Splits of user data: by its column `split`, and, where it has none, drawn."""
RANDOM_TEST = 0.2


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
    names = sorted({_base(name) for e in store.entries for name in e.meta.get("splits", ())})
    if any(fact(e, "split") for e in store.entries):
        names.append(GIVEN)
    return names or [RANDOM]


def split(store: Store, name: str) -> Split:
    """One split of a store. The same store and name always give the same split.

    Raises:
        UserError: no such split, with the closest names; or no clip trains or none tests.
    """
    if name not in splits(store):
        raise unknown("split", name, splits(store))
    if store.dataset in DATASETS:
        rule = DATASETS[store.dataset].splits[name]
        sides = [rule.side(e) for e in store.entries]
    elif name == GIVEN:
        sides = [fact(e, "split") for e in store.entries]
    elif name == RANDOM:
        sides = ["train"] * len(store)
        for i in _stratified(np.arange(len(store)), store.labels, RANDOM_TEST, _rng("test", name)):
            sides[i] = "test"
    else:
        sides = [_carried(e.meta.get("splits", ()), name) for e in store.entries]
    train, held, test = (
        np.array([i for i, s in enumerate(sides) if s == side], np.int64) for side in ("train", "validation", "test")
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

    Raises:
        UserError: with `strict`, the first such line.
    """
    if store.dataset not in DATASETS:
        return []
    known, lines = DATASETS[store.dataset], []
    if known.clips is not None and known.clips != len(store):
        lines.append(f"{store.name}: {plural(len(store), 'clip')}; {known.title} has {known.clips}")
    for name, rule in known.splits.items():
        sides = [rule.side(e) for e in store.entries]
        parts = ("train", "test") if rule.validation is None else ("train", "validation", "test")
        found = tuple(sides.count(part) for part in parts)
        if rule.counts is not None and found != rule.counts:
            has, expected = (" / ".join(map(str, numbers)) for numbers in (found, rule.counts))
            lines.append(f"{store.name}: split {name} has {has} clips; expected {expected}")
    if strict and lines:
        raise UserError(lines[0])
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


def _base(name: str) -> str:
    """``xsub`` of ``xsub_train``."""
    return name.rpartition("_")[0] or name


def _carried(names: Sequence[str], wanted: str) -> str | None:
    """The side of a clip that carries names such as ``xsub_train`` and ``xsub_val``; PySKL's val is what it tests on."""
    sides = {"train": "train", "val": "test", "test": "test"}
    return next((sides.get(n.rpartition("_")[2]) for n in names if _base(n) == wanted), None)
