"""Clips out of whatever a person names: a file of motion, a folder or zip of them, an array with a skeleton from elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

from ...errors import UserError
from ...text import plain
from ..clip import Clip
from ..skeleton import Skeleton
from ..skeletons import SKELETONS
from . import FORMATS, claimed, guess, read_file, readings, user
from .jobs import ClipList, Skipped, in_order
from .members import members
from .npz import from_array, read_array
from .tables import MAX_TEXT, number_table

BARE = (".npy", ".npz", ".csv")
"""Files of numbers that may need a skeleton from elsewhere."""


def read_clips(source: Path, skeleton: Skeleton | None = None, skipped: list[Skipped] | None = None) -> Iterator[Clip]:
    """The clips of a motion file, or of all files of a folder or zip, one file in memory at a time.

    A clip of a file of many, or a file of a folder of many, that cannot be read is left out.

    Args:
        source: where they are; a file within a zip is ``archive.zip:inner/path``.
        skeleton: joints of bare arrays.
        skipped: takes what was left out; None: a Python warning tells it.

    Raises:
        UserError: nothing that can be read there. FormatError: a damaged file, or nothing in it can be read.
    """
    bad: list[Skipped] = [] if skipped is None else skipped
    good = 0
    for item in _found(Path(source), skeleton):
        if isinstance(item, Clip):
            good += 1
            yield item
        else:
            bad.append(item)
    if not good:
        ClipList.some(bad, str(source))
    if bad and skipped is None:
        warnings.warn(plain(f"{source}: {len(bad)} skipped; the first: {bad[0].name}: {bad[0].reason}"), stacklevel=2)


def _found(source: Path, skeleton: Skeleton | None) -> Iterator[Clip | Skipped]:
    """The clips, and in their places what cannot be read."""
    if source.is_dir() or (source.is_file() and source.suffix.lower() == ".zip"):
        name = guess(source)
        if name != "user" and skeleton is not None:
            raise UserError(f"--skeleton belongs to bare arrays; the files in {source} ({name}) know their own: leave it out")
        jobs = FORMATS[name].jobs(source) if skeleton is None else user.jobs(source, None, skeleton)
        # of a folder of one file that file is asked for, so its error is the answer
        yield from in_order(FORMATS[name].read(jobs[0])) if len(jobs) == 1 else readings(FORMATS[name], jobs)
    elif skeleton is not None:
        yield _bare(source, skeleton)
    elif source.is_file() and source.suffix.lower() in (".npy", ".csv") and source.name != user.INDEX and not claimed(source):
        raise UserError(f"{source}: a bare array; name its joints with --skeleton, a JSON or one of {', '.join(SKELETONS)}")
    else:
        for item in read_file(source).found:
            # Kinema's own file knows where its clip was read from first; who names a file asks about this one
            own = isinstance(item, Clip) and source.suffix.lower() == ".npz"
            yield item.with_(source=str(source)) if isinstance(item, Clip) and own else item


def _bare(file: Path, skeleton: Skeleton) -> Clip:
    if file.suffix.lower() not in BARE:
        raise UserError(f"--skeleton belongs to bare arrays ({', '.join(BARE)}), which {file} is not: leave it out")
    member = members(file)[0]
    if file.suffix.lower() == ".csv":
        return from_array(number_table(member.read(MAX_TEXT), member.origin), None, skeleton, user.FPS, member.origin)
    return read_array(member, skeleton, user.FPS)
