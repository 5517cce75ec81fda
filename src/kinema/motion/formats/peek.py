"""A look into a file whose suffix several formats share, to tell which one it is. What cannot be read is none of them."""

from __future__ import annotations

import io
import zipfile
from typing import Any, cast

import numpy as np

from ...errors import FormatError
from .members import Member
from .unpickle import load

MAX_PEEK = 128 * 2**20
"""Larger files are not looked into, bytes: poses of one clip stay far below."""


def keys(member: Member) -> frozenset[str]:
    """Names of the arrays of a ``.npz``, or keys of a dictionary with keypoints in a pickle; empty for anything else."""
    if member.size > MAX_PEEK:
        return frozenset()
    try:
        content = member.read(MAX_PEEK)
        if member.name.endswith(".npz"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return frozenset(name.removesuffix(".npy") for name in archive.namelist())
        if b"keypoints" not in content:  # pickles hold text as it is; a data set of another kind is not read for nothing
            return frozenset()
        value = load(content, member.origin)
    except (FormatError, zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError):
        return frozenset()
    return frozenset(cast("dict[str, Any]", value)) if isinstance(value, dict) else frozenset()


def shape(member: Member) -> tuple[int, ...]:
    """Shape of the array in a ``.npy``; empty for anything else."""
    try:
        stream = io.BytesIO(member.head(2**16))
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(stream)[0]
    except Exception:  # NumPy evaluates the header as a literal, which fails in many ways; none of them is this format
        return ()
