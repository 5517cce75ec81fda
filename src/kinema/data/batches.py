"""Batches of clips that live on the device: gathered, cropped, resized and augmented there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..motion.clip import Clip
from .augment import Augmentation, Draws, crop_resize


@dataclass(frozen=True, eq=False)
class _Batch:
    """Tensors of the same `B` clips; `index` says which."""

    def __len__(self) -> int:
        return len(self.index)  # type: ignore[attr-defined]

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        return type(self)(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})


@dataclass(frozen=True, eq=False)
class ClipBatch(_Batch):
    """Clips of one length.

    Attributes:
        positions: `(B, T, M, J, C)` float32; absent people are zero.
        present: `(B, M)` bool, the person has a joint that is not zero.
        label: `(B,)` int64 class, -1 unknown.
        index: `(B,)` int64 place in the sequence of clips that the source was made of.
    """

    positions: Tensor
    present: Tensor
    label: Tensor
    index: Tensor


@dataclass(frozen=True, eq=False)
class ViewBatch(_Batch):
    """Two views of the same clips, each cropped and augmented by draws of its own.

    Attributes:
        first, second: `(B, T, M, J, C)` float32. index: `(B,)` int64, as in `ClipBatch`.
    """

    first: Tensor
    second: Tensor
    index: Tensor


class Place(Draws, Protocol):
    """What of a training step is used here: its draws, where it lies in the run and which rows it works on."""

    @property
    def epoch(self) -> int:
        """Pass over the data from 0."""
        ...

    @property
    def step_in_epoch(self) -> int:
        """Step within the epoch."""
        ...

    @property
    def shard(self) -> int:
        """Which part of the global batch."""
        ...

    @property
    def shards(self) -> int:
        """Parts of the global batch."""
        ...


@dataclass(frozen=True)
class Crop:
    """Which part of a clip of `n` frames is taken, before it is resized (MAMP's rule; CMD pretrains with low 0.1).

    Training: p in U(low, high), length min(max(floor(n p), minimum), n), start uniform in 0 to n - length.
    Evaluation: the middle `evaluation` of the clip, int((1 - evaluation) n / 2) frames cut off at each end.
    """

    low: float = 0.5
    high: float = 1.0
    minimum: int = 64
    evaluation: float = 0.95

    def __post_init__(self) -> None:
        if not (0 <= self.low <= self.high <= 1 and 0 < self.evaluation <= 1 and self.minimum >= 1):
            raise UserError(f"{self}: expected 0 <= low <= high <= 1, 0 < evaluation <= 1 and minimum >= 1")

    def length(self, frames: Tensor, share: Tensor) -> Tensor:
        """`(B,)` int64 length of the piece for the drawn share p of clips of `frames` `(B,)`."""
        return torch.minimum((frames * share).floor().long().clamp(min=self.minimum), frames)

    def draw(self, frames: Tensor, step: Draws, purpose: str = "crop") -> tuple[Tensor, Tensor]:
        """`(B,)` random starts and lengths for clips of `frames` `(B,)`."""
        length = self.length(frames, step.uniform(f"{purpose}.share", (len(frames),), self.low, self.high).to(frames.device))
        room = frames - length
        start = (step.uniform(f"{purpose}.start", (len(frames),)).to(frames.device) * (room + 1)).long()
        return torch.minimum(start, room), length

    def middle(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """`(B,)` starts and lengths of the evaluation crop."""
        bias = ((1 - self.evaluation) * frames.double() / 2).long()
        return bias, frames - 2 * bias


@dataclass(frozen=True)
class _Second:
    """A step whose draws do not depend on those under the same purposes of the step itself."""

    step: Draws

    def uniform(self, purpose: str, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
        return self.step.uniform(f"second.{purpose}", shape, low, high)

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        return self.step.normal(f"second.{purpose}", shape)


class ResidentClips:
    """A source whose clips all lie on the device (the contract is `training.method.Source`).

    `batch` is a pure function of the step: the order of an epoch comes from (seed, epoch), all else from the step's own draws.

    Args:
        clips: of one skeleton and number of coordinates; each is read once, so a lazy sequence is fine.
        frames: `T` that every piece is resized to.
        people: `M`. Missing people are zero; of more people the first `people` are kept, in the clip's own order.
        batch_size: rows of one optimiser step over all processes and accumulated parts. The last, incomplete batch of an epoch is
            dropped; fewer clips than `batch_size` make one step an epoch, in which they repeat.
        crop: which part of a clip is taken.
        augment: applied in this order.
        seed: of the order of the clips. device: where they lie. shuffle: False keeps the order of `clips`.
        labels: class of each clip; default: `clip.label`, -1 where it has none.
        pairs: `batch` gives two views of each clip, see `views`.

    Raises:
        UserError: no clips, clips that do not fit each other, or more than the device's memory holds.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        frames: int,
        people: int,
        batch_size: int,
        crop: Crop | None = None,
        augment: Sequence[Augmentation] = (),
        seed: int = 0,
        device: torch.device | str = "cpu",
        shuffle: bool = True,
        labels: Sequence[int] | None = None,
        pairs: bool = False,
    ):
        if min(frames, people, batch_size) < 1:
            raise UserError(f"frames {frames}, people {people}, batch_size {batch_size}: each must be at least 1")
        if labels is not None and len(labels) != len(clips):
            raise UserError(f"{len(labels)} labels for {len(clips)} clips")
        self.frames, self.people, self.batch_size = frames, people, batch_size
        self.crop, self.augment, self.seed, self.shuffle = crop or Crop(), tuple(augment), seed, shuffle
        self.device, self.pairs = torch.device(device), pairs
        flat, lengths, found = _flatten(clips, people)
        try:
            self._flat = torch.from_numpy(flat).to(self.device)
        except torch.OutOfMemoryError as error:
            size = flat.nbytes / 2**30
            raise UserError(f"the clips take {size:.1f} GiB, more than {device} has free; use fewer clips or people") from error
        self._lengths = torch.tensor(lengths).to(self.device)
        self._starts = torch.tensor(np.concatenate([[0], np.cumsum(lengths)[:-1]])).to(self.device)
        self._labels = torch.tensor(found if labels is None else labels, dtype=torch.int64).to(self.device)
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps that make one epoch."""
        return max(len(self) // self.batch_size, 1)

    def order(self, epoch: int) -> Tensor:
        """`(N,)` int64 order of the clips in an epoch, on the CPU."""
        if self._order[0] != epoch:
            digest = hashlib.blake2b(repr(("order", self.seed, epoch)).encode(), digest_size=8).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
            self._order = (epoch, torch.randperm(len(self), generator=generator) if self.shuffle else torch.arange(len(self)))
        return self._order[1]

    def rows(self, step: Place) -> Tensor:
        """`(B,)` int64 clips of this step's shard, on the device.

        Raises:
            UserError: the batch cannot be cut into that many equal shards.
        """
        if self.batch_size % step.shards:
            raise UserError(f"a batch of {self.batch_size} cannot be cut into {step.shards} equal parts; choose a multiple")
        part = self.batch_size // step.shards
        first = step.step_in_epoch % self.steps_per_epoch * self.batch_size + step.shard * part
        rows = self.order(step.epoch)[torch.arange(first, first + part) % len(self)]
        if self.device.type == "cuda":
            rows = rows.pin_memory()
        return rows.to(self.device, non_blocking=True)

    def batch(self, step: Place) -> ClipBatch | ViewBatch:
        """The rows of this step's shard, cropped and augmented with the draws of the step."""
        if self.pairs:
            return self.views(step)
        rows = self.rows(step)
        batch = self._cut(rows, *self.crop.draw(self._lengths[rows], step))
        return replace(batch, positions=self._augmented(batch.positions, step))

    def views(self, step: Place) -> ViewBatch:
        """Two views of the rows of this step's shard; the second draws under purposes of its own."""
        rows = self.rows(step)

        def view(draws: Draws) -> Tensor:
            return self._augmented(self._piece(rows, *self.crop.draw(self._lengths[rows], draws)), draws)

        return ViewBatch(view(step), view(_Second(step)), rows)

    def ordered(self, batch_size: int | None = None) -> Iterator[ClipBatch]:
        """All clips once, in their own order, with the evaluation crop and without augmentation; the last batch may be smaller."""
        for rows in torch.arange(len(self), device=self.device).split(batch_size or self.batch_size):
            yield self._cut(rows, *self.crop.middle(self._lengths[rows]))

    def cropped(self, step: Draws, batch_size: int | None = None) -> Iterator[ClipBatch]:
        """All clips once, in their own order, each through a random training crop drawn by `step`, without augmentation."""
        start, length = self.crop.draw(self._lengths, step)
        for rows in torch.arange(len(self), device=self.device).split(batch_size or self.batch_size):
            yield self._cut(rows, start[rows], length[rows])

    def _augmented(self, positions: Tensor, draws: Draws) -> Tensor:
        for augmentation in self.augment:
            positions = augmentation(positions, draws)
        return positions

    def _piece(self, rows: Tensor, start: Tensor, length: Tensor) -> Tensor:
        return crop_resize(self._flat, self._starts[rows] + start, length, self.frames)

    def _cut(self, rows: Tensor, start: Tensor, length: Tensor) -> ClipBatch:
        positions = self._piece(rows, start, length)
        return ClipBatch(positions, (positions != 0).flatten(3).any(3).any(1), self._labels[rows], rows)

    def state_dict(self) -> dict[str, Any]:
        """Empty: a batch depends on its step alone."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore.

        Raises:
            UserError: `state` is of another kind of source.
        """
        if state:
            raise UserError(f"the checkpoint's source holds {', '.join(state)}; it was not a resident one")


