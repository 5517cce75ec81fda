"""Protocols over several runs (seeds) of one recipe: one table, one metrics.json, one report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..data.prepared import PreparedClips
from ..data.splits import Split
from ..data.splits import split as split_of
from ..data.store import Store
from ..errors import UserError
from ..files import write_json
from ..motion.clip import Clip
from ..training.progress import counting
from ..words import plural
from . import protocols
from .checks import check_alike, check_clips, check_folders, check_pairs, weights_of
from .fusion import fused_probe
from .kept import KeptScores
from .names import ALL, FUSED, MEANING, MEASURES, PROTOCOLS, Weights, check_names, chosen
from .protocols import Score, Task, linear_score, shares_told
from .published import PUBLISHED_LINEAR
from .recipes import METHODS
from .run import Trained, check_fits
from .shared import Features
from .supervised import Plan

Part = Literal["test", "validation"]
"""Which clips are scored. ``validation``: `fit` trains and the test clips are not touched, to choose between recipes."""


@dataclass(frozen=True)
class Row:
    """One protocol over all runs.

    Attributes:
        protocol: its name. scores: one a run.
    """

    protocol: str
    scores: tuple[Score, ...]

    @property
    def mean(self) -> float:
        """Percent, over runs."""
        return float(np.mean([s.accuracy for s in self.scores]))

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over runs; None for a single one."""
        return float(np.std([s.accuracy for s in self.scores], ddof=1)) if len(self.scores) > 1 else None

    def to_json(self) -> dict[str, Any]:
        """Numbers of `metrics.json`."""
        return {
            "mean": round(self.mean, 3),
            "spread": None if self.spread is None else round(self.spread, 3),
            "runs": [round(s.accuracy, 3) for s in self.scores],
            "seconds": [round(s.seconds, 2) for s in self.scores],
            "details": [s.details for s in self.scores],
        }


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        name: of the task. classes: names. part: which clips were scored.
        split: rows of the store; where `part` is ``validation``, those that fitted are `train` and those that were scored are `test`.
        rows: one a protocol. features: `(N, D)` of the first run, for pictures. truth: `(N,)` of the clips that were scored.
        runs: their folders. fused: folders of the runs they were fused with. missing: protocols that are still to be measured.
        weights: of the runs: of their last step, or averaged over their steps.
    """

    name: str
    classes: tuple[str, ...]
    split: Split
    rows: tuple[Row, ...]
    features: np.ndarray | None
    truth: np.ndarray
    runs: tuple[str, ...]
    part: Part = "test"
    fused: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    weights: Literal["average", "last"] = "last"

    def row(self, protocol: str) -> Row | None:
        """The row of a protocol, if it was run."""
        return next((r for r in self.rows if r.protocol == protocol), None)

    def to_json(self) -> dict[str, Any]:
        """`metrics.json`: percent of the clips that were scored, with the three headline numbers by name."""
        mean = {r.protocol: round(r.mean, 3) for r in self.rows}
        return {
            "task": self.name,
            "part": self.part,
            "unit": f"percent of {self.part} clips",
            "weights": self.weights,
            "clips": {
                "train": len(self.split.train),
                "validation": len(self.split.validation),
                "test": len(self.split.test) if self.part == "test" else 0,
            },
            "runs": list(self.runs),
            "fused_with": list(self.fused),
            "classes": list(self.classes),
            "missing": list(self.missing),
            "linear_probe": {
                "trained": mean.get("linear"),
                "random_weights": mean.get("random-linear"),
                "raw_positions": mean.get("raw-linear"),
            },
            "nearest_neighbour": {
                "trained": mean.get("knn"),
                "random_weights": mean.get("random-knn"),
                "raw_positions": mean.get("raw-knn"),
            },
            "supervised": mean.get("scratch"),
            "fine_tuned": mean.get("finetune"),
            "protocols": {r.protocol: r.to_json() for r in self.rows},
        }


def part_of(split: Split, part: Part) -> Split:
    """What trains and what is scored of a split: for ``validation`` its `fit` and its `validation`."""
    return split if part == "test" else Split(split.name, split.fit, split.validation, split.fit, split.validation)


def make_task(trained: Trained, store: Store, split: str | None, part: Part = "test", *, quiet: bool = True) -> Task:
    """The store's clips, prepared as the run prescribes, with a split; for ``validation`` without the test clips.

    Without a split all clips that have a label train, and none tests.

    Raises:
        UserError: unknown split, another skeleton, no clips to score, or clips without labels.
    """
    check_fits(trained, store)
    if split is None:
        rows, none = np.flatnonzero(store.labels >= 0), np.zeros(0, np.int64)
        if not len(rows):
            raise UserError(f"{store.folder}: none of its {plural(len(store), 'clip')} has a label; classifiers learn from labels")
        clips = _prepared(trained, store, rows, quiet)
        every = np.arange(len(rows))
        all_train = Split("all", every, none, every, none)
        return Task(clips, store.labels[rows], store.classes, all_train, store.name, store.skeleton, *_as_read(store, rows))
    whole = split_of(store, split)
    own = part_of(whole, part)
    if not len(own.test):
        raise UserError(
            f"{store.folder}: split {split}: of {len(whole.train)} training clips none validate, so there is nothing to score; "
            "use more clips, or --part test"
        )
    used = np.concatenate([own.train, own.test])
    if (store.labels[used] < 0).any():
        raise UserError(
            f"{store.folder}: clip {store.entries[int(used[store.labels[used] < 0][0])].id} has no label; protocols need labels"
        )
    kept = np.arange(len(store)) if part == "test" else whole.train
    places = [np.searchsorted(kept, rows) for rows in (own.train, own.test, own.fit, own.validation)]
    clips = _prepared(trained, store, kept, quiet)
    name = f"{store.name} {split}" + ("" if part == "test" else ", validation part")
    own = Split(split, *places)
    return Task(clips, store.labels[kept], store.classes, own, name, store.skeleton, *_as_read(store, kept))


def _prepared(trained: Trained, store: Store, rows: np.ndarray, quiet: bool) -> list[Clip]:
    """Rows of a store as a run sees them."""
    with counting(len(rows), "clip", "preparing", shown=not quiet) as step:
        return list(PreparedClips(store, trained.recipe.prepare, rows, step))


def _as_read(store: Store, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`(N,)` seconds and units of a store's clips before anything is done to them."""
    entries = [store.entries[row] for row in rows]
    return np.array([entry.frames / entry.fps for entry in entries]), np.array([entry.units for entry in entries])


