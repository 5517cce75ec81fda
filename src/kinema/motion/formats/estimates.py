"""What pose estimators write, made into clips: joints in the image with a score each."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import FormatError, UserError
from ...words import plural
from ..clip import MAX_FRAMES, MAX_PEOPLE, Clip
from ..skeleton import Skeleton
from .tables import finite

NORMALISED_WITHIN = 8.0
"""Coordinates that are all this close to zero are not pixels: nobody's picture is so small. Shoulder widths and shares of the
image, the usual other units, stay well within."""
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
    **facts: Any,
) -> Clip:
    """A clip of 2-D joints.

    Scores are cut to 0..1 (heat maps and interpolation leave that range). A joint whose score is 0 or less is absent: zero, whatever
    the file has there.

    Args:
        xy: `(T, M, J, 2)` numbers, y down. score: `(T, M, J)` numbers.
        skeleton: names the `J` joints. fps: frames per second. origin: the file.
        image_size: (width, height), dropped where the coordinates turn out not to be pixels.
        facts: further fields of `Clip`.

    Raises:
        FormatError: NaN or infinity in a score, or in a joint that was seen; no frames; or what a clip cannot have.
    """
    confidence = finite(score, origin).clip(0, 1)
    seen = confidence > 0
    positions = finite(np.where(seen[..., None], xy, 0), origin)
    reach = float(np.abs(positions).max(initial=0))
    normalised = 0 < reach <= NORMALISED_WITHIN
    size = None if normalised or image_size is None or min(image_size) < 1 else image_size
    try:
        return Clip(
            positions,
            skeleton,
            fps=fps,
            confidence=confidence,
            units="normalised" if normalised else "pixels",
            image_size=size,
            source=origin,
            **facts,
        )
    except UserError as error:
        raise FormatError(origin, str(error).removeprefix(f"{origin}: ")) from None
