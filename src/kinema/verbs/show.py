"""`kinema show`."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..text import say
from ..view.describe import describe
from ..view.figure import save_gif, save_mp4, save_png
from .common import check_writable, chosen_clip

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
    clip, total = chosen_clip(file, number, skeleton)
    say(f"clip {number} of {total}" if total else f"clip {number}")
    say(*describe(clip).split("\n"))
    if kind == ".png":
        save_png(clip, out)
    elif kind == ".gif":
        save_gif(clip, out)
    else:
        codec = save_mp4(clip, out)
        if codec != "h264":
            say(f"this build of FFmpeg has no h264 encoder: written as {codec}")
    say(f"drawn to {out}")
