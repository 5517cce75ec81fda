"""`kinema show`."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from ..data.store import INDEX, Store
from ..errors import UserError
from ..motion.clip import Clip
from ..view.describe import describe
from ..view.figure import save_gif, save_mp4, save_png
from .common import check_writable, plain, read_clips, skeleton_of

DRAWINGS = (".png", ".gif", ".mp4")


def show(file: Path, number: int, out: Path | None, skeleton: Path | None) -> None:
    """Prints one clip and draws it.

    Raises:
        UserError: nothing readable, no such clip, or a drawing of unknown kind.
    """
    out = out or Path(f"{file.stem or 'clip'}.png")
    kind = out.suffix.lower()
    if kind not in DRAWINGS:
        raise UserError(f"--out {out}: expected a name that ends in {', '.join(DRAWINGS)}")
    check_writable(out)
    clip, total = _clip(file, number, skeleton)
    print(f"clip {number} of {total}" if total else f"clip {number}")
    print(plain(describe(clip)))
    if kind == ".png":
        save_png(clip, out)
    elif kind == ".gif":
        save_gif(clip, out)
    else:
        codec = save_mp4(clip, out)
        if codec != "h264":
            print(f"this build of FFmpeg has no h264 encoder: written as {codec}")
    print(f"drawn to {plain(out)}")


def _clip(file: Path, number: int, skeleton: Path | None) -> tuple[Clip, int | None]:
    """The clip, and how many there are (None for a folder or zip, of which no more is read than has to be)."""
    if (file / INDEX).is_file():
        if skeleton is not None:
            raise UserError(f"--skeleton belongs to bare arrays; the store {file} knows its own: leave it out")
        store = Store.open(file)
        return store.clip(_checked(number, len(store), file)), len(store)
    clips = read_clips(file, None if skeleton is None else skeleton_of(skeleton))
    if not file.is_dir() and file.suffix.lower() != ".zip":
        found = list(clips)
        return found[_checked(number, len(found), file)], len(found)
    first = list(islice(clips, max(number, 0) + 1))
    return first[_checked(number, len(first), file)], None


def _checked(number: int, total: int, file: Path) -> int:
    if not 0 <= number < total:
        raise UserError(f"--clip {number}: {file} has {total} clips" + (f", from 0 to {total - 1}" if total else ""))
    return number
