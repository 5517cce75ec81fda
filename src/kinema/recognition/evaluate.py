"""Protocols over several runs (seeds) of one recipe: one table, one metrics.json, one report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
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
from . import protocols
from .classifier import score_classifier, train_classifier
from .encoder import Encoder
from .fusion import fused_probe
from .names import ALL, FIRST, FUSED, MEANING, MEASURES, PROTOCOLS, Measure, Weights, check_names, chosen
from .protocols import Decisions, Score, Task, linear_decisions, linear_score, mean_decisions
from .published import PUBLISHED_LINEAR, lasting
from .recipes import METHODS, Recipe
from .run import Trained, check_fits

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
        runs: their folders. fused: folders of the runs they were fused with.
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


def make_task(trained: Trained, store: Store, split: str | None, part: Part = "test") -> Task:
    """The store's clips, prepared as the run prescribes, with a split; for ``validation`` without the test clips.

    Without a split all clips that have a label train, and none tests.

    Raises:
        UserError: unknown split, another skeleton, no clips to score, or clips without labels.
    """
    check_fits(trained, store)
    if split is None:
        rows, none = np.flatnonzero(store.labels >= 0), np.zeros(0, np.int64)
        if not len(rows):
            raise UserError(f"{store.folder}: none of its {len(store)} clips has a label; classifiers learn from labels")
        clips = list(PreparedClips(store, trained.recipe.prepare, rows))
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
    clips = list(PreparedClips(store, trained.recipe.prepare, kept))
    name = f"{store.name} {split}" + ("" if part == "test" else ", validation part")
    own = Split(split, *places)
    return Task(clips, store.labels[kept], store.classes, own, name, store.skeleton, *_as_read(store, kept))


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
) -> Evaluation:
    """Runs every wanted protocol once for each run; the run's seed is also the protocol's.

    Args:
        runs: of one recipe, different seeds. store, split: what is measured on.
        wanted: names in `PROTOCOLS`. folder: where classifiers train and results are cached; asking again repeats nothing.
        part: which clips are scored. fuse: runs of another method, one for each of `runs`, in the same order and with the same seeds;
            they add the protocol ``linear-fused``.
        once: those of `wanted` that are measured for the first run only.
        epochs: of every trained classifier instead of the recipe's. device: of the networks. say: told about progress.

    Raises:
        UserError: nothing to measure, an unknown protocol or split, streams that the method has not, runs that differ in their recipe or
            do not pair, data that does not fit.
    """
    if not runs or not wanted:
        raise UserError(f"nothing to measure: name at least one {'protocol' if runs else 'run'}; protocols: {', '.join(PROTOCOLS)}")
    first = runs[0]
    streams = streams_of(first)
    published = first.recipe.method in PUBLISHED_LINEAR
    check_names(wanted, first.folder, streams, fusing=bool(fuse), published=published)
    _check_alike(runs, store)
    if fuse:
        _check_alike(fuse, store)
        _check_pairs(runs, fuse)
        wanted = [*wanted, FUSED] if FUSED not in wanted else wanted
    task = make_task(first, store, split, part)
    cache = Features(task, device, streams)
    other = Features(make_task(fuse[0], store, split, part), device, streams_of(fuse[0])) if fuse else None
    rows = []
    for name in wanted:
        scores = []
        for number, trained in enumerate(runs):
            if number and (name in once or (name in MEASURES and MEASURES[name].weights == "raw")):
                continue  # raw: no network, no seed, so one number
            start = time.perf_counter()
            if name == FUSED:
                assert other is not None
                ours, theirs = cache.decisions(trained, "trained", ALL), other.decisions(fuse[number], "trained", ALL)
                score = fused_probe(ours, theirs, task.labels, task.split)
            else:
                kind = ("" if part == "test" else f"{part}-") + ("last-" if trained.last else "")
                place = Path(folder) / f"{name}-{kind}seed{trained.seed}"
                score = _measure(name, MEASURES[name], trained, cache, place, epochs)
            scores.append(replace(score, protocol=name, seconds=time.perf_counter() - start))
            say(f"{MEANING[name]}, seed {trained.seed}: {score.accuracy:.1f} %{_more(score)} ({scores[-1].seconds:.0f} s)")
        rows.append(Row(name, tuple(scores)))
    seen = any(MEASURES[n].frozen and MEASURES[n].weights == "trained" for n in wanted if n in MEASURES)
    shown = cache.tables(first, "trained")[0][task.split.test] if seen else None
    return Evaluation(
        task.name,
        task.classes,
        part_of(split_of(store, split), part),
        tuple(rows),
        shown,
        task.labels[task.split.test],
        tuple(str(r.folder) for r in runs),
        part,
        tuple(str(r.folder) for r in fuse),
        "average" if first.averaged else "last",
    )


def streams_of(trained: Trained) -> tuple[str, ...]:
    """Names of the networks inside a run's encoder that can be used apart."""
    return METHODS[trained.recipe.method].streams


def _check_alike(runs: Sequence[Trained], store: Store) -> None:
    """Raises UserError unless the runs can be averaged, and read the store."""
    for other in runs:
        if _but_precision(other.recipe) != _but_precision(runs[0].recipe):
            raise UserError(
                f"{other.folder}: another recipe than {runs[0].folder}; runs that are averaged may differ in their seed only"
            )
        check_fits(other, store)
    if len({r.seed for r in runs}) < len(runs):
        raise UserError("two of the runs have the same seed: their average would look more certain than it is")


