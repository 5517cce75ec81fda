"""Figures of paired runs: an arm against the baseline of the same seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy.special import stdtrit


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None of one value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def interval(differences: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Student's t interval of the mean of paired differences; None of fewer than two.

    It takes the differences as draws of one normal distribution. With three seeds its half width is 2.5 standard deviations: wide, as it must.
    """
    n = len(differences)
    if n < 2:
        return None
    mean, sd = statistics.fmean(differences), statistics.stdev(differences)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * sd / math.sqrt(n)
    return mean - half, mean + half


def reached(curve: Sequence[Sequence[float]], target: float) -> float | None:
    """The step from which a curve `[[step, loss]]` stays at or below `target`, linear between its points; None: it ends above.

    From which it stays, not at which it first arrives: noise cannot make it early.
    """
    if curve[-1][1] > target:
        return None
    for (step, loss), (later, lower) in zip(reversed(curve[:-1]), reversed(curve[1:]), strict=True):
        if loss > target:
            return step + (later - step) * (loss - target) / (loss - lower)
    return curve[0][0]
