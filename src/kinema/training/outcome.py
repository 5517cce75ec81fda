"""What a run is asked, and what it answers: when to save, what an epoch's end looks like, how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..errors import UserError
from . import optim
from .method import Method
from .precision import Settled
from .stage import Stage


@dataclass(frozen=True)
class Every:
    """When a checkpoint is due: whichever of these comes first. One is also written at the end of a stage and on interruption."""

    epochs: float | None = 1.0
    seconds: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "seconds", "steps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"checkpoint every {value} {name}: expected a number above 0")

    def due(self, done: int, steps_per_epoch: int, seconds: float) -> bool:
        """Whether one is due after `done` steps of a stage and `seconds` after the last one."""
        if self.steps is not None and done % self.steps == 0:
            return True
        if self.epochs is not None:
            length = self.epochs * steps_per_epoch
            if int(done / length) > int((done - 1) / length):
                return True
        return self.seconds is not None and seconds >= self.seconds


@dataclass(frozen=True)
class EpochEnd:
    """What `on_epoch` is given, in every process, after each epoch and at the end of a stage.

    Attributes:
        stage, method: the current ones. epoch: passes done in the stage. step: optimiser steps done over all stages.
        average: the averaged weights by name, or None.
        folder: of the run.
    """

    stage: Stage
    epoch: float
    step: int
    average: Mapping[str, Tensor] | None
    folder: Path

    @property
    def method(self) -> Method:
        """The method of the stage."""
        return self.stage.method

    @contextmanager
    def averaged(self) -> Iterator[Method]:
        """The method in eval mode, holding its averaged weights where there are some."""
        with optim.swapped(self.method, self.average or {}):
            self.method.eval()
            yield self.method
        self.method.train()


@dataclass(frozen=True)
class Result:
    """How a call of `fit` ended.

    Attributes:
        folder: of the run. checkpoint: the newest one. step: optimiser steps done over all stages.
        finished: every stage is complete. signal: number of the one that any of its processes was sent, also with the last step, or 0.
        first: this is the process that speaks for all of them.
        skipped: steps skipped because the loss or its gradient was not finite.
        loss: the last mean loss that was logged by this call. precision: what was computed in.
    """

    folder: Path
    checkpoint: Path | None
    step: int
    finished: bool
    signal: int
    first: bool
    skipped: int
    loss: float | None = None
    precision: Settled = "32"

    @property
    def interrupted(self) -> bool:
        """Whether it was sent a signal."""
        return self.signal > 0
