"""One stage of a run: which method learns from which source, and how."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import UserError
from .method import Method, Optimiser, Schedule, Source


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage of a recipe. Several stages may share one method, or methods that share modules.

    Attributes:
        name: how the log and the checkpoints call it.
        method: what is trained. source: what it is trained on.
        epochs: passes over the source, fractions allowed.
        optimiser, schedule: see there; a parameter group may carry a `schedule` of its own.
        freeze: globs over parameter names, such as ``encoder.*``; these parameters get no gradient in this stage.
            Only gradients stop: a frozen batch normalisation still follows its input unless the method keeps it in eval mode.
        accumulate: parts that each process cuts its rows into; memory for time. Layers that look at the whole batch
            (batch normalisation) see one part at a time.
        init_from: a checkpoint (folder, run folder or ``.safetensors`` file) whose weights are loaded before the first step.
        init_prefix: load only the names that begin so (``encoder.``), and demand exactly those.
        ema: decay of an average of the weights, kept in the checkpoint beside them; None for no average.

    Raises:
        UserError: a value that makes no sense.
    """

    name: str
    method: Method
    source: Source
    epochs: float
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    freeze: tuple[str, ...] = ()
    accumulate: int = 1
    init_from: Path | None = None
    init_prefix: str = ""
    ema: float | None = None

    def __post_init__(self) -> None:
        if not self.epochs > 0:
            raise UserError(f"stage {self.name}: epochs {self.epochs}: expected a number above 0")
        if self.accumulate < 1:
            raise UserError(f"stage {self.name}: accumulate {self.accumulate}: expected 1 or more")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise UserError(f"stage {self.name}: ema {self.ema}: expected a decay in [0, 1), for instance 0.999")
        if self.init_prefix and self.init_from is None:
            raise UserError(f"stage {self.name}: init_prefix {self.init_prefix!r} without init_from: name the checkpoint too")

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole stage."""
        return max(1, round(self.epochs * self.source.steps_per_epoch))

    def describe(self) -> dict[str, Any]:
        """What a resumed run must agree on, JSON-safe. Where weights came from and how the batch is cut may differ."""
        return {
            "name": self.name,
            "epochs": self.epochs,
            "steps_per_epoch": self.source.steps_per_epoch,
            "batch_size": self.source.batch_size,
            "optimiser": asdict(self.optimiser),
            "schedule": asdict(self.schedule),
            "freeze": list(self.freeze),
            "ema": self.ema,
        }


@contextmanager
def frozen(module: nn.Module, globs: tuple[str, ...]) -> Iterator[None]:
    """Parameters whose name matches a glob get no gradient inside; afterwards they are as they were.

    Raises:
        UserError: a glob that matches no parameter.
    """
    named = dict(module.named_parameters())
    stopped = []
    for glob in globs:
        names = [name for name in named if fnmatchcase(name, glob)]
        if not names:
            raise UserError(f"freeze {glob!r} matches no parameter; the first ones are {', '.join(list(named)[:5])}")
        stopped += [named[name] for name in names if named[name].requires_grad]
    for parameter in stopped:
        parameter.requires_grad_(False)
        parameter.grad = None
    try:
        yield
    finally:
        for parameter in stopped:
            parameter.requires_grad_(True)
