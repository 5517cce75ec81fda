"""Writes small files in the layouts of NTU RGB+D, PKU-MMD and PySKL, for tests."""

from __future__ import annotations

import numpy as np

Bodies = list[tuple[int, np.ndarray]]
"""One frame: (body id, joints (25, 3)) of each body, in the order of the file."""


def skeleton_text(frames: list[Bodies], state: int = 2) -> str:
    """A .skeleton file."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for identity, joints in bodies:
            lines.append(f"{identity} 0 1 1 0 1 0 0.0276 -0.0574 2")
            lines.append("25")
            lines += [f"{x:.6f} {y:.6f} {z:.6f} 250.1 180.2 990.4 530.3 0.1 -0.2 0.9 0.05 {state}" for x, y, z in joints]
    return "\n".join(lines) + "\n"


def person(frames: int, seed: int = 0, scale: float = 0.3) -> np.ndarray:
    """Joints (T, 25, 3) of somebody taller than wide, about 3 m away."""
    rng = np.random.default_rng(seed)
    spread = np.array([0.15, 0.6, 0.1]) * scale / 0.3
    return rng.normal(size=(1, 25, 3)) * spread + np.cumsum(rng.normal(size=(frames, 1, 3)) * 0.01, 0) + np.array([0, 0, 3.0])


def pku_text(video: np.ndarray) -> str:
    """A skeleton file of PKU-MMD from joints (T, 2, 25, 3)."""
    return "\n".join(" ".join(f"{v:.6f}" for v in row) for row in video.reshape(len(video), 150)) + "\n"
