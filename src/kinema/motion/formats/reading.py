"""Clips out of whatever a person names: a file of motion, a folder or zip of them, an array with a skeleton from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...errors import UserError
from ..clip import Clip
from ..skeleton import Skeleton
from ..skeletons import SKELETONS
from . import FORMATS, claimed, guess, read_file, user
from .members import members
from .npz import from_array, read_array
from .tables import MAX_TEXT, number_table

BARE = (".npy", ".npz", ".csv")
"""Files of numbers that may need a skeleton from elsewhere."""


def read_clips(source: Path, skeleton: Skeleton | None = None) -> Iterator[Clip]:
    """The clips of a motion file, or of all files of a folder or zip, one file in memory at a time.

    Args:
        source: where they are; a file within a zip is ``archive.zip:inner/path``.
        skeleton: joints of bare arrays.

    Raises:
        UserError: nothing that can be read there. FormatError: a damaged file.
    """
    source = Path(source)
    if source.is_dir() or (source.is_file() and source.suffix.lower() == ".zip"):
        name = guess(source)
        if name != "user" and skeleton is not None:
            raise UserError(f"--skeleton belongs to bare arrays; the files in {source} ({name}) know their own: leave it out")
        jobs = FORMATS[name].jobs(source) if skeleton is None else user.jobs(source, None, skeleton)
        for job in jobs:
            yield from FORMATS[name].read(job)
    elif skeleton is not None:
        yield _bare(source, skeleton)
    elif source.is_file() and source.suffix.lower() in (".npy", ".csv") and source.name != user.INDEX and not claimed(source):
        raise UserError(f"{source}: a bare array; name its joints with --skeleton, a JSON or one of {', '.join(SKELETONS)}")
    else:
        for clip in read_file(source):
            # Kinema's own file knows where its clip was read from first; who names a file asks about this one
            yield clip.with_(source=str(source)) if source.suffix.lower() == ".npz" else clip


def _bare(file: Path, skeleton: Skeleton) -> Clip:
    if file.suffix.lower() not in BARE:
        raise UserError(f"--skeleton belongs to bare arrays ({', '.join(BARE)}), which {file} is not: leave it out")
    member = members(file)[0]
    if file.suffix.lower() == ".csv":
        return from_array(number_table(member.read(MAX_TEXT), member.origin), None, skeleton, user.FPS, member.origin)
    return read_array(member, skeleton, user.FPS)
