"""The curves of which every movement is made. All are twice continuously differentiable, so accelerations stay bounded."""

from __future__ import annotations

import numpy as np


def ease(t: np.ndarray, start: float | np.ndarray, end: float | np.ndarray) -> np.ndarray:
    """The minimum-jerk step: exactly 0 until `start`, exactly 1 from `end` on; seconds in, broadcast over `t`."""
    u = np.minimum(np.maximum((t - start) / (end - start), 0.0), 1.0)
    return u * u * u * (10.0 + u * (6.0 * u - 15.0))


def pulse(t: np.ndarray, start: float, full: float, release: float, end: float) -> np.ndarray:
    """Rises from 0 to 1 between `start` and `full`, stays, falls back between `release` and `end`."""
    return ease(t, start, full) - ease(t, release, end)


def bump(t: np.ndarray, start: float | np.ndarray, end: float | np.ndarray) -> np.ndarray:
    """A hill over (start, end): exactly 0 outside, 1 in the middle, two continuous derivatives."""
    u = np.minimum(np.maximum((t - start) / (end - start), 0.0), 1.0)
    return 64.0 * (u * (1.0 - u)) ** 3


def rise_and_fall(t: np.ndarray, start: float, period: float, repeats: int) -> np.ndarray:
    """`repeats` raised cosines of `period` seconds from `start`, the first and last half period eased to stay smooth."""
    end = start + repeats * period
    wave = 0.5 - 0.5 * np.cos(2.0 * np.pi * (t - start) / period)
    return wave * pulse(t, start, start + 0.3 * period, end - 0.3 * period, end)