def _flatten(clips: Sequence[Clip], people: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Frames `(sum of T, people, J, C)` float32, lengths `(N,)` int64 and labels of all clips."""
    if not len(clips):
        raise UserError("no clips to make batches of; check the split and the class filter")
    lengths, labels, used = np.zeros(len(clips), np.int64), [], 0
    flat: np.ndarray = np.zeros((0, people, 1, 1), np.float32)
    for i, clip in enumerate(clips):
        positions = clip.positions[:, :people]
        if i == 0:
            flat = np.zeros((clip.frames * len(clips), people, *positions.shape[2:]), np.float32)
        if positions.shape[2:] != flat.shape[2:]:
            shape = f"{positions.shape[2]} joints x {positions.shape[3]}"
            raise UserError(f"{clip.source or f'clip {i}'}: {shape}, others {flat.shape[2]} x {flat.shape[3]}; use one source each")
        lengths[i], end = clip.frames, used + clip.frames
        if end > len(flat):
            # room for the clips to come if they are as long as those so far; fresh memory is zero
            flat.resize((max(end, int(end / (i + 1) * len(clips) * 1.02)), *flat.shape[1:]), refcheck=False)
        flat[used:end, : positions.shape[1]] = positions
        used = end
        labels.append(-1 if clip.label is None else clip.label)
    flat.resize((used, *flat.shape[1:]), refcheck=False)
    return flat, lengths, labels
