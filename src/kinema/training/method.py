"""The contract between a method (what is learned) and the loop (how it is run)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..nn import decay


@dataclass(frozen=True)
class Losses:
    """What a loss call returns.

    Attributes:
        total: scalar to minimise, the mean over the rows of this call.
        parts: named detached scalars to log.
        carry: whatever `Method.after_step` needs, for instance the keys to enqueue.
    """

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    carry: Any = None


@dataclass(frozen=True)
class Step:
    """Where the run is, and its random draws.

    A draw depends on `(seed, index, purpose)` alone and is made for the whole global batch, from which this call takes its rows.
    So it does not matter how the batch is cut into processes and accumulated parts, nor whether the run was resumed.

    Attributes:
        index: optimiser step from 0. epoch: pass over the data from 0. progress: index / all steps, in [0, 1).
        step_in_epoch: index within the epoch.
        seed: of the run.
        shard, shards: this call works on the `shard`-th of `shards` equal parts of the global batch.
        device: where draws are put.
    """

    index: int
    epoch: int = 0
    progress: float = 0.0
    step_in_epoch: int = 0
    seed: int = 0
    shard: int = 0
    shards: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def rng(self, purpose: str) -> torch.Generator:
        """A CPU generator seeded by (seed, index, purpose)."""
        return generator(self.seed, self.index, purpose)

    def uniform(self, purpose: str, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform draws `(B, ...)` in [low, high) for the `B` rows of this call."""
        draws = torch.rand((shape[0] * self.shards, *shape[1:]), generator=self.rng(purpose))
        return self._mine(draws, shape[0]) * (high - low) + low

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Standard normal draws `(B, ...)` for the `B` rows of this call."""
        draws = torch.randn((shape[0] * self.shards, *shape[1:]), generator=self.rng(purpose))
        return self._mine(draws, shape[0])

    def _mine(self, draws: Tensor, rows: int) -> Tensor:
        mine = draws[self.shard * rows : (self.shard + 1) * rows]
        if self.device.type != "cpu":
            mine = mine.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else mine.to(self.device)
        return mine


def generator(*key: object) -> torch.Generator:
    """A CPU generator whose seed is a hash of `key`."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") & (2**63 - 1))


class Source(Protocol):
    """Where batches come from. Stateless sources (a resident store) return an empty `state_dict`."""

    batch_size: int
    """Rows of one optimiser step over all processes and accumulated parts."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps that make one epoch."""
        ...

    def batch(self, step: Step) -> Any:
        """The rows of this call's shard, on the device."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """JSON-safe values and tensors; empty when `batch` is a pure function of `step`."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        ...


class Method(nn.Module):
    """A trainable method. Everything that persists is a parameter or a buffer, so that a checkpoint is complete."""

    def loss(self, batch: Any, step: Step) -> Losses:
        """The loss of one part of a batch. Changes no persistent state."""
        raise NotImplementedError

    def after_step(self, carry: list[Any]) -> None:
        """Runs once after each accepted optimiser step, with the carries of its parts in global order (all processes)."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups `{"params": [...], "weight_decay": float?, "lr_scale": float?}`; see `decay_groups`."""
        return decay_groups(self)

    def forward(self, batch: Any, step: Step) -> Losses:
        """`loss`, under the name that distributed wrappers call."""
        return self.loss(batch, step)


def decay_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Two groups: with weight decay and without, see `nn.decay`."""
    with_decay, without = decay.groups(module)
    groups = [{"params": with_decay}, {"params": without, "weight_decay": 0.0}]
    return [g for g in groups if g["params"]]


@dataclass(frozen=True)
class Schedule:
    """Learning rate over a stage, as a factor of the optimiser's rate, per optimiser step.

    Attributes:
        kind: ``constant``, ``cosine`` (half cosine down to `final`), ``linear`` (a line down to it), or ``step`` (times `gamma` at each of
            `milestones`).
        warmup: linear warm-up from 0, epochs.
        final: the factor that the cosine or the line ends at.
        milestones: epochs. gamma: the factor of each.
    """

    kind: str = "cosine"
    warmup: float = 0.0
    final: float = 0.0
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in ("constant", "cosine", "linear", "step"):
            raise ValueError(f"schedule {self.kind!r}: expected constant, cosine, linear or step")

    def factor(self, epoch: float, epochs: float) -> float:
        """The factor at a fractional `epoch` of `epochs`."""
        if epoch < self.warmup:
            return epoch / self.warmup
        if self.kind == "step":
            return self.gamma ** sum(epoch >= m for m in self.milestones)
        share = min((epoch - self.warmup) / max(epochs - self.warmup, 1e-9), 1.0)
        if self.kind == "linear":
            return self.final + (1 - self.final) * (1 - share)
        if self.kind == "cosine":
            return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * share))
        return 1.0


@dataclass(frozen=True)
class Optimiser:
    """AdamW or SGD with the base learning rate and the defaults of groups that set none."""

    kind: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    momentum: float = 0.9
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("adamw", "sgd"):
            raise ValueError(f"optimiser {self.kind!r}: expected adamw or sgd")
