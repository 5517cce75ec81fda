"""`kinema show`."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..text import say
from ..view.describe import describe
from ..view.figure import DRAWINGS, save
from .common import check_writable, chosen_clip


def show(file: Path, number: int, out: Path | None, skeleton: Path | None) -> None:
    """Prints one clip and draws it.

    Raises:
        UserError: nothing readable, no such clip, or a drawing of unknown kind.
    """
    out = out or Path(f"{file.stem or 'clip'}.png")
    if out.suffix.lower() not in DRAWINGS:
        raise UserError(f"--out {out}: expected a name that ends in {', '.join(DRAWINGS)}")
    check_writable(out)
    clip, total = chosen_clip(file, number, skeleton)
    say(f"clip {number} of {total}" if total else f"clip {number}")
    say(*describe(clip).split("\n"))
    codec = save(clip, out)
    if codec not in (None, "h264"):
        say(f"this build of FFmpeg has no h264 encoder: written as {codec}")
    say(f"drawn to {out}")