def _but_precision(recipe: Recipe) -> Recipe:
    """What has to agree between runs that are averaged: each machine may have settled on a precision of its own."""
    return replace(recipe, precision="auto", supervision=replace(recipe.supervision, precision="auto"))


def _check_pairs(runs: Sequence[Trained], fuse: Sequence[Trained]) -> None:
    """Raises UserError unless the runs to fuse pair with the others in order, and are others."""
    if len(runs) != len(fuse):
        raise UserError(f"--fuse: {len(fuse)} runs for {len(runs)}; give one for each, in the same order")
    for one, other in zip(runs, fuse, strict=True):
        if one.seed != other.seed:
            raise UserError(
                f"--fuse {other.folder}: has seed {other.seed}, but is paired with {one.folder} of seed {one.seed}; "
                "give runs of the same seeds in the same order"
            )
        if one.folder.resolve() == other.folder.resolve():
            raise UserError(f"--fuse {other.folder}: is paired with itself; give a run of another method")


Key = tuple[str, str, str | None]
"""Folder of a run, kind of weights, stream."""


class Features:
    """Features of a task's clips and what linear probes say of them, computed once for each run, kind of weights and stream.

    Args:
        task: the clips. device: of the networks. streams: of the runs that will be asked for.
    """

    def __init__(self, task: Task, device: str, streams: tuple[str, ...]):
        self.task, self.device, self.streams = task, device, streams
        self._tables: dict[Key, np.ndarray] = {}
        self._decisions: dict[Key, Decisions] = {}

    def tables(self, trained: Trained, weights: Weights, which: str = FIRST) -> list[np.ndarray]:
        """`(N, D)` of all clips of the task, for each stream that a measure is about; `weights` and `which` as in `Measure`."""
        return [self._table(trained, weights, stream) for stream in chosen(which, self.streams)]

    def decisions(self, trained: Trained, weights: Weights, which: str = FIRST) -> Decisions:
        """What linear probes on these say; of several streams their mean."""
        found = [self._decided(trained, weights, stream) for stream in chosen(which, self.streams)]
        return found[0] if len(found) == 1 else mean_decisions(found, self.task.labels, self.task.split)

    def _decided(self, trained: Trained, weights: Weights, stream: str | None) -> Decisions:
        key = (str(trained.folder), weights, stream)
        if key not in self._decisions:
            self._decisions[key] = linear_decisions(self._table(trained, weights, stream), self.task.labels, self.task.split)
        return self._decisions[key]

    def _table(self, trained: Trained, weights: Weights, stream: str | None) -> np.ndarray:
        key = (str(trained.folder), weights, stream)
        if key not in self._tables:
            self._tables[key] = protocols.raw_positions(self.task) if weights == "raw" else self._seen(trained, weights, stream)
        return self._tables[key]

    def _seen(self, trained: Trained, weights: Weights, stream: str | None) -> np.ndarray:
        encoder = trained.encoder(weights=weights == "trained")
        part = encoder if stream is None else encoder.stream(stream)
        return trained.features(part.to(self.device), self.task.clips, weights=weights)


def _measure(name: str, measure: Measure, trained: Trained, cache: Features, folder: Path, epochs: int | None) -> Score:
    task = cache.task
    if measure.frozen:
        if measure.kind == "linear":
            return linear_score(cache.decisions(trained, measure.weights, measure.streams), task.labels, task.split)
        tables = cache.tables(trained, measure.weights, measure.streams)
        return protocols.knn_probe(tables, task.labels, task.split, standardise=measure.kind == "knn", device=cache.device)
    how, frozen = trained.recipe.supervision.reopened(), measure.kind == "linear-published"
    if frozen:
        how = PUBLISHED_LINEAR[trained.recipe.method](how)
    if epochs is not None:
        how = lasting(how, epochs)
    if measure.weights == "random":
        how = replace(how, layer_decay=1.0)
    encoder: Encoder = trained.encoder(weights=measure.weights == "trained", drop_path=0.0 if frozen else how.drop_path)
    rows = task.split.train if measure.labels == 1 else protocols.few_labels(task, measure.labels, trained.seed)
    model, how = train_classifier(
        name, trained, encoder.alone().to(cache.device), task, how, folder, seed=trained.seed, rows=rows, frozen=frozen
    )
    return score_classifier(name, model, task, how, rows=len(rows), epochs=how.epochs)


def _more(score: Score) -> str:
    """What else a classifier is measured by, where it gives a value to each class."""
    d = score.details
    if "top5" not in d:
        return ""
    return f" (top 5 {d['top5']:.1f}; over classes {d['per_class']:.1f} and {d['per_class_top5']:.1f})"


def measured_data(store: Store, split: str) -> dict[str, Any]:
    """What was measured on, JSON-safe."""
    return {"name": store.name, "checksum": store.checksum, "split": split, "clips": len(store)}


def save_metrics(found: Evaluation, path: Path, **more: Any) -> None:
    """Writes `metrics.json` atomically."""
    write_json(path, json.loads(json.dumps({**found.to_json(), **more})))
