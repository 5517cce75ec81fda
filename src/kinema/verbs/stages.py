"""Counting aloud while a verb does one thing after another, each with a count of its own."""

from __future__ import annotations

from types import TracebackType

from ..training.progress import Bar


class Stages:
    """What is counted, how many are done and how many there are (None: nobody knows): a bar in a terminal, now and then a line elsewhere."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._what = ""

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """`done` of `total` are done; another `what` begins another count."""
        if self._bar is None or what != self._what:
            self._close()
            self._what, self._bar = what, Bar(total, what)
        self._bar.step(done)
