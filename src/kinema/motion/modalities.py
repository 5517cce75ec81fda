"""The other views of the same joints: bones and motion, as NumPy."""

from __future__ import annotations

import numpy as np

from .skeleton import Skeleton


def bone(positions: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """`(..., J, C)` -> `(..., J, C)`: each joint minus its partner in `skeleton.bones`, stored at the child.

    A joint without a bone, or whose bone is with itself, is zero.
    """
    result = np.zeros_like(positions)
    child, parent = (list(side) for side in zip(*skeleton.bone_pairs(), strict=True))
    result[..., child, :] = positions[..., child, :] - positions[..., parent, :]
    return result


def motion(positions: np.ndarray) -> np.ndarray:
    """`(T, ...)` -> `(T, ...)`: the next frame minus this one; the last is zero."""
    result = np.zeros_like(positions)
    result[:-1] = positions[1:] - positions[:-1]
    return result
