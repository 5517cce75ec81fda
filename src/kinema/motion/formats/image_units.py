"""Whether 2-D joints are pixels of a picture: files of poses do not say it, and normalised ones keep the header of the picture.

One joint decides nothing here: a person seen from the side, divided by the width of the shoulders, has feet at 15, and one joint that
an estimator lost may be anywhere. Asked is where most joints are, and where the origin is: in the corner of a picture, or within the
person.
"""

from __future__ import annotations

import numpy as np

from ..skeleton import Skeleton

NORMALISED_WITHIN = 8.0
"""People of whom three quarters of the joints are this close to zero are not in pixels: nobody is so small, and in the corner too."""
CENTRED_WITHIN = 0.03
"""Part of a person's size within which a joint that people are centred on is at the origin, if they are centred on it. In pixels, that is
the corner of the picture: somebody close up may reach beyond it, but hardly has the middle of the shoulders right there."""
BEYOND = 0.05
"""Part of a person's size by which a joint is beyond the origin on its negative side, outside any picture, if they are centred."""
LARGE = 0.1
"""Part of the picture from which people fit it: numbers of such a size are pixels, also where shoulders are a pixel apart."""
SAME_WIDTH = 0.02
"""How far from 1 the mean distance of the shoulders may be where it was made 1; pixels would be so only by chance."""
MOST_FRAMES = 512
"""Frames that are looked at, evenly spaced: enough for a median, and quick in a clip of an hour."""
_CENTRES = (
    *(("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"), ("neck",), ("hip_centre",), ("nose",)),
    *(("hand_root",), ("middle1",), ("hand_root", "middle1"), ("left_hand_root",), ("right_hand_root",)),
)


def image_units(xy: np.ndarray, seen: np.ndarray, skeleton: Skeleton, image_size: tuple[int, int] | None = None) -> str:
    """``pixels`` or ``normalised``: shares of the picture, shoulder widths, and whatever else is centred on the person.

    Args:
        xy: `(T, M, J, 2)` finite numbers. seen: `(T, M, J)` bool, which of them count. skeleton: names the `J` joints.
        image_size: (width, height) that the file gives, perhaps of the picture before they were normalised.
    """
    frames = np.unique(np.linspace(0, len(xy) - 1, min(len(xy), MOST_FRAMES)).astype(np.int64))
    joints = xy[frames].reshape(-1, *xy.shape[2:]).astype(np.float64)  # (N people of frames, J, 2)
    there = seen[frames].reshape(-1, xy.shape[2]) & (joints != 0).any(-1)
    somebody = there.any(1)
    joints, there = joints[somebody], there[somebody]
    if not len(joints):
        return "pixels"
    if np.quantile(np.abs(joints[there]).max(-1), 0.75) <= NORMALISED_WITHIN:
        return "normalised"
    known = np.where(there[..., None], joints, np.nan)
    middle = np.nanmedian(known, axis=1)  # (N, 2)
    size = 2 * float(np.median(np.nanquantile(np.abs(known - middle[:, None]).max(-1), 0.75, axis=1)))
    centres = [middle, np.nanmean(known, axis=1), *_named(joints, there, skeleton)]
    if size > 0 and np.median(np.nanmin(known, axis=(1, 2))) < -BEYOND * size and any(_at_origin(c, size) for c in centres):
        return "normalised"
    fits = image_size is not None and size > LARGE * min(image_size) > 0
    return "normalised" if not fits and _shoulders_one(joints, there, skeleton) else "pixels"


def _named(joints: np.ndarray, there: np.ndarray, skeleton: Skeleton) -> list[np.ndarray]:
    """What people are usually centred on: joints, or the middle of two, `(N, 2)` each, where they are seen."""
    chosen = [[skeleton.index(name) for name in names] for names in _CENTRES if skeleton.has(*names)]
    return [joints[:, at][there[:, at].all(1)].mean(1) for at in chosen]


def _at_origin(centre: np.ndarray, size: float) -> bool:
    """Whether `(N, 2)` is at the origin: of each frame, or of the whole clip, in which somebody may walk: its mean is, its median is not."""
    return len(centre) > 0 and any(float(np.linalg.norm(f(centre, axis=0))) <= CENTRED_WITHIN * size for f in (np.mean, np.median))


def _shoulders_one(joints: np.ndarray, there: np.ndarray, skeleton: Skeleton) -> bool:
    """Whether shoulders are on average 1 apart: scaled, and not centred."""
    if not skeleton.has("left_shoulder", "right_shoulder"):
        return False
    left, right = skeleton.index("left_shoulder"), skeleton.index("right_shoulder")
    both = there[:, left] & there[:, right]
    return (
        bool(both.any())
        and abs(float(np.linalg.norm((joints[:, left] - joints[:, right])[both], axis=-1).mean()) - 1) <= SAME_WIDTH
    )