def evaluate(
    runs: Sequence[Trained],
    store: Store,
    split: str,
    wanted: Sequence[str],
    folder: Path,
    *,
    part: Part = "test",
    fuse: Sequence[Trained] = (),
    once: Collection[str] = (),
    epochs: int | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = lambda text: None,
    after: Callable[[Evaluation], None] = lambda found: None,
    quiet: bool = True,
) -> Evaluation:
    """Runs every wanted protocol once for each run; the run's seed is also the protocol's.

    Before the first one begins it is known that every one can run. What is measured is kept at once: the same question asked again, after
    an interruption perhaps, measures only what is missing (`kept.py`).

    Args:
        runs: of one recipe, different seeds. store, split: what is measured on.
        wanted: names in `PROTOCOLS`. folder: where classifiers train and scores are kept.
        part: which clips are scored. fuse: runs of another method, one for each of `runs`, in the same order and with the same seeds;
            they add the protocol ``linear-fused``.
        once: those of `wanted` that are measured for the first run only.
        epochs: of every trained classifier instead of the recipe's. device: of the networks. say: told of every score.
        after: given what is found so far after each protocol. quiet: show no progress of what is inside one.

    Raises:
        UserError: nothing to measure, an unknown protocol or split, streams that the method has not, runs that differ in their recipe or
            do not pair, data that does not fit, too few clips, or a folder with a classifier of something else.
    """
    if not runs or not wanted:
        raise UserError(f"nothing to measure: name at least one {'protocol' if runs else 'run'}; protocols: {', '.join(PROTOCOLS)}")
    first = runs[0]
    streams = streams_of(first)
    published = first.recipe.method in PUBLISHED_LINEAR
    wanted = list(dict.fromkeys(wanted))
    check_names(wanted, first.folder, streams, fusing=bool(fuse), published=published)
    check_alike(runs, store)
    if fuse:
        check_alike(fuse, store)
        check_pairs(runs, fuse)
        wanted = [*wanted, FUSED] if FUSED not in wanted else wanted
    weights = weights_of([*runs, *fuse], wanted)
    task = make_task(first, store, split, part, quiet=quiet)
    check_clips(runs, wanted, task, epochs)
    kept = KeptScores(folder, task, part, device, epochs, weights)
    # of each protocol, for each of its runs: the run, the one it is fused with, and the score where it was kept
    asked = {name: list(_asked(name, runs, fuse, kept, single=name in once)) for name in wanted}
    missing = {name: [run for run, _, score in them if score is None] for name, them in asked.items()}
    check_folders(missing, task, kept, folder, device, epochs)

    needed = [name for name in wanted if missing[name]]
    cache, other = Features(task, device, streams, _needed(needed, streams), quiet), None
    if FUSED in needed:
        alike = fuse[0].recipe.preparation == first.recipe.preparation
        theirs = task if alike else make_task(fuse[0], store, split, part, quiet=quiet)
        other = Features(theirs, device, streams_of(fuse[0]), _needed([FUSED], streams_of(fuse[0])), quiet)
    evaluation = Evaluation(
        task.name,
        task.classes,
        part_of(split_of(store, split), part),
        (),
        None,
        task.labels[task.split.test],
        tuple(str(r.folder) for r in runs),
        part,
        tuple(str(r.folder) for r in fuse),
        tuple(wanted),
        "average" if first.averaged else "last",
    )
    for name in wanted:
        scores = []
        for run, paired, score in asked[name]:
            took = "kept"
            if score is None:
                start = time.perf_counter()
                score = _measure(name, run, cache, other, paired, folder / kept.name(name, run), epochs, quiet)
                score = replace(score, protocol=name, seconds=time.perf_counter() - start)
                kept.write(score, run, paired)
                took = f"{score.seconds:.0f} s"
            scores.append(score)
            say(f"{MEANING[name]}, seed {run.seed}: {score.accuracy:.1f} %{_more(score)} ({took})")
        row = Row(name, tuple(scores))
        evaluation = replace(evaluation, rows=(*evaluation.rows, row), missing=evaluation.missing[1:])
        after(evaluation)
    if any(MEASURES[n].frozen and MEASURES[n].weights == "trained" for n in wanted if n in MEASURES):
        evaluation = replace(evaluation, features=cache.tables(first, "trained")[0][task.split.test])
    return evaluation


