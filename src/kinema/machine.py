"""What the machine has: cores and memory that this process may use. Floor 0."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where Linux says how much memory a container may use, in its newer and its older way."""


def cores() -> int:
    """Processor cores that this process may use, 1 or more."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Bytes of memory that this process may use at most: the machine's, or what its container is given; where neither is known, without end."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if hasattr(os, "sysconf") else []
    for path in LIMITS:
        with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
            found.append(int(path.read_text(encoding="ascii")))
    return min(found, default=sys.maxsize)
