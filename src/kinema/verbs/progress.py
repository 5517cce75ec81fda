"""Counting aloud while a verb works."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..training.progress import QUIET_SECONDS, Bar


@contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """A bar in a terminal, now and then a line elsewhere; gives what is to be called with how many are done.

    Args:
        total: how many there are. what: what one of them is called.
    """
    bar, terminal, said = Bar(total, 0), sys.stderr.isatty(), time.monotonic()

    def step(done: int) -> None:
        nonlocal said
        bar.step(done)
        if not terminal and time.monotonic() - said >= QUIET_SECONDS:
            said = time.monotonic()
            bar.say(f"{what} {done} of {total}")

    try:
        yield step
    finally:
        bar.close()
