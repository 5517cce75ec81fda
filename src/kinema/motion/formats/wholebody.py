"""COCO-WholeBody keypoints, 133 joints with x, y and a score, as arrays or as the pickles that MASA's authors and MMPose users write.

``.npy``: the array. ``.npz``: the array under the name `keypoints`. ``.pkl``: a dictionary with `keypoints`. The last two may also
have `img_list`, the names of the frames, and `image_size`, the width and height of the image, which the authors' files lack.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np

from ...errors import FormatError
from ...words import plural
from ..clip import Clip
from ..keypoints import WHOLEBODY133
from . import peek
from .estimates import check_shape, estimated
from .jobs import Job
from .members import Member, members
from .npz import read_arrays, read_npy
from .unpickle import load

NAME = re.compile(r"[^.].*\.(?:npy|npz|pkl|pickle)")
"""File names of this format; `claims` tells these files from others of such names."""
MAX_FILE = 128 * 2**20
"""Largest file that is read, bytes; ten minutes of one person take 30 MB."""
FPS = 25.0
"""Frames per second, which these files do not hold."""
JOINTS = len(WHOLEBODY133)


def claims(member: Member) -> bool:
    """Whether the content of a file is of this format."""
    if member.name.endswith(".npy"):
        return peek.shape(member)[-2:] == (JOINTS, 3)
    found = peek.keys(member)
    return "keypoints" in found and not found & {"confidences", "annotations", "positions"}


def jobs(source: Path) -> list[Job]:
    """One job a file, named by its path without the suffix (with it, where two files share the rest)."""
    found = [m for m in members(source) if NAME.fullmatch(m.file)]
    stems = [PurePosixPath(m.name).with_suffix("").as_posix() for m in found]
    count = Counter(stems)
    return [Job(s if count[s] == 1 else m.name, m) for s, m in zip(stems, found, strict=True)]


def read(job: Job) -> list[Clip]:
    """One clip, `(T, M, 133, 2)` pixels with confidence, out of `(T, 133, 3)` or `(T, M, 133, 3)`.

    Raises:
        FormatError: not such a file, or a pickle that holds anything but data.
    """
    member, origin = job.member, job.member.origin
    content = member.read(MAX_FILE)
    if member.name.endswith(".npy"):
        return _clips(read_npy(io.BytesIO(content), len(content), origin), {}, origin, job.units)
    return from_pickle(read_arrays(content, origin) if member.name.endswith(".npz") else load(content, origin), origin, job.units)


def from_pickle(value: Any, origin: str, units: str | None = None) -> list[Clip]:
    """`read`, of the dictionary that a pickle or an archive of arrays holds."""
    known = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if "keypoints" not in known:
        raise FormatError(origin, f"no keypoints in it; expected an array (frames, {JOINTS}, 3) of that name")
    return _clips(known["keypoints"], known, origin, units)


def _clips(values: Any, known: Mapping[str, Any], origin: str, units: str | None) -> list[Clip]:
    if not isinstance(values, np.ndarray):
        raise FormatError(origin, f"keypoints are {type(values).__name__}; expected an array (frames, {JOINTS}, 3)")
    given = cast("np.ndarray", values)
    points = given[:, None] if given.ndim == 3 else given
    if points.ndim != 4 or points.shape[2:] != (JOINTS, 3) or points.dtype.kind not in "fiu":
        found = f"{given.dtype} {given.shape}"
        raise FormatError(origin, f"keypoints are {found}; expected numbers (frames, {JOINTS}, 3): x, y, score")
    check_shape(points.shape[0], points.shape[1], JOINTS, origin)
    names = known.get("img_list")
    if isinstance(names, list | tuple) and len(cast("list[Any]", names)) != len(points):
        raise FormatError(origin, f"img_list names {plural(len(cast('list[Any]', names)), 'frame')}, keypoints have {len(points)}")
    return [estimated(points[..., :2], points[..., 2], WHOLEBODY133, FPS, origin, _size(known.get("image_size"), origin), units)]


def _size(value: Any, origin: str) -> tuple[int, int] | None:
    """(width, height) out of two numbers."""
    if value is None:
        return None
    sides = cast("Any", value).tolist() if isinstance(value, np.ndarray) else value
    two = tuple(cast("list[Any]", sides)) if isinstance(sides, list | tuple) else ()
    if len(two) != 2 or not all(type(n) is int and 0 < n < 2**31 for n in two):
        raise FormatError(origin, "image_size is not two whole numbers, width and height in pixels")
    return two
