"""`kinema pose`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..data.extract import Holistic, Pace, extract, found, frames, pace
from ..data.video import Video
from ..errors import UserError
from ..motion.clip import Clip
from ..motion.formats import dotpose
from ..text import say
from ..training.progress import counting
from ..view.overlay import save_film, save_sheet
from ..words import plural
from .common import check_writable
from .quiet import quiet

DRAWINGS = (".mp4", ".png")
OVERLAY_SIDE = 1280
"""Longest side of a drawn film, pixels: enough to see fingers, also of a 4K video."""


def pose(video: Path, out: Path | None, overlay: Path | None, fps: float | None) -> None:
    """Finds the person in every frame, writes the poses, draws them over the video if asked, and prints what was found.

    Raises:
        UserError: names of other kinds, MediaPipe is missing, or a rate that cannot be had. FormatError: no readable video.
    """
    out = out or Path(f"{video.stem or 'video'}.pose")
    if out.suffix.lower() != ".pose":
        raise UserError(f"--out {out}: expected a name that ends in .pose")
    if overlay is not None and overlay.suffix.lower() not in DRAWINGS:
        raise UserError(f"--overlay {overlay}: expected a name that ends in {' or '.join(DRAWINGS)}")
    for path in filter(None, (out, overlay)):
        if path.exists() and video.exists() and path.samefile(video):
            raise UserError(f"{path}: this is the video itself, which would be lost; choose another name")
        check_writable(path)
    with Video.open(video) as opened:
        chosen = pace(opened, fps)
        with quiet():
            extractor = Holistic()
            with counting(chosen.total, "frame") as step:
                clip = extract(opened, extractor, chosen, step)
        if chosen.resampled and fps is None:
            say(f"its frames are unevenly spaced: taken at {chosen.fps:.6g} a second")
    dotpose.write(clip, out)
    _report(clip, out, f"MediaPipe {extractor.version}")
    if overlay is not None:
        _draw(video, chosen, clip, overlay)


def _report(clip: Clip, out: Path, by: str) -> None:
    width, height = clip.image_size or (0, 0)
    say(f"{plural(clip.frames, 'frame')}, {clip.seconds:.2f} s at {clip.fps:.6g} a second, {width} x {height} pixels, by {by}")
    counts = found(clip)
    if any(counts.values()):
        say("found in frames: " + ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in counts.items()))
    else:
        say("nobody was found in any frame; the file says so: every joint is absent")
    say(f"written to {out}")


def _draw(video: Path, chosen: Pace, clip: Clip, overlay: Path) -> None:
    """Decodes the video once more, since all of its frames would not fit into memory."""
    with Video.open(video, longest=OVERLAY_SIDE) as again:
        images: Iterator[np.ndarray] = (frame.image for frame in frames(again, chosen))
        if overlay.suffix.lower() == ".png":
            save_sheet(images, clip, overlay)
        else:
            codec = save_film(images, clip, overlay)
            if codec != "h264":
                say(f"this build of FFmpeg has no h264 encoder: written as {codec}")
    say(f"drawn to {overlay}")
