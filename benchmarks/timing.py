"""What the benchmarks share: a clock, how times are written, the rate of matrix products, and the line over a table."""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import date

import torch

from kinema.verbs.about import matrix_rate

Timer = Callable[[], float]
"""`time.perf_counter`, or `time.process_time` for what the processor spent on this process."""


def clock(run: Callable[[], object], cuda: bool, timer: Timer = time.perf_counter) -> float:
    """Seconds of one call, with all that it started on the GPU."""
    if cuda:
        torch.cuda.synchronize()
    start = timer()
    run()
    if cuda:
        torch.cuda.synchronize()
    return timer() - start


def milliseconds(seconds: Sequence[float], digits: int = 0) -> str:
    """Median, least and most: ``1210 (1168-1368)``."""
    middle, least, most = (f"{1e3 * f(seconds):.{digits}f}" for f in (statistics.median, min, max))
    return f"{middle} ({least}-{most})"


def square_rate(dtype: torch.dtype, cuda: bool) -> float:
    """GFLOP/s of products of large square matrices: 8192 on a GPU, 1024 on a CPU."""
    if not cuda:
        return matrix_rate(dtype)
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    return 2 * 8192**3 / min(clock(lambda: a @ b, True) for _ in range(10)) / 1e9


def header(cuda: bool, text: str) -> str:
    """Date, machine, versions, and what else is to be said of a run."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip() or "unknown"
    machine = torch.cuda.get_device_name() if cuda else f"{platform.machine()}, {torch.get_num_threads()} threads"
    return f"{date.today()} · {machine} · torch {torch.__version__} · commit {commit} · {text}"
