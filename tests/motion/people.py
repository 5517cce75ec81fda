"""Synthetic people: a body that stands, sits or lies, with hands, seen by a camera from anywhere. Nothing of anybody's data."""

from __future__ import annotations

import numpy as np

from kinema.motion.keypoints import HAND, HOLISTIC75
from kinema.motion.skeleton import Skeleton, tree

# metres: x to the person's left, y up, z to the front; the right side is the left one mirrored
_MIDDLE = {"nose": (0, 1.62, 0.12), "mouth": (0.025, 1.57, 0.1)}
_LEFT = {
    **{"eye_inner": (0.02, 1.66, 0.1), "eye": (0.03, 1.66, 0.1), "eye_outer": (0.045, 1.66, 0.09), "ear": (0.075, 1.64, 0)},
    **{"mouth": (0.025, 1.57, 0.1), "shoulder": (0.18, 1.42, 0), "elbow": (0.22, 1.14, 0.02), "wrist": (0.2, 0.98, 0.2)},
    **{"pinky_knuckle": (0.22, 0.9, 0.24), "index_knuckle": (0.18, 0.9, 0.25), "thumb_knuckle": (0.16, 0.93, 0.22)},
    **{
        "hip": (0.1, 0.95, 0),
        "knee": (0.11, 0.52, 0.02),
        "ankle": (0.12, 0.09, 0),
        "heel": (0.12, 0.04, -0.05),
        "foot_index": (0.13, 0.02, 0.16),
    },
}
_SITTING = {"knee": (0.12, 0.95, 0.42), "ankle": (0.12, 0.5, 0.42), "heel": (0.12, 0.45, 0.37), "foot_index": (0.13, 0.43, 0.58)}


def joint(name: str, sitting: bool = False) -> np.ndarray:
    """Where a joint of `HOLISTIC75` is, metres, y up, x to the person's left, z to the front."""
    side, _, rest = name.partition("_")
    if name in _MIDDLE:
        return np.array(_MIDDLE[name], float)
    if rest in HAND:
        finger = rest.rstrip("1234")
        spread = {"hand_root": 0, "thumb": 0.03, "index": 0.02, "middle": 0, "ring": -0.015, "little": -0.03}[finger]
        length = 0.0 if rest == "hand_root" else 0.05 + 0.025 * int(rest[-1])
        place = np.array(_LEFT["wrist"]) + np.array([-spread, -0.7 * length, 0.7 * length])
    else:
        place = np.array((_SITTING if sitting and rest in _SITTING else _LEFT)[rest], float)
    return place * [1 if side == "left" else -1, 1, 1]


BODY = tree(
    "body",
    """
    pelvis -
    spine pelvis
    neck spine
    head neck
    left_shoulder neck
    left_elbow left_shoulder
    left_wrist left_elbow
    right_shoulder neck
    right_elbow right_shoulder
    right_wrist right_elbow
    left_hip pelvis
    left_knee left_hip
    left_ankle left_knee
    left_toe left_ankle
    right_hip pelvis
    right_knee right_hip
    right_ankle right_knee
    right_toe right_ankle
    """,
)
_TRUNK = {"pelvis": (0, 0.95, 0), "spine": (0, 1.2, 0), "neck": (0, 1.45, 0), "head": (0, 1.65, 0.03)}


def body(frames: int = 24, seed: int = 0, skeleton: Skeleton = BODY, size: float = 1.0, sitting: bool = False) -> np.ndarray:
    """`(T, J, 3)` metres, y up, right-handed: a person who turns to a random side, swings the arms a little and walks."""
    rng = np.random.default_rng(seed)
    names = [n.replace("_toe", "_foot_index") for n in skeleton.joints]
    rest = np.array([_TRUNK[n] if n in _TRUNK else joint(n, sitting) for n in names]) * size
    yaw = rng.uniform(0, 2 * np.pi) + np.linspace(0, 0.5, frames)
    swing = 0.3 * np.sin(np.linspace(0, 6, frames) + rng.uniform(0, 6))
    moved = np.repeat(rest[None], frames, 0)
    for side in ("left", "right"):
        shoulder = next((i for i, n in enumerate(names) if n == f"{side}_shoulder"), None)
        arm = [i for i, n in enumerate(names) if n.startswith(side) and any(w in n for w in ("elbow", "wrist", "knuckle", *HAND))]
        if shoulder is not None and arm:
            c, s = np.cos(swing)[:, None], np.sin(swing)[:, None]
            off = rest[arm] - rest[shoulder]
            moved[:, arm, 1] = rest[shoulder, 1] + c * off[:, 1] - s * off[:, 2]
            moved[:, arm, 2] = rest[shoulder, 2] + s * off[:, 1] + c * off[:, 2]
    c, s = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    x, y, z = np.moveaxis(moved, -1, 0)
    # a world with x to the left of somebody who faces z, y up, is right-handed
    result = np.stack([c * x + s * z, y, c * z - s * x], -1)
    result += rng.normal(0, 0.004, result.shape)
    result[..., [0, 2]] += np.linspace(0, 0.5, frames)[:, None, None] * rng.normal(size=2) + rng.normal(size=2)
    return result


def picture(
    frames: int = 12,
    seed: int = 0,
    yaw: float = 0.0,
    height: float = 300.0,
    at: tuple[float, float] = (320.0, 240.0),
    sitting: bool = False,
) -> np.ndarray:
    """`(T, 75, 2)` pixels, y down: a person of a height in pixels whose middle is at a place, seen from a side (yaw pi / 2)."""
    rng = np.random.default_rng(seed)
    rest = np.array([joint(n, sitting) for n in HOLISTIC75.joints])
    flat = np.stack([np.cos(yaw) * rest[:, 0] + np.sin(yaw) * rest[:, 2], -rest[:, 1] + 0.9], -1) * height / 1.7
    walk = (np.linspace(-0.1, 0.1, frames) if frames > 1 else np.zeros(1))[:, None, None] * [height, 0]
    return flat + np.array(at) + walk + rng.normal(0, height / 400, (frames, 75, 2))


def normalised(xy: np.ndarray, left: int, right: int) -> np.ndarray:
    """As pose-format normalises `(T, J, 2)`: the shoulders' middle of the clip at 0, and their mean distance 1."""
    p, q = xy[:, left], xy[:, right]
    return (xy - ((p + q) / 2).mean(0)) / np.linalg.norm(p - q, axis=-1).mean()
