"""Hands: handshapes, and where the joints of a hand are when its fingers bend.

A handshape is 16 angles in degrees (`ANGLES`). A hand has its own frame: radial (towards the thumb), distal (along the fingers) and
volar (out of the palm); both hands share it, because people are mirror images.
"""

from __future__ import annotations

import numpy as np

ANGLES = (
    *("thumb_abduct", "thumb_oppose", "thumb_mcp", "thumb_ip"),
    *(f"{finger}_{joint}" for finger in ("index", "middle", "ring", "little") for joint in ("mcp", "pip", "spread")),
)
"""The 16 angles of a handshape, degrees.

The thumb's metacarpal leaves the distal direction by `abduct` towards the radial side and by `oppose` out of the palm; its two
further joints bend across the palm. A finger bends at its knuckle (`mcp`) and its middle joint (`pip`; the last joint follows
it), and spreads towards the radial side.
"""
_LOW = np.array([0.0, 0.0, -10.0, -10.0] + [-15.0, -3.0, -25.0] * 4)
_HIGH = np.array([95.0, 80.0, 65.0, 85.0] + [95.0, 108.0, 25.0] * 4)
_FOLLOWS = 0.65  # of the bend of the middle joint: what the last joint bends without being asked

# metres, of a hand 0.19 m long; rows: index, middle, ring, little
_KNUCKLES = np.array([[0.025, 0.091, 0.0], [0.003, 0.094, 0.0], [-0.018, 0.087, 0.0], [-0.036, 0.077, 0.0]])
_PHALANGES = np.array([[0.043, 0.026, 0.021], [0.048, 0.030, 0.022], [0.044, 0.028, 0.022], [0.034, 0.021, 0.019]])
_THUMB_BASE = np.array([0.022, 0.024, 0.010])
_THUMB_BONES = np.array([0.044, 0.034, 0.026])
_ACROSS = np.array([-0.85, 0.30, 0.25])  # where the thumb bends to
PALM_CENTRE = 0.085
"""Distance of the middle of the hand from the wrist, metres: what a sign brings to its place."""

_STRAIGHT, _CURLED = (4.0, 5.0), (80.0, 102.0)
_TUCKED = (34.0, 44.0, 40.0, 45.0)  # the thumb of a fist, over the fingers
_FAN = (4.0, 0.0, -3.0, -7.0)  # how the fingers spread when nobody spreads them


def _shape(thumb: tuple[float, float, float, float], *fingers: tuple[float, float], fan: tuple[float, ...] = _FAN) -> np.ndarray:
    """A handshape from the thumb's angles and the (mcp, pip) of the index to the little finger; the last given one repeats."""
    given = [*fingers, *[fingers[-1]] * (4 - len(fingers))]
    angles = [*thumb, *(a for bend, spread in zip(given, fan, strict=True) for a in (*bend, spread))]
    shape = np.array(angles)
    shape.flags.writeable = False
    return shape


SHAPES: dict[str, np.ndarray] = {
    "relaxed": _shape((38, 26, 12, 15), (24, 28), (28, 32), (32, 36), (34, 38)),
    "flat": _shape((30, 8, 4, 4), _STRAIGHT),
    "spread": _shape((66, 14, 0, 0), _STRAIGHT, fan=(14, 3, -9, -20)),
    "fist": _shape(_TUCKED, _CURLED),
    "point": _shape(_TUCKED, _STRAIGHT, _CURLED),
    "v": _shape(_TUCKED, _STRAIGHT, _STRAIGHT, _CURLED, fan=(13, -11, -3, -7)),
    "o": _shape((32, 36, 32, 20), (52, 52), (52, 54), (52, 56), (52, 58)),
    "c": _shape((52, 58, 0, 8), (32, 36), (34, 36), (36, 36), (38, 36)),
    "thumb": _shape((58, 6, -5, -5), _CURLED),
    "pinky": _shape(_TUCKED, _CURLED, _CURLED, _CURLED, _STRAIGHT, fan=(4, 0, -3, -12)),
    "claw": _shape((62, 38, 16, 30), (4, 80), fan=(14, 3, -9, -20)),
    "l": _shape((78, 8, -5, -5), _STRAIGHT, _CURLED),
    "bent": _shape((36, 24, 6, 8), (76, 8)),
    "pinch": _shape((38, 36, 32, 40), (56, 54), (10, 10), (6, 8), (4, 6), fan=(4, 1, -8, -18)),
}
"""Handshapes by name, each `(16,)` degrees."""


def local_hand(angles: np.ndarray) -> np.ndarray:
    """The joints of a hand of average size in its own frame.

    Args:
        angles: `(..., 16)` degrees, as `ANGLES`; bent back into what a hand can do where they leave it.

    Returns:
        `(..., 21, 3)` metres from the wrist: radial, distal, volar; joints as `motion.keypoints.HAND`.
    """
    a = np.radians(np.minimum(np.maximum(angles, _LOW), _HIGH))
    joints = np.zeros((*a.shape[:-1], 21, 3))
    fingers = a[..., 4:].reshape(*a.shape[:-1], 4, 3)
    mcp, pip, spread = fingers[..., 0], fingers[..., 1], fingers[..., 2]
    bend = np.stack([mcp, mcp + pip, mcp + (1 + _FOLLOWS) * pip], -1)  # of each bone against the palm
    along = np.cos(bend) * _PHALANGES
    bones = np.stack([along * np.sin(spread)[..., None], along * np.cos(spread)[..., None], np.sin(bend) * _PHALANGES], -1)
    chain = joints[..., 5:, :].reshape(*a.shape[:-1], 4, 4, 3)
    chain[..., 0, :] = _KNUCKLES
    chain[..., 1:, :] = _KNUCKLES[:, None] + np.cumsum(bones, -2)
    joints[..., 5:, :] = chain.reshape(*a.shape[:-1], 16, 3)
    joints[..., 1:5, :] = _thumb(a[..., :4])
    return joints


def _thumb(a: np.ndarray) -> np.ndarray:
    """`(..., 4)` radians -> `(..., 4, 3)` metres: base, knuckle, middle joint, tip."""
    abduct, oppose = a[..., 0], a[..., 1]
    first = np.stack([np.cos(oppose) * np.sin(abduct), np.cos(oppose) * np.cos(abduct), np.sin(oppose)], -1)
    across = _ACROSS - (first @ _ACROSS)[..., None] * first
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    bend = np.stack([np.zeros_like(abduct), a[..., 2], a[..., 2] + a[..., 3]], -1)[..., None]
    bones = (np.cos(bend) * first[..., None, :] + np.sin(bend) * across[..., None, :]) * _THUMB_BONES[:, None]
    chain = np.empty((*a.shape[:-1], 4, 3))
    chain[..., 0, :] = _THUMB_BASE
    chain[..., 1:, :] = _THUMB_BASE + np.cumsum(bones, -2)
    return chain


def place_hand(local: np.ndarray, wrist: np.ndarray, fingers: np.ndarray, palm: np.ndarray) -> np.ndarray:
    """A hand at a wrist.

    Args:
        local: `(..., 21, 3)` metres in the hand's frame. wrist: `(..., 3)` metres, in the frame of its own arm: outwards, up, forward.
        fingers, palm: `(..., 3)` where the fingers and the palm point to, in that frame; unit length, at right angles.

    Returns:
        `(..., 21, 3)` metres outwards, up and forward.
    """
    radial = np.cross(palm, fingers)  # this order, because outwards, up, forward is left-handed for the right arm
    return wrist[..., None, :] + local @ np.stack([radial, fingers, palm], -2)
