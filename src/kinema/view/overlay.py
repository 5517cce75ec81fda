"""A clip drawn over the frames it was found in, to check a pose estimator by eye.

Blue is the person's left, orange the right, grey the midline, as in stick figures; what the estimator is less sure of is paler.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..errors import UserError
from ..files import atomic_file
from ..motion.clip import Clip
from ..motion.outline import outline
from .figure import LEFT, MIDDLE, RIGHT
from .film import write_film

SHEET_FRAMES, SHEET_COLUMNS, SHEET_SIDE = 8, 4, 480
"""A contact sheet: so many frames, so many in a row, whose longer side has so many pixels."""
PALEST = 0.25
"""Opacity of a joint of confidence 0+; it grows to 1."""


def draw_over(image: np.ndarray, clip: Clip, frame: int) -> Image.Image:
    """The people of one frame over its image.

    Args:
        image: `(H, W, 3)` uint8 RGB; of another size than the clip's `image_size` the joints are scaled to it.
        clip: 2-D, in pixels. frame: which, from 0.

    Raises:
        UserError: a clip that is not 2-D in pixels, or no such frame.
    """
    if clip.units != "pixels" or clip.positions.shape[-1] != 2:
        raise UserError(f"{clip.source or 'clip'}: only 2-D poses in pixels can be drawn over a video, not {clip.units}")
    if not 0 <= frame < clip.frames:
        raise UserError(f"{clip.source or 'clip'}: no frame {frame}; it has frames 0 to {clip.frames - 1}")
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture, "RGBA")
    width, height = clip.image_size or picture.size
    scale = np.array([picture.width / width, picture.height / height])
    plan = outline(clip.skeleton)
    points = plan.points(np.clip(clip.positions[frame] * scale, -30_000, 30_000))  # one thrown far off must not overflow the canvas
    seen = (clip.positions[frame] != 0).any(-1).astype(float) if clip.confidence is None else clip.confidence[frame]
    seen = plan.seen(seen)
    thick = max(1.0, max(picture.size) / 320)
    colours = (MIDDLE, LEFT, RIGHT)
    hands = {clip.skeleton.index(j) for name, part in clip.skeleton.parts.items() if name.endswith("hand") for j in part}
    for person in range(clip.people):
        for joint, parent, side in [*plan.lines, *((j, j, side) for j, side in enumerate(plan.sides))]:
            sure = min(seen[person, joint], seen[person, parent])
            if sure <= 0:
                continue
            ink = (*colours[side][person % 2], round(255 * (PALEST + (1 - PALEST) * float(sure))))
            stroke = thick * (0.6 if joint in hands else 1.0)
            (x, y), (x1, y1) = points[person, joint], points[person, parent]
            if joint == parent:
                draw.ellipse([x - stroke, y - stroke, x + stroke, y + stroke], fill=ink)
            else:
                draw.line([(x, y), (x1, y1)], fill=ink, width=max(1, round(stroke)))
    return picture


def save_sheet(images: Iterable[np.ndarray], clip: Clip, path: Path) -> None:
    """Writes a PNG of up to 8 frames, evenly spaced over the clip, each with its time.

    Args:
        images: of every frame of the clip `(H, W, 3)` uint8; only those shown are kept in memory.
        clip: 2-D, in pixels. path: the file to make.

    Raises:
        UserError: a clip that is not 2-D in pixels, or fewer images than frames.
    """
    chosen = set(np.linspace(0, clip.frames - 1, SHEET_FRAMES).round().astype(int).tolist())
    cells: list[Image.Image] = []
    for frame, image in zip(range(clip.frames), images, strict=False):
        if frame in chosen:
            cell = draw_over(image, clip, frame)
            cell.thumbnail((SHEET_SIDE, SHEET_SIDE))
            ImageDraw.Draw(cell).text(
                (6, 4), f"{frame / clip.fps:.2f} s", fill=(255, 255, 255), stroke_width=2, stroke_fill=(0, 0, 0)
            )
            cells.append(cell)
    if len(cells) < len(chosen):
        raise UserError(f"{path}: the video has fewer frames than the {clip.frames} poses that are drawn over it")
    width, height = cells[0].size
    columns = min(SHEET_COLUMNS, len(cells))
    sheet = Image.new("RGB", (columns * width, -(-len(cells) // columns) * height), (255, 255, 255))
    for i, cell in enumerate(cells):
        sheet.paste(cell, (i % columns * width, i // columns * height))
    with atomic_file(Path(path)) as temporary:
        sheet.save(temporary, "PNG")


def save_film(images: Iterable[np.ndarray], clip: Clip, path: Path) -> str:
    """Writes an MP4 of all frames, one in memory at a time.

    Args:
        images: of every frame of the clip `(H, W, 3)` uint8. clip: 2-D, in pixels. path: the file to make.

    Returns:
        The codec: ``h264``, or ``mpeg4`` where this machine's FFmpeg has no H.264 encoder.

    Raises:
        UserError: a clip that is not 2-D in pixels, no image, or FFmpeg refuses to encode.
    """
    drawn = (draw_over(image, clip, frame) for frame, image in zip(range(clip.frames), images, strict=False))
    return write_film(drawn, path, clip.fps, "try --overlay with a .png")
