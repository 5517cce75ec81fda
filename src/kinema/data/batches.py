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
from ..words import plural
from .augment import Augmentation, Draws
from .pieces import Crop, Window


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
        positions: `(B, T, M, J, C)` float32; absent people are zero. With confidences these are the last coordinate.
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
class _Second:
    """A step whose draws do not depend on those under the same purposes of the step itself."""

    step: Draws

    def uniform(self, purpose: str, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
        return self.step.uniform(f"second.{purpose}", shape, low, high)

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        return self.step.normal(f"second.{purpose}", shape)


@dataclass(frozen=True)
class _Rows:
    """Some rows of what a step draws for all clips."""

    step: Draws
    total: int
    rows: Tensor

    def uniform(self, purpose: str, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
        return self.step.uniform(purpose, (self.total, *shape[1:]), low, high)[self.rows]

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        return self.step.normal(purpose, (self.total, *shape[1:]))[self.rows]


class ResidentClips:
    """A source whose clips all lie on the device (the contract is `training.method.Source`).

    `batch` is a pure function of the step: the order of an epoch comes from (seed, epoch), all else from the step's own draws.

    Args:
        clips: of one skeleton and number of coordinates; each is read once, so a lazy sequence is fine.
        frames: `T` that every piece is resized to; with a `Window` the most that are taken.
        people: `M`. Missing people are zero; of more people the first `people` are kept, in the clip's own order.
        batch_size: rows of one optimiser step over all processes and accumulated parts. The last, incomplete batch of an epoch is
            dropped; fewer clips than `batch_size` make one step an epoch, in which they repeat.
        crop: which part of a clip is taken and resized; or which frames are taken as they are.
        augment: applied in this order.
        seed: of the order of the clips. device: where they lie. shuffle: False keeps the order of `clips`.
        labels: class of each clip; default: `clip.label`, -1 where it has none.
        pairs: `batch` gives two views of each clip, see `views`.
        confidence: the clips' confidences become the last coordinate (1 or, where a joint is zero, 0 in clips that have none).

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
        crop: Crop | Window | None = None,
        augment: Sequence[Augmentation] = (),
        seed: int = 0,
        device: torch.device | str = "cpu",
        shuffle: bool = True,
        labels: Sequence[int] | None = None,
        pairs: bool = False,
        confidence: bool = False,
    ):
        if min(frames, people, batch_size) < 1:
            raise UserError(f"frames {frames}, people {people}, batch_size {batch_size}: each must be at least 1")
        if labels is not None and len(labels) != len(clips):
            raise UserError(f"{plural(len(labels), 'label')} for {plural(len(clips), 'clip')}")
        self.people, self.batch_size, self.augment, self.seed, self.shuffle = people, batch_size, tuple(augment), seed, shuffle
        self.crop = replace(crop, frames=min(frames, crop.frames)) if isinstance(crop, Window) else crop or Crop()
        self.device, self.pairs = torch.device(device), pairs
        flat, lengths, found = _flatten(clips, people, confidence)
        # what each clip has in a batch, kept on the CPU so that a batch's length is known without waiting for the device
        self._frames = np.minimum(lengths, self.crop.frames) if isinstance(self.crop, Window) else np.full(len(lengths), frames)
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
        rows = self._batch_rows(step)[step.shard * part : (step.shard + 1) * part]
        if self.device.type == "cuda":
            rows = rows.pin_memory()
        return rows.to(self.device, non_blocking=True)

    def _batch_rows(self, step: Place) -> Tensor:
        """`(batch_size,)` clips of all shards, on the CPU."""
        first = step.step_in_epoch % self.steps_per_epoch * self.batch_size
        return self.order(step.epoch)[torch.arange(first, first + self.batch_size) % len(self)]

    def batch(self, step: Place) -> ClipBatch | ViewBatch:
        """The rows of this step's shard, cropped and augmented with the draws of the step."""
        if self.pairs:
            return self.views(step)
        rows = self.rows(step)
        batch = self._batch(self._taken(rows, self._longest(step), step), rows)
        return replace(batch, positions=self._augmented(batch.positions, step))

    def views(self, step: Place) -> ViewBatch:
        """Two views of the rows of this step's shard; the second draws under purposes of its own."""
        rows, longest = self.rows(step), self._longest(step)

        def view(draws: Draws) -> Tensor:
            return self._augmented(self._taken(rows, longest, draws), draws)

        return ViewBatch(view(step), view(_Second(step)), rows)

    def ordered(self, batch_size: int | None = None) -> Iterator[ClipBatch]:
        """All clips once, with the evaluation crop and without augmentation; the last batch may be smaller.

        They come in their own order; with a `Window` those of one length come together, so that nothing is padded (`index` says which).
        """
        for rows, longest in self._groups(batch_size or self.batch_size):
            yield self._batch(self._taken(rows, longest, None), rows)

    def cropped(self, step: Draws, batch_size: int | None = None) -> Iterator[ClipBatch]:
        """As `ordered`, but each clip through a random training crop drawn by `step`, which does not depend on how they are batched."""
        for rows, longest in self._groups(batch_size or self.batch_size):
            yield self._batch(self._taken(rows, longest, _Rows(step, len(self), rows)), rows)

    def _groups(self, batch_size: int) -> Iterator[tuple[Tensor, int]]:
        """Rows of all clips in batches of one length, and that length."""
        order = np.argsort(self._frames, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(self._frames[order])) + 1):
            for rows in torch.from_numpy(group).split(batch_size):
                yield rows.to(self.device), int(self._frames[group[0]])

    def _longest(self, step: Place) -> int:
        """Frames of the longest clip of a step's whole batch, so that all shards are padded alike."""
        return int(self._frames[self._batch_rows(step).numpy()].max())

    def _augmented(self, positions: Tensor, draws: Draws) -> Tensor:
        for augmentation in self.augment:
            positions = augmentation(positions, draws)
        return positions

    def _taken(self, rows: Tensor, frames: int, draws: Draws | None) -> Tensor:
        """Positions `(B, frames, M, J, C)` of rows; `draws`: of training, None: of evaluation."""
        return self.crop.cut(self._flat, self._starts[rows], self._lengths[rows], frames, draws)

    def _batch(self, positions: Tensor, rows: Tensor) -> ClipBatch:
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


def with_confidence(clip: Clip) -> np.ndarray:
    """`(T, M, J, C + 1)` float32: positions, and how sure each joint is (of a clip that does not say: whether it is there)."""
    known = clip.confidence if clip.confidence is not None else (clip.positions != 0).any(-1).astype(np.float32)
    return np.concatenate([clip.positions, known[..., None]], -1)


def _flatten(clips: Sequence[Clip], people: int, confidence: bool) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Frames `(sum of T, people, J, C)` float32, lengths `(N,)` int64 and labels of all clips."""
    if not len(clips):
        raise UserError("no clips to make batches of; check the split and the class filter")
    lengths, labels, used = np.zeros(len(clips), np.int64), [], 0
    flat: np.ndarray = np.zeros((0, people, 1, 1), np.float32)
    for i, clip in enumerate(clips):
        positions = (with_confidence(clip) if confidence else clip.positions)[:, :people]
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
