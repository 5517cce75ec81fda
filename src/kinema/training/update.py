"""One optimiser step of a stage: its parts forward and backward, then accept or skip.

Torch's, NumPy's and Python's global generators are reseeded for each part by (seed, stage, step, shard), so that dropout can
be replayed too. A shard is a process's part, so dropout masks are the same for 2 processes x 1 part and 1 process x 2 parts,
and differ between layouts with another number of shards; draws made through `Step` never differ.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import UserError
from . import optim
from .batchnorm import share_statistics
from .log import Meter
from .method import Losses, Method, Step
from .processes import Processes
from .stage import Stage, frozen

if TYPE_CHECKING:
    from lightning_fabric import Fabric

MAX_SKIPPED = 5
"""So many steps in a row that are not finite end the run."""


def seed_globals(device: torch.device, *key: object) -> None:
    """Seeds the global generators of torch (CPU and `device`), NumPy and Python from a hash of `key`."""
    digest = int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little")
    # not torch.manual_seed: where CUDA sleeps it formats a stack trace at each call, 0.7 ms
    torch.default_generator.manual_seed(digest & (2**63 - 1))
    if device.type == "cuda":
        torch.cuda.manual_seed(digest & (2**63 - 1))
    elif device.type == "mps":
        torch.mps.manual_seed(digest & (2**63 - 1))
    np.random.seed(digest & (2**32 - 1))  # noqa: NPY002 - for code that draws from the global generator
    random.seed(digest)


def stage_seed(seed: int, number: int) -> int:
    """The seed of a stage's draws: the run's own in the first stage; later stages differ, since each counts from step 0."""
    if number == 0:
        return seed
    return int.from_bytes(hashlib.blake2b(repr((seed, number)).encode(), digest_size=7).digest(), "little")


class _Part(nn.Module):
    """A method behind a forward without arguments.

    Fabric and DDP walk through what a forward takes and returns, and refuse frozen dataclasses; so the batch comes in by
    `inputs`, the losses go out by `losses`, and only the scalar to minimise passes through them.
    """

    def __init__(self, method: Method, loss: Callable[[Any, Step], Losses]):
        super().__init__()
        self.method, self._loss = method, loss
        self.inputs: tuple[Any, Step] | None = None
        self.losses: Losses | None = None

    def forward(self) -> Tensor:
        assert self.inputs is not None
        self.losses = self._loss(*self.inputs)
        total = self.losses.total
        if total.shape != ():
            raise ValueError(f"the loss of {type(self.method).__name__} must be a scalar, not {tuple(total.shape)}")
        return total.float()


@dataclass
class _Pending:
    """A verdict still on its way from the device."""

    flag: Tensor
    event: torch.cuda.Event | None
    index: int
    rows: list[Tensor]


class Update:
    """Runs the optimiser steps of one stage. Use through `updating`.

    Attributes:
        optimizer: torch's. average: of the weights, or None. meter: the running means to log.
        norm: gradient norm of the last step before clipping, on the device.
        skipped: steps skipped so far. consecutive: how many of them just now.
    """

    def __init__(
        self,
        fabric: Fabric,
        processes: Processes,
        stage: Stage,
        *,
        seed: int,
        bf16: bool = False,
        compile: bool = False,
        deferred: bool | None = None,
    ):
        self.stage, self.skipped, self.consecutive = stage, 0, 0
        self._fabric, self._processes, self._seed, self._bf16 = fabric, processes, seed, bf16
        self._shards = processes.count * stage.accumulate
        if stage.source.batch_size % self._shards:
            raise UserError(
                f"stage {stage.name}: a batch of {stage.source.batch_size} rows cannot be cut into {processes.count} processes"
                f" x {stage.accumulate} parts; choose a multiple of {self._shards}"
            )
        method = stage.method
        _synchronise_statistics(method, processes)
        loss, self._step_type = (torch.compile(method.loss), compiled_step()) if compile else (method.loss, Step)
        self._part = _Part(method, loss)
        method.to(processes.device)
        processes.copy_from_first([t.detach() for t in method.state_dict().values()])
        self.optimizer, self._rates = optim.build(method, stage.optimiser, stage.schedule)
        self._wrapped = fabric.setup_module(self._part)
        self.average = None if stage.ema is None else optim.Average(method, stage.ema)
        self.meter = Meter(processes.device)
        self.norm = torch.zeros((), device=processes.device)
        self._statistics = [b for m in method.modules() if isinstance(m, _BatchNorm) for b in m.buffers()]
        self._listens = type(method).after_step is not Method.after_step
        fused = all(g.get("fused") for g in self.optimizer.param_groups)
        possible = fused and not self._listens and self.average is None
        self._deferred = possible and (processes.device.type == "cuda" if deferred is None else deferred)
        self._pending: _Pending | None = None

    @property
    def lr(self) -> float:
        """The highest learning rate of any group at the last step."""
        return max(group["lr"] for group in self.optimizer.param_groups)

    def __call__(self, index: int) -> None:
        """Runs step `index` of the stage.

        Raises:
            UserError: `MAX_SKIPPED` steps in a row gave a loss or gradient that is not finite.
        """
        stage, method = self.stage, self.stage.method
        optim.set_rates(self.optimizer, self._rates, index / stage.source.steps_per_epoch, stage.epochs)
        before = [b.clone() for b in self._statistics]
        values: dict[str, Tensor] = {}
        carries: list[Any] = []
        rows: list[Tensor] = []
        for part in range(stage.accumulate):
            losses, batch = self._backward(index, part)
            for name, value in {"loss": losses.total, **{f"parts.{n}": v for n, v in losses.parts.items()}}.items():
                share = value.detach().float() / stage.accumulate
                values[name] = values[name] + share if name in values else share
            carries.append(losses.carry)
            if isinstance(getattr(batch, "index", None), Tensor):
                rows.append(batch.index)
        parameters = [p for g in self.optimizer.param_groups for p in g["params"] if p.grad is not None]
        self.norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        bad = self._processes.any(~(torch.isfinite(self.norm) & torch.isfinite(values["loss"])))
        if stage.optimiser.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, stage.optimiser.clip, self.norm)
        self.meter.add(values, ~bad)
        if self._deferred:
            self._decide_on_device(bad, before, index, rows)
        elif self._verdict(bool(bad), index, rows):
            self.optimizer.step()
            if self._listens:
                with torch.no_grad():
                    method.after_step(self._processes.gather(carries))
            if self.average is not None:
                self.average.update()
        else:
            for buffer, old in zip(self._statistics, before, strict=True):
                buffer.copy_(old)
        self.optimizer.zero_grad(set_to_none=True)

    def _backward(self, index: int, part: int) -> tuple[Losses, Any]:
        stage = self.stage
        epoch, in_epoch = divmod(index, stage.source.steps_per_epoch)
        shard = self._processes.rank * stage.accumulate + part  # the parts of a process lie together, in global order
        step = self._step_type(index, epoch, index / stage.steps, in_epoch, self._seed, shard, self._shards, self._processes.device)
        seed_globals(step.device, self._seed, index, shard)
        batch = stage.source.batch(step)
        if not stage.method.training:  # a source that samples from the method may have left it so
            stage.method.train()
        self._part.inputs = (batch, step)
        with self._fabric.no_backward_sync(self._wrapped, enabled=part + 1 < stage.accumulate):
            with torch.autocast(self._processes.device.type, torch.bfloat16, enabled=self._bf16):
                total = self._wrapped()
            self._fabric.backward(total / stage.accumulate)
        losses = self._part.losses
        assert losses is not None
        self._part.inputs = self._part.losses = None
        return losses, batch

    def _decide_on_device(self, bad: Tensor, before: list[Tensor], index: int, rows: list[Tensor]) -> None:
        """The fused kernels leave everything alone where `found_inf` is 1; the host hears of it one step later."""
        self.optimizer.grad_scale = None  # type: ignore[attr-defined]
        self.optimizer.found_inf = bad.to(torch.float32)  # type: ignore[attr-defined]
        self.optimizer.step()
        for buffer, old in zip(self._statistics, before, strict=True):
            buffer.copy_(torch.where(bad, old, buffer))
        self.settle()
        on_gpu = bad.device.type == "cuda"
        flag = torch.empty((), dtype=torch.bool, pin_memory=on_gpu)
        flag.copy_(bad, non_blocking=True)
        event = torch.cuda.Event() if on_gpu else None
        if event is not None:
            event.record()
        self._pending = _Pending(flag, event, index, rows)

    def settle(self) -> None:
        """Hears the verdict of the last step, if it is still on its way. Before anything that looks at `skipped`."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            if pending.event is not None:
                pending.event.synchronize()
            self._verdict(bool(pending.flag), pending.index, pending.rows)

    def _verdict(self, bad: bool, index: int, rows: list[Tensor]) -> bool:
        """Counts a step; returns whether it is accepted."""
        if not bad:
            self.consecutive = 0
            return True
        self.skipped += 1
        self.consecutive += 1
        if self.consecutive >= MAX_SKIPPED:
            which = ""
            if rows:
                listed = torch.cat([r.flatten() for r in rows]).tolist()
                which = f" (rows of its batch: {', '.join(map(str, listed[:32]))}{', ...' if len(listed) > 32 else ''})"
            raise UserError(
                f"stage {self.stage.name}, step {index}: the loss or its gradient was not finite {self.consecutive} times in a"
                f" row{which}; lower the learning rate, clip the gradient, or look at these rows"
            )
        return False

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What to save of the loop's own: averages by name, and the optimiser's state under ``optimizer.``."""
        state = optim.named_state(self.optimizer, self.stage.method)
        return dict(self.average.weights) if self.average else {}, {f"optimizer.{n}": t for n, t in state.items()}

    def restore(self, averages: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        """Takes back what `tensors` gave (the names of `state` without ``optimizer.``).

        Raises:
            CheckpointError: made by another stage.
        """
        optim.load_named_state(self.optimizer, self.stage.method, state)
        if self.average is not None:
            optim.load_average(self.average, averages)


@contextmanager
def updating(fabric: Fabric, processes: Processes, stage: Stage, **options: Any) -> Iterator[Update]:
    """An `Update` of a stage whose `freeze` holds inside, in training mode. Options: those of `Update`."""
    with frozen(stage.method, stage.freeze):
        stage.method.train()
        yield Update(fabric, processes, stage, **options)


def compiled_step() -> type[Step]:
    """A Step whose draws stay outside compiled graphs: they hash and seed on the host, once a step."""

    outside = {name: torch.compiler.disable(getattr(Step, name)) for name in ("rng", "uniform", "normal")}
    return type("CompiledStep", (Step,), outside)


def _synchronise_statistics(method: Method, processes: Processes) -> None:
    """With several processes batch normalisation sees the whole batch, as with one."""
    if processes.count == 1 or not any(isinstance(m, _BatchNorm) for m in method.modules()):
        return
    if processes.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(method)
    else:
        share_statistics(method)
