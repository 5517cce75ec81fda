"""What a person sees while something lasts, on standard error: a bar in a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..text import plain

QUIET_SECONDS = 10.0
"""Outside a terminal at most one line in so many seconds."""
TERMINAL_SECONDS = 1.0
"""In a terminal the text beside the bar is made anew so often; a loss has to be fetched from the device for it."""
SPEED_SECONDS = 300.0
"""The speed is that of the last so many seconds; long, for a step may take half a minute."""


class Bar:
    """How far one thing is, how fast it goes and how long it will take.

    Args:
        total: how many there are to do, None: nobody knows. what: what one of them is called. done: those done before.
        rows, unit: what the speed is told in: `rows` times `unit` for each that is done; default: themselves, by their first word.
        shown: whether this process speaks at all.

    Attributes:
        rows: as given; may change on the way.
    """

    def __init__(self, total: int | None, what: str, done: int = 0, *, rows: int = 1, unit: str | None = None, shown: bool = True):
        self._console = Console(stderr=True, quiet=not shown, highlight=False)
        self._terminal = shown and self._console.is_terminal and not self._console.is_dumb_terminal
        self.rows, self._unit = rows, unit or f"{what.partition(' ')[0]}s"
        self._what, self._of = what, "" if total is None else f" of {total}"
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(
            *columns, console=self._console, transient=True, speed_estimate_period=SPEED_SECONDS, disable=not self._terminal
        )
        self._task = self._bar.add_task("", total=total, completed=done, speed="")
        self._begun, self._said = time.monotonic(), float("-inf")
        if self._terminal:
            self._bar.start()

    def step(self, done: int, text: Callable[[], str] = str, *, pause: bool = False) -> None:
        """`done` are done.

        Args:
            text: gives what else is to be told; called only where it will be seen.
            pause: a good moment for the first line outside a terminal.
        """
        self._bar.update(self._task, completed=done)
        now = time.monotonic()
        if self._terminal:
            if now - self._said >= TERMINAL_SECONDS:
                self._said = now
                self._bar.update(self._task, description=plain(text()), speed=self._speed())
        elif not self._console.quiet and now - max(self._said, float("-inf") if pause else self._begun) >= QUIET_SECONDS:
            self._said = now
            self.say("  ".join(filter(None, (f"{self._what} {done}{self._of}", text(), self._speed(), self._left()))))

    def _speed(self) -> str:
        """In a second; empty before the second step: the first may compile."""
        speed = self._bar.tasks[0].speed
        if not speed:
            return ""
        rate = speed * self.rows
        return f"{rate:.0f} {self._unit}/s" if rate >= 10 else f"{rate:.2g} {self._unit}/s"

    def _left(self) -> str:
        seconds = self._bar.tasks[0].time_remaining
        return "" if seconds is None else f"{timedelta(seconds=round(seconds))} left"

    def say(self, text: str) -> None:
        """One line that stays."""
        self._console.print(Text(plain(text)), soft_wrap=True)

    def close(self) -> None:
        """Takes the bar away."""
        if self._terminal:
            self._bar.stop()


@contextmanager
def counting(
    total: int | None, what: str, doing: str = "", *, unit: str | None = None, shown: bool = True
) -> Iterator[Callable[[int], None]]:
    """Shows how far something is; gives what is to be called with how many are done.

    Args:
        total: how many there are, None: nobody knows. what: what one of them is called. doing: what is done with them.
        unit: what the speed is told in, default: these, by their first word. shown: False shows nothing.
    """
    bar = Bar(total, what, unit=unit, shown=shown)
    try:
        yield lambda done: bar.step(done, lambda: doing)
    finally:
        bar.close()


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
