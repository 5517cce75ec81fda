"""What pose estimators write, made into clips: joints in the image with a score each."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import FormatError, UserError
from ...words import plural
from ..clip import MAX_FRAMES, MAX_PEOPLE, Clip
from ..skeleton import Skeleton
from .image_units import image_units
from .tables import finite

HIGHEST_SCORE = 10.0
"""Scores of which most are above this are on another scale than 0 to 1, such as percent. Heat maps go a little above 1, COCO marks what
is visible with 2, and some networks give sums, which say no more than that a joint was seen."""
INSIDE = 0.25
"""Of the sure joints, the least share within a picture whose size is believed: of a face close up, the body is guessed outside of it."""
MAX_JOINTS = 64 * 2**20
"""Most joints of one clip, frames and people together: half a gigabyte, or more than three hours of one person of 137 joints."""


def check_shape(frames: int, people: int, joints: int, origin: str) -> None:
    """Asked before anything of this size is made.

    Raises:
        FormatError: no frame, nobody, or more than a clip may hold.
    """
    if not 1 <= frames <= MAX_FRAMES:
        raise FormatError(origin, f"{frames} frames; expected 1 to {MAX_FRAMES}")
    if not 1 <= people <= MAX_PEOPLE:
        raise FormatError(origin, f"{plural(people, 'person', 'people')}; expected 1 to {MAX_PEOPLE}")
    if frames * people * joints > MAX_JOINTS:
        raise FormatError(
            origin,
            f"{frames} frames of {people} people are {frames * people * joints} joints; at most {MAX_JOINTS} are read: cut it",
        )


def estimated(
    xy: np.ndarray,
    score: np.ndarray,
    skeleton: Skeleton,
    fps: float,
    origin: str,
    image_size: tuple[int, int] | None = None,
    units: str | None = None,
    **facts: Any,
) -> Clip:
    """A clip of 2-D joints.

    Scores are cut to 0..1 (see `scores`). A joint whose score is 0 or less is absent: zero, whatever the file has there. `image_units`
    tells pixels from normalised coordinates.

    Args:
        xy: `(T, M, J, 2)` numbers, y down. score: `(T, M, J)` numbers.
        skeleton: names the `J` joints. fps: frames per second. origin: the file.
        image_size: (width, height), dropped where the coordinates turn out not to be pixels, or not those of such a picture.
        units: ``pixels`` or ``normalised``; None: as they seem to be.
        facts: further fields of `Clip`.

    Raises:
        FormatError: NaN or infinity in a score, or in a joint that was seen; scores on another scale; no frames; or what a clip cannot
            have.
    """
    confidence = scores(score, origin)
    seen = confidence > 0
    positions = finite(np.where(seen[..., None], xy, 0), origin)
    units = units or image_units(positions, seen, skeleton, image_size)
    known = units == "pixels" and image_size is not None and min(image_size) >= 1
    size = image_size if known and image_size and _within(positions[confidence >= 0.5], image_size) >= INSIDE else None
    try:
        return Clip(
            positions,
            skeleton,
            fps=fps,
            confidence=confidence,
            units=units,
            image_size=size,
            source=origin,
            **facts,
        )
    except UserError as error:
        raise FormatError(origin, str(error).removeprefix(f"{origin}: ")) from None


def scores(values: np.ndarray, origin: str, highest: float = HIGHEST_SCORE, first: int = 0) -> np.ndarray:
    """Confidences as float32 in 0..1: heat maps and interpolation leave that range a little, and are cut. Most must be at most `highest`;
    `first` is the frame of the file that they begin with.

    Raises:
        FormatError: NaN or infinity, or most scores are on another scale.
    """
    found = finite(values, origin, first)
    usual = float(np.median(found[found > 0])) if (found > 0).any() else 0.0
    if usual > highest:
        raise FormatError(origin, f"scores of about {usual:.3g}; expected 0 to 1: divide them by their scale (percent: by 100)")
    return found.clip(0, 1)


def _within(points: np.ndarray, size: tuple[int, int]) -> float:
    """The share of points `(N, 2)` that lie in the picture; 1 where there are none."""
    return float(((points >= 0) & (points <= np.array(size))).all(-1).mean()) if len(points) else 1.0
