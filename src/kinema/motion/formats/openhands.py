"""The poses of AI4Bharat's OpenHands: a pickle for each video, with `keypoints` (T, 75, C) and `confidences` (T, 75).

The 75 points are MediaPipe's: 33 of the pose, 21 of the left and 21 of the right hand.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import numpy as np

from ...errors import FormatError
from ..clip import Clip
from ..keypoints import HOLISTIC75
from . import peek
from .estimates import check_shape, estimated
from .jobs import Job
from .members import Member, members
from .unpickle import load

NAME = re.compile(r"[^.].*\.(?:pkl|pickle)")
"""File names of this format; `claims` tells these files from others of such names."""
MAX_FILE = 128 * 2**20
"""Largest file that is read, bytes; ten minutes take 30 MB."""
FPS = 25.0
"""Frames per second, which these files do not hold."""


def claims(member: Member) -> bool:
    """Whether the content of a file is of this format."""
    return {"keypoints", "confidences"} <= peek.keys(member)


def jobs(source: Path) -> list[Job]:
    """One job a file, named by its path."""
    return [Job(m.name, m) for m in members(source) if NAME.fullmatch(m.file)]


def read(job: Job) -> list[Clip]:
    """One clip, `(T, 1, 75, 2)` with confidence; a third coordinate, MediaPipe's relative depth, is not kept.

    Raises:
        FormatError: not such a file, or a pickle that holds anything but data.
    """
    return from_pickle(load(job.member.read(MAX_FILE), job.member.origin), job.member.origin, job.units)


def fits(value: Any) -> bool:
    """Whether what a pickle holds is of this format."""
    return isinstance(value, dict) and {"keypoints", "confidences"} <= cast("dict[str, Any]", value).keys()


def from_pickle(value: Any, origin: str, units: str | None = None) -> list[Clip]:
    """`read`, of what the pickle holds."""
    known = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    points, scores = (_numbers(known, name, origin) for name in ("keypoints", "confidences"))
    joints = len(HOLISTIC75)
    if points.ndim != 3 or points.shape[1] != joints or points.shape[2] not in (2, 3):
        raise FormatError(origin, f"keypoints {points.shape}; expected (frames, {joints}, 2 or 3): pose 33, left hand, right hand")
    if scores.shape != points.shape[:2]:
        raise FormatError(origin, f"confidences {scores.shape}; expected {points.shape[:2]}, one for each point")
    check_shape(len(points), 1, joints, origin)
    return [estimated(points[:, None, :, :2], scores[:, None], HOLISTIC75, FPS, origin, units=units)]


def _numbers(known: dict[str, Any], name: str, origin: str) -> np.ndarray:
    value = cast("np.ndarray", known[name]) if isinstance(known.get(name), np.ndarray) else np.zeros(0, bool)
    if value.dtype.kind not in "fiu":
        raise FormatError(origin, f"{name} is no array of numbers; expected an OpenHands pickle with keypoints and confidences")
    return value
