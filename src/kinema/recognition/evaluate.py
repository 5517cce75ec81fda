"""Protocols over several runs (seeds) of one recipe: one table, one metrics.json, one report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.prepared import PreparedClips
from ..data.splits import Split
from ..data.splits import split as split_of
from ..data.store import Store
from ..errors import UserError, unknown
from ..files import write_json
from . import protocols
from .encoder import Encoder
from .protocols import Score, Task
from .run import Trained, check_fits

SEMI = {"semi-1": 0.01, "semi-5": 0.05, "semi-10": 0.1, "semi-20": 0.2}
PROTOCOLS = (
    "linear",
    "knn",
    "random-linear",
    "random-knn",
    "raw-linear",
    "raw-knn",
    "linear-published",
    "finetune",
    "scratch",
    *SEMI,
)
"""What can be asked for. ``random-*`` measure the same network untrained, ``raw-*`` prepared positions without any network."""

MEANING = {
    "linear": "linear probe on frozen features",
    "knn": "1-nearest neighbour on frozen features",
    "random-linear": "linear probe, network with random weights",
    "random-knn": "1-NN, network with random weights",
    "raw-linear": "linear probe on prepared positions",
    "raw-knn": "1-NN on prepared positions",
    "linear-published": "MAMP's linear probe (batch norm, SGD, augmented clips)",
    "finetune": "fine-tuned, everything trained",
    "scratch": "same network trained from scratch",
    "semi-1": "fine-tuned on 1 % of the labels",
    "semi-5": "fine-tuned on 5 % of the labels",
    "semi-10": "fine-tuned on 10 % of the labels",
    "semi-20": "fine-tuned on 20 % of the labels",
}


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
        task: without its clips. rows: one a protocol. features: `(N_test, D)` of the first run, for pictures. runs: their folders.
    """

    name: str
    classes: tuple[str, ...]
    split: Split
    rows: tuple[Row, ...]
    features: np.ndarray | None
    truth: np.ndarray
    runs: tuple[str, ...]

    def row(self, protocol: str) -> Row | None:
        """The row of a protocol, if it was run."""
        return next((r for r in self.rows if r.protocol == protocol), None)

    def to_json(self) -> dict[str, Any]:
        """`metrics.json`: percent of test clips, with the three headline numbers by name."""
        mean = {r.protocol: round(r.mean, 3) for r in self.rows}
        return {
            "task": self.name,
            "unit": "percent of test clips",
            "clips": {"train": len(self.split.train), "validation": len(self.split.validation), "test": len(self.split.test)},
            "runs": list(self.runs),
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


def make_task(trained: Trained, store: Store, split: str) -> Task:
    """The store's clips, prepared as the run prescribes, with a split.

    Raises:
        UserError: unknown split, another skeleton, or clips without labels.
    """
    check_fits(trained, store)
    chosen = split_of(store, split)
    used = np.concatenate([chosen.train, chosen.test])
    if (store.labels[used] < 0).any():
        raise UserError(
            f"{store.folder}: clip {store.entries[int(used[store.labels[used] < 0][0])].id} has no label; protocols need labels"
        )
    clips = list(PreparedClips(store, trained.recipe.preparation))
    return Task(clips, store.labels, store.classes, chosen, f"{store.name} {split}")


def evaluate(
    runs: Sequence[Trained],
    store: Store,
    split: str,
    wanted: Sequence[str],
    folder: Path,
    *,
    once: Collection[str] = (),
    epochs: int | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Runs every wanted protocol once for each run; the run's seed is also the protocol's.

    Args:
        runs: of one recipe, different seeds. store, split: what is measured on.
        wanted: names in `PROTOCOLS`. folder: where classifiers train and results are cached; asking again repeats nothing.
        once: those of `wanted` that are measured for the first run only.
        epochs: of every trained classifier instead of the recipe's. device: of the networks. say: told about progress.

    Raises:
        UserError: nothing to measure, an unknown protocol or split, runs that differ in their recipe, data that does not fit.
    """
    if not runs or not wanted:
        raise UserError(f"nothing to measure: name at least one {'protocol' if runs else 'run'}; protocols: {', '.join(PROTOCOLS)}")
    for name in wanted:
        if name not in PROTOCOLS:
            raise unknown("protocol", name, PROTOCOLS)
    first = runs[0]
    for other in runs[1:]:
        if other.recipe != first.recipe:
            raise UserError(
                f"{other.folder}: another recipe than {first.folder}; runs that are averaged may differ in their seed only"
            )
        check_fits(other, store)
    if len({r.seed for r in runs}) < len(runs):
        raise UserError("two of the runs have the same seed: their average would look more certain than it is")
    task = make_task(first, store, split)
    cache = Features(task, device)
    rows = []
    for name in wanted:
        scores = []
        for number, trained in enumerate(runs):
            if number and (name in once or name.startswith("raw-")):
                continue  # raw: no network, no seed, so one number
            start = time.perf_counter()
            score = _measure(name, trained, task, cache, Path(folder) / f"{name}-seed{trained.seed}", epochs)
            scores.append(replace(score, protocol=name, seconds=time.perf_counter() - start))
            say(f"{MEANING[name]}, seed {trained.seed}: {score.accuracy:.1f} % ({scores[-1].seconds:.0f} s)")
        rows.append(Row(name, tuple(scores)))
    shown = cache.of(first, weights=True)[task.split.test] if "linear" in wanted or "knn" in wanted else None
    truth = task.labels[task.split.test]
    return Evaluation(task.name, task.classes, task.split, tuple(rows), shown, truth, tuple(str(r.folder) for r in runs))


class Features:
    """Features of a task's clips, computed once for each run and kind of weights."""

    def __init__(self, task: Task, device: str):
        self.task, self.device = task, device
        self._known: dict[tuple[str, bool], np.ndarray] = {}
        self._raw: np.ndarray | None = None

    def of(self, trained: Trained, *, weights: bool) -> np.ndarray:
        """`(N, D)` of all clips of the task."""
        key = (str(trained.folder), weights)
        if key not in self._known:
            encoder = trained.encoder(weights=weights).to(self.device)
            recipe = trained.recipe
            table = protocols.features(
                encoder,
                self.task.clips,
                pooling=recipe.pooling,
                crop=recipe.crop,
                views=recipe.probe_views,
                precision=recipe.precision,
            )
            if not np.isfinite(table).all():
                what = "trained" if weights else "random"
                raise UserError(
                    f"{trained.folder}: with its {what} weights the features of some clips are not finite; "
                    "did the training diverge? Train again with a lower rate (--lr), or in full precision (--precision 32)"
                )
            self._known[key] = table
        return self._known[key]

    def raw(self) -> np.ndarray:
        """`(N, frames M J C)` prepared positions."""
        if self._raw is None:
            self._raw = protocols.raw_positions(self.task)
        return self._raw


def _measure(name: str, trained: Trained, task: Task, cache: Features, folder: Path, epochs: int | None) -> Score:
    if name.startswith("raw-") or name.endswith(("linear", "knn")):
        table = cache.raw() if name.startswith("raw-") else cache.of(trained, weights=not name.startswith("random-"))
        probe = protocols.linear_probe if name.endswith("linear") else protocols.knn_probe
        return probe(table, task.labels, task.split)
    how = trained.recipe.supervision if epochs is None else replace(trained.recipe.supervision, epochs=epochs)
    if name == "linear-published":
        how = protocols.published_linear(how, epochs=100 if epochs is None else epochs)
        return protocols.train_classifier(
            name, _on(trained.encoder(), cache.device), task, how, folder, seed=trained.seed, frozen=True
        )
    if name == "scratch":
        how = replace(how, layer_decay=1.0)
    encoder = trained.encoder(weights=name != "scratch", drop_path=how.drop_path)
    rows = protocols.few_labels(task, SEMI[name], trained.seed) if name in SEMI else None
    return protocols.train_classifier(name, _on(encoder, cache.device), task, how, folder, seed=trained.seed, rows=rows)


def _on(encoder: Encoder, device: str) -> Encoder:
    return encoder.to(torch.device(device))


def save_metrics(found: Evaluation, path: Path, **more: Any) -> None:
    """Writes `metrics.json` atomically."""
    write_json(path, json.loads(json.dumps({**found.to_json(), **more})))
