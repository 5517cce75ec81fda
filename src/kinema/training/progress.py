"""What a person sees while a run goes on: a bar in a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..text import plain

QUIET_SECONDS = 10.0
"""Outside a terminal at most one line in so many seconds, however short the epochs are."""


class Bar:
    """Progress of one run on standard error.

    Args:
        total: optimiser steps of the whole run (None: nobody knows). done: those done before.
        shown: whether this process speaks at all.
    """

    def __init__(self, total: int | None, done: int, *, shown: bool = True):
        self._console = Console(stderr=True, quiet=not shown, highlight=False)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._text, self._said = "", float("-inf")
        if shown and self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total}"),
                TimeRemainingColumn(),
            )
            bar = Progress(*columns, console=self._console, transient=True)
            self._task = bar.add_task("", total=total, completed=done)
            bar.start()
            self._bar = bar

    def step(self, done: int) -> None:
        """`done` optimiser steps are done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done)

    def numbers(self, record: dict[str, Any]) -> None:
        """Shows the newest line of the log beside the bar."""
        loss = "-" if record["loss"] is None else f"{record['loss']:.4g}"
        rate = "" if record["clips_per_s"] is None else f"  {record['clips_per_s']:.0f} clips/s"
        self._text = f"{record['stage']}  epoch {record['epoch']:.2f}  loss {loss}{rate}"
        if self._bar is not None:
            self._bar.update(self._task, description=self._text)

    def epoch(self, step: int) -> None:
        """An epoch ended: outside a terminal the newest numbers are printed, unless a line has just been."""
        now = time.monotonic()
        if self._bar is None and self._text and now - self._said >= QUIET_SECONDS:
            self._said = now
            self.say(f"step {step}  {self._text}")

    def say(self, text: str) -> None:
        """One line that stays."""
        self._console.print(Text(plain(text)), soft_wrap=True)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()


class Clock:
    """Rows a second since the last reading; the first step of a run (compilation, warm-up) does not count."""

    def __init__(self, batch_size: int):
        self._batch, self._steps, self._since = batch_size, -1, 0.0

    def tick(self) -> None:
        """A step is done."""
        self._steps += 1
        if self._steps == 0:
            self._since = time.monotonic()

    def rate(self) -> float | None:
        """Rows a second, and a new count begins; None before the second step."""
        steps, since = self._steps, self._since
        self._steps, self._since = 0, time.monotonic()
        return None if steps < 1 else round(steps * self._batch / max(self._since - since, 1e-9), 1)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done inside does not count."""
        before = time.monotonic()
        yield
        self._since += time.monotonic() - before