def _asked(
    name: str, runs: Sequence[Trained], fuse: Sequence[Trained], kept: KeptScores, single: bool
) -> Iterator[tuple[Trained, Trained | None, Score | None]]:
    """The runs that a protocol is measured for, with the run that each is fused with and the score that was kept."""
    raw = name in MEASURES and MEASURES[name].weights == "raw"  # no network, no seed, so one number
    for number, run in enumerate(runs[:1] if single or raw else runs):
        paired = fuse[number] if name == FUSED else None
        yield run, paired, kept.read(name, run, paired)


def streams_of(trained: Trained) -> tuple[str, ...]:
    """Names of the networks inside a run's encoder that can be used apart."""
    return METHODS[trained.recipe.method].streams


def _needed(measured: Collection[str], streams: tuple[str, ...]) -> dict[Weights, set[str | None]]:
    """The streams whose features will be asked for, of each kind of weights."""
    needed: dict[Weights, set[str | None]] = {}
    for name in measured:
        if name == FUSED:
            needed.setdefault("trained", set()).update(chosen(ALL, streams))
        elif MEASURES[name].frozen:
            needed.setdefault(MEASURES[name].weights, set()).update(chosen(MEASURES[name].streams, streams))
    return needed


def _measure(
    name: str,
    trained: Trained,
    cache: Features,
    other: Features | None,
    paired: Trained | None,
    folder: Path,
    epochs: int | None,
    quiet: bool,
) -> Score:
    """One protocol on one run; `other` and `paired` are the features and the run of the method that it is fused with."""
    task = cache.task
    if name == FUSED:
        assert other is not None
        assert paired is not None
        ours, theirs = cache.decisions(trained, "trained", ALL), other.decisions(paired, "trained", ALL)
        return fused_probe(ours, theirs, task.labels, task.split)
    measure = MEASURES[name]
    if not measure.frozen:
        return Plan.of(name, trained, task, epochs).measure(folder, cache.device, quiet)
    if measure.kind == "linear":
        return linear_score(cache.decisions(trained, measure.weights, measure.streams), task.labels, task.split)
    tables = cache.tables(trained, measure.weights, measure.streams)
    return protocols.knn_probe(tables, task.labels, task.split, standardise=measure.kind == "knn", device=cache.device)


def _more(score: Score) -> str:
    """What else a classifier is measured by, where it gives a value to each class."""
    return f" ({shares_told(score.details)})" if "per_class" in score.details else ""


def measured_data(store: Store, split: str) -> dict[str, Any]:
    """What was measured on, JSON-safe."""
    return {"name": store.name, "checksum": store.checksum, "split": split, "clips": len(store)}


def save_metrics(found: Evaluation, path: Path, **more: Any) -> None:
    """Writes `metrics.json` atomically."""
    write_json(path, json.loads(json.dumps({**found.to_json(), **more})))
