"""`kinema show`."""

from __future__ import annotations

from pathlib import Path

from ..data.store import INDEX, Store
from ..errors import UserError
from ..motion.clip import Clip
from ..motion.formats import read_file
from ..view.describe import describe
from ..view.figure import save_gif, save_mp4, save_png
from .common import skeleton_of

DRAWINGS = (".png", ".gif", ".mp4")


def show(file: Path, number: int, out: Path | None, skeleton: Path | None) -> None:
    """Prints one clip and draws it.

    Raises:
        UserError: nothing readable, no such clip, or a drawing of unknown kind.
    """
    out = out or Path(f"{file.stem or 'clip'}.png")
    if out.suffix.lower() not in DRAWINGS:
        raise UserError(f"--out {out}: expected a name that ends in {', '.join(DRAWINGS)}")
    if (file / INDEX).is_file():
        store = Store.open(file)
        total = len(store)
        clip = store.clip(_checked(number, total, file))
    else:
        clips: list[Clip] = read_file(file) if skeleton is None else read_file(file, skeleton=skeleton_of(skeleton))
        total = len(clips)
        clip = clips[_checked(number, total, file)]
    print(f"clip {number} of {total}")
    print(describe(clip))
    kind = out.suffix.lower()
    if kind == ".png":
        save_png(clip, out)
    elif kind == ".gif":
        save_gif(clip, out)
    else:
        codec = save_mp4(clip, out)
        if codec != "h264":
            print(f"this build of FFmpeg has no h264 encoder: written as {codec}")
    print(f"drawn to {out}")


def _checked(number: int, total: int, file: Path) -> int:
    if not 0 <= number < total:
        raise UserError(f"--clip {number}: {file} has {total} clips, from 0 to {total - 1}")
    return number
