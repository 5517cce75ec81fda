"""What a depth camera would have made of a clip: noise, jitter that lasts, lost joints. The last step, on positions alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ...motion.clip import Clip
from ...motion.skeletons import SMPL22

NOISE = (0.006, 0.022)
"""The range of the noise's standard deviation, metres; each clip has its own."""
_MEMORY = 0.55  # of the noise from one frame to the next: a tracker's error wanders
_FAR = ("knee", "ankle", "foot", "elbow", "wrist")  # what is tracked worst
_WORSE = np.array([1.6 if name.endswith(_FAR) else 1.0 for name in SMPL22.joints])


def sensor(clip: Clip, rng: np.random.Generator, *, noise: tuple[float, float] = NOISE, dropped: float = 0.5) -> Clip:
    """A noisy clip.

    Args:
        clip: a clean smpl22 clip. rng: the only source of randomness.
        noise: range of the standard deviation of each coordinate, metres. dropped: expected number of joints lost, per second and
        person.

    Returns:
        The clip with noisy `positions` and a `confidence`: a lost joint is zero and has confidence 0. The pelvis is never lost.
        Rotations, offsets and contacts stay the truth.
    """
    t, m, j, _ = clip.positions.shape
    sigma = noise[0] + (noise[1] - noise[0]) * rng.random()
    white = rng.standard_normal((t, m, j, 3))
    wandering = np.sqrt(1 - _MEMORY**2) * white
    wandering[0] = white[0]
    for before, now in pairwise(wandering):
        now += _MEMORY * before
    positions = clip.positions + (sigma * _WORSE[:, None] * wandering).astype(np.float32)
    confidence = np.ones((t, m, j), np.float32)
    for person in range(m):
        losses = int(rng.random() * 2 * dropped * clip.seconds + 0.5)
        start, length, joint = (rng.random((3, losses)) * np.array([[t], [0.5 * clip.fps], [j - 1]])).astype(int)
        for a, n, lost in zip(start, length, joint, strict=True):
            confidence[a : a + 2 + n, person, 1 + lost] = 0
    positions[confidence == 0] = 0
    return clip.with_(positions=positions, confidence=confidence)
