"""What several verbs need."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..data.store import Store, is_store
from ..errors import UserError
from ..motion.clip import Clip
from ..motion.formats import claimed, guess, user
from ..motion.formats.jobs import Skipped
from ..motion.formats.members import members
from ..motion.formats.reading import BARE, read_clips
from ..motion.skeleton import Skeleton
from ..motion.skeletons import skeleton_of
from ..text import one_line, say
from ..words import plural

if TYPE_CHECKING:  # torch, which other verbs do without
    from ..recognition.run import Trained

LARGE = 16 * 2**20
"""From this size on it is told that a file is being read, bytes."""
TOLD = 10
"""Clips that are named when they are left out."""


def say_table(heads: Sequence[str], rows: Iterable[Sequence[object]], title: object = "", right: Collection[str] = ()) -> None:
    """Prints a table of what may come out of files: no cell can drive the terminal, and brackets in it are no markup.

    Args:
        heads: of the columns. rows: a cell for each. title: above it, from the left. right: heads of columns of numbers.
    """
    table = Table(title=Text(one_line(title)) if title else None, title_justify="left")
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    Console().print(table)


def tell_large(source: Path) -> None:
    """One line on standard error before a large file is read: until it has been, nothing can be counted."""
    if source.is_file() and (size := source.stat().st_size) >= LARGE:
        say(f"reading {source}, {size / 2**20:.0f} MB", to=sys.stderr)


def told_clips(source: Path, skeleton: Skeleton | None = None) -> Iterator[Clip]:
    """As `read_clips`; what is left out is told on standard error, the first few by name."""
    tell_large(source)
    skipped: list[Skipped] = []
    good = False
    try:
        for clip in read_clips(source, skeleton, skipped):
            good = True
            yield clip
    finally:  # also where no more than the first few are asked for; where nothing can be read, the error says so
        if skipped and good:
            more = [f"  and {len(skipped) - TOLD} more"] if len(skipped) > TOLD else []
            first = [f"  {item.name}: {item.reason}" for item in skipped[:TOLD]]
            say(f"{source}: {len(skipped)} skipped:", *first, *more, to=sys.stderr)


def chosen_clip(file: Path, number: int, skeleton: Path | None) -> tuple[Clip, int | None]:
    """The clip, and how many there are (None for a folder or zip, of which no more is read than has to be)."""
    if is_store(file):
        if skeleton is not None:
            raise UserError(f"--skeleton belongs to bare arrays; the store {file} knows its own: leave it out")
        store = Store.open(file)
        return store.clip(checked_number(number, len(store), file)), len(store)
    clips = told_clips(file, None if skeleton is None else skeleton_of(skeleton))
    if not file.is_dir() and file.suffix.lower() != ".zip":
        found = list(clips)
        return found[checked_number(number, len(found), file)], len(found)
    first = list(islice(clips, max(number, 0) + 1))
    return first[checked_number(number, len(first), file)], None


def clip_for(file: Path, number: int, skeleton: Skeleton, units: str | None = None) -> tuple[Clip, int | None]:
    """As `chosen_clip` finds it for `kinema show`; a bare array has the joints and (if they are given) the units of a run."""
    if file.is_file() and _is_bare(file):
        found = list(told_clips(file, skeleton))
        clip = found[checked_number(number, len(found), file)]
        return clip if units is None else clip.with_(units=units), len(found)
    return chosen_clip(file, number, None)


def clips_for(source: Path, skeleton: Skeleton | None, run: Skeleton) -> Iterator[Clip]:
    """The clips of files as `read_clips` gives them; bare arrays have the joints that were named (`skeleton`), or else those of a run."""
    bare = _is_bare(source) if source.is_file() else skeleton is None and _lacks_skeleton(source)
    return told_clips(source, run if bare and skeleton is None else skeleton)


def _lacks_skeleton(source: Path) -> bool:
    """Whether a folder or zip holds a user's table and does not say of which joints its arrays are."""
    if not source.exists() or guess(source) != "user":
        return False
    return user.SKELETON not in {member.file for member in members(source)}


def tell_unfinished(folder: Path, epochs: float) -> None:
    """One line on standard error where the weights of a run of so many epochs are not those of its end; none for imported weights.

    Raises:
        CheckpointError: there are checkpoints, but none is whole.
    """
    from ..training.checkpoint import newest  # torch, which other verbs do without

    found = newest(folder)
    if found is None or found.state.finished:
        return
    state = found.state
    total = f" of {max(1, round(epochs * round(state.index / state.epoch)))}" if state.epoch > 0 else ""
    steps = f"{state.step}{total} steps" if total else plural(state.step, "step")
    say(f"{folder}: trained {steps}; what it says is that of an unfinished run", to=sys.stderr)


def tell_weights(run: Trained) -> None:
    """One line on standard error where the weights of a run are averaged ones."""
    if run.averaged:
        ema = f"{run.recipe.ema:g}"
        say(f"{run.folder}: its averaged weights are used (ema {ema}); --weights last takes those of its last step", to=sys.stderr)


def _is_bare(file: Path) -> bool:
    """Whether a file holds positions and does not say of which joints."""
    kind = file.suffix.lower()
    if kind == ".npz":
        try:
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
        except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):
            return False  # its reader says what is wrong
        return "positions.npy" in names and "skeleton.npy" not in names
    return kind in BARE and file.name != user.INDEX and not claimed(file)


def checked_number(number: int, total: int, file: Path) -> int:
    """`number`, if `file` has so many clips; raises UserError otherwise."""
    if not 0 <= number < total:
        raise UserError(f"--clip {number}: {file} has {plural(total, 'clip')}" + (f", from 0 to {total - 1}" if total else ""))
    return number


def check_writable(path: Path) -> None:
    """Asked before long work: could `path` be made, or written into if it is a folder? What happens later is told later.

    Raises:
        UserError: a file is in its way, or the folder is read-only.
    """
    place = Path(path)
    while not place.exists() and place != place.parent:
        place = place.parent
    if place != Path(path) and not place.is_dir():
        raise UserError(f"{path}: cannot write here, because {place} is a file; choose another --out")
    if not os.access(place, os.W_OK):
        raise UserError(f"{path}: cannot write here (read-only or no permission); choose another --out")


def check_file(path: Path) -> None:
    """As `check_writable`, for what is to be a file."""
    if path.is_dir():
        raise UserError(f"{path}: a folder is in the way of the file; choose another --out")
    check_writable(path)


def check_folder(path: Path) -> None:
    """As `check_writable`, for what is to be a folder."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: a file is in the way of the folder; choose another --out")
    check_writable(path)
