"""What the protocols of one evaluation share: features of its clips, and what linear probes say of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from . import protocols
from .names import FIRST, Weights, chosen
from .protocols import Decisions, Task, linear_decisions, mean_decisions
from .run import Trained

Stream = str | None
"""The name of a network inside an encoder; None: the whole of one that has no such networks."""
Key = tuple[str, str, Stream]
"""Folder of a run, kind of weights, stream."""


class Features:
    """Features of a task's clips and linear decisions, computed once for each run, kind of weights and stream, whoever asks first.

    Args:
        task: the clips. device: of the networks. streams: of the runs that will be asked for.
        needed: the streams that will be asked for of each kind of weights. The first question about a run answers for all of them, so that
            its weights are read once; what is not named here is computed when it is asked for. quiet: show no progress.
    """

    def __init__(
        self,
        task: Task,
        device: str,
        streams: tuple[str, ...],
        needed: Mapping[Weights, Collection[Stream]] | None = None,
        quiet: bool = True,
    ):
        self.task, self.device, self.streams, self.quiet = task, device, streams, quiet
        self._needed = needed or {}
        self._tables: dict[Key, np.ndarray] = {}
        self._decisions: dict[Key, Decisions] = {}
        self._positions: np.ndarray | None = None

    def tables(self, trained: Trained, weights: Weights, which: str = FIRST) -> list[np.ndarray]:
        """`(N, D)` of all clips of the task, for each stream that a measure is about; `weights` and `which` as in `Measure`."""
        return [self._table(trained, weights, stream) for stream in chosen(which, self.streams)]

    def decisions(self, trained: Trained, weights: Weights, which: str = FIRST) -> Decisions:
        """What linear probes on these say; of several streams their mean."""
        found = [self._decided(trained, weights, stream) for stream in chosen(which, self.streams)]
        return found[0] if len(found) == 1 else mean_decisions(found, self.task.labels, self.task.split)

    def _decided(self, trained: Trained, weights: Weights, stream: Stream) -> Decisions:
        key = _key(trained, weights, stream)
        if key not in self._decisions:
            self._decisions[key] = linear_decisions(self._table(trained, weights, stream), self.task.labels, self.task.split)
        return self._decisions[key]

    def _table(self, trained: Trained, weights: Weights, stream: Stream) -> np.ndarray:
        if weights == "raw":  # of no run
            if self._positions is None:
                self._positions = protocols.raw_positions(self.task)
            return self._positions
        if _key(trained, weights, stream) not in self._tables:
            self._see(trained, weights, dict.fromkeys((*self._needed.get(weights, ()), stream)))
        return self._tables[_key(trained, weights, stream)]

    def _see(self, trained: Trained, weights: Weights, streams: Collection[Stream]) -> None:
        encoder = trained.encoder(weights=weights == "trained").to(self.device)
        clips = protocols.resident(encoder, self.task.clips, trained.recipe.crop)
        for stream in streams:
            if _key(trained, weights, stream) in self._tables:
                continue
            part = encoder if stream is None else encoder.stream(stream)
            doing = " ".join(filter(None, (f"features, {weights} weights, seed {trained.seed}", stream)))
            table = trained.features(part, clips, weights=weights, doing=doing, quiet=self.quiet)
            self._tables[_key(trained, weights, stream)] = table


def _key(trained: Trained, weights: str, stream: Stream) -> Key:
    """Random weights follow from recipe and seed, which the folder stands for as well."""
    return str(trained.folder), weights, stream
