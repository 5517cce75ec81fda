"""Stick figures: a clip as a picture, a contact sheet, a GIF or a film.

The left side of a body is blue, the right one orange, the midline grey; what is further away is paler; a person's number stands
over the head where there are several.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..errors import UserError
from ..files import atomic_file
from ..motion.clip import Clip
from ..motion.outline import outline
from ..motion.skeleton import Skeleton
from ..text import one_line, plain
from .film import write_film
from .fonts import font
from .scene import Scene, look, nice

LEFT = ((0, 98, 163), (72, 170, 224))
"""Blue of the first person, and of the second; further people take turns."""
RIGHT = ((208, 88, 0), (236, 165, 20))
"""Orange, likewise."""
MIDDLE = ((74, 78, 84), (140, 146, 154))
"""Grey, likewise."""
PAPER, INK, FLOOR = (255, 255, 255), (60, 64, 70), (204, 208, 214)
DRAWINGS = (".png", ".gif", ".mp4")
MAX_GIF_FRAMES = 150
MAX_SIDE = 4096
"""Largest width or height of a picture, pixels."""
FINER = 2
"""Pictures are drawn this many times larger and scaled down, which smooths the edges."""
_UNIT = {"metres": "m", "pixels": "px", "normalised": ""}


@dataclass(frozen=True)
class _Window:
    """The part of a scene that a cell of the picture shows: pixels per unit, and what lies at its lower middle."""

    scale: float
    x: float
    y: float
    cell: tuple[int, int, int, int]  # left, top, width, height in fine pixels

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """`(..., 2+)` scene -> `(..., 2)` fine pixels."""
        left, top, width, height = self.cell
        x = left + width / 2 + (points[..., 0] - self.x) * self.scale
        y = top + height - (points[..., 1] - self.y) * self.scale
        return np.stack([x, y], -1)


def _window(scene: Scene, frame: int, cell: tuple[int, int, int, int], follow: bool) -> _Window:
    """The window on one frame: the whole motion, or (`follow`) as wide as the people and centred on them."""
    _, _, width, height = cell
    wide = scene.width * 1.1 if follow else scene.right - scene.left
    tall = scene.top - scene.bottom
    scale = min(0.86 * width / wide, 0.80 * height / tall)
    x = scene.centre[frame] if follow else (scene.left + scene.right) / 2
    return _Window(float(scale), float(x), scene.bottom - 0.11 * height / scale, cell)


def _fade(colour: tuple[int, int, int], amount: float) -> tuple[int, int, int]:
    """Towards the paper by `amount` in [0, 1]."""
    r, g, b = (round(c + (p - c) * amount) for c, p in zip(colour, PAPER, strict=True))
    return r, g, b


def _draw_people(draw: ImageDraw.ImageDraw, scene: Scene, skeleton: Skeleton, frame: int, window: _Window) -> None:
    """Bones, joints and head of every person, the far ones first."""
    plan = outline(skeleton)
    colours = (MIDDLE, LEFT, RIGHT)
    height = window.cell[3]
    # where there are many joints on one person (hands, faces) strokes are finer, and so where the person is small
    thick = max(1.7 * FINER, min(0.009 * height, 0.3 * scene.head * window.scale)) * (1.0 if len(skeleton) <= 40 else 0.6)
    points, shown = plan.points(scene.points[frame]), plan.seen(scene.visible[frame])
    pixels = np.clip(window(points), -30_000, 30_000)  # a joint thrown far off must not overflow the canvas
    near = np.clip(points[..., 2] / scene.depth, -1, 1)
    heads = [[j for j in plan.head if here[j]] for here in shown]
    strokes: list[tuple[float, int, int, int, int]] = []  # nearness, person, from, to (or -1: a dot, -2: the head), side
    for person, here in enumerate(shown):
        strokes += [(float(near[person, [a, b]].mean()), person, a, b, side) for a, b, side in plan.lines if here[a] and here[b]]
        dots = [int(j) for j in np.flatnonzero(here[: len(skeleton)]) if heads[person] != [j]]
        strokes += [(float(near[person, j]) + 1e-3, person, j, -1, plan.sides[j]) for j in dots]
        if heads[person]:
            strokes.append((float(near[person, heads[person]].mean()) + 2e-3, person, heads[person][0], -2, 0))
    for nearness, person, start, end, side in sorted(strokes):
        colour = _fade(colours[side][person % 2], 0.24 * (1 - nearness))
        width = thick * (1 + 0.2 * nearness)
        x, y = pixels[person, start]
        if end >= 0:
            draw.line([(x, y), tuple(pixels[person, end])], fill=colour, width=max(1, round(width)))
        elif end == -1:
            radius = 0.95 * width
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)
        else:
            _draw_head(draw, pixels[person, heads[person]], max(scene.head * window.scale, 1.5 * thick), colour, width)
    for person in range(len(shown) if len(shown) > 1 else 0):
        if shown[person].any():
            x, y = pixels[person][shown[person]][pixels[person][shown[person]][:, 1].argmin()]
            y -= scene.head * window.scale if heads[person] else 0
            draw.text((x, y - 2 * thick), str(person + 1), fill=MIDDLE[person % 2], font=font("0", 0.045 * height), anchor="mb")


def _draw_head(draw: ImageDraw.ImageDraw, joints: np.ndarray, radius: float, colour: tuple[int, int, int], width: float) -> None:
    """A disc around a joint `(1, 2)`; where there are several, nose and ears, a ring around these `(n, 2)`."""
    x, y = joints.mean(0)
    box = [x - radius, y - radius, x + radius, y + radius]
    if len(joints) == 1:
        draw.ellipse(box, fill=colour)
    else:
        draw.ellipse(box, outline=colour, width=max(1, round(0.8 * width)))


def _draw_ground(draw: ImageDraw.ImageDraw, scene: Scene, window: _Window, units: str, bar: bool) -> None:
    """The floor as a line, and a bar of known length under it."""
    left, _, width, height = window.cell
    x0, x1 = left + 0.04 * width, left + 0.96 * width
    y0 = float(window(np.array([window.x, scene.bottom]))[1])
    if scene.ground:
        y = y0 + 0.012 * height
        draw.line([(x0, y), (x1, y)], fill=FLOOR, width=max(1, round(0.004 * height)))
    if bar:
        length = nice(0.3 * width / window.scale)
        y, tick = y0 + 0.045 * height, 0.008 * height
        end = x0 + length * window.scale
        draw.line([(x0, y), (end, y)], fill=INK, width=FINER)
        for x in (x0, end):
            draw.line([(x, y - tick), (x, y + tick)], fill=INK, width=FINER)
        text = f"{length:g} {_UNIT[units]}".strip()
        draw.text((end + 0.015 * width, y), text, fill=INK, font=font("0", _small(width, height)), anchor="lm")


def _small(width: float, height: float) -> float:
    """Size of the letters in a cell, fine pixels: legible also in a small one, as far as its width has room for them."""
    return max(0.032 * min(width * 1.5, height), min(9.0 * FINER, 0.07 * width))


def _cell(
    draw: ImageDraw.ImageDraw, clip: Clip, scene: Scene, frame: int, cell: tuple[int, int, int, int], follow: bool, bar: bool
) -> None:
    """One frame with its ground, bar and time inside `cell` (fine pixels)."""
    window = _window(scene, frame, cell, follow)
    left, top, width, height = cell
    _draw_ground(draw, scene, window, clip.units, bar)
    _draw_people(draw, scene, clip.skeleton, frame, window)
    time = f"{frame / clip.fps:.2f} s"
    draw.text((left + width * 0.96, top + height * 0.985), time, fill=INK, font=font("0", _small(width, height)), anchor="rb")


def _canvas(size: tuple[int, int]) -> Image.Image:
    if not all(16 <= side <= MAX_SIDE for side in size):
        raise UserError(f"picture size {size[0]}x{size[1]}: expected a width and a height of 16 to {MAX_SIDE} pixels")
    return Image.new("RGB", (size[0] * FINER, size[1] * FINER), PAPER)


def _frame_image(clip: Clip, scene: Scene, frame: int, size: tuple[int, int]) -> Image.Image:
    image = _canvas(size)
    _cell(ImageDraw.Draw(image), clip, scene, frame, (0, 0, *image.size), scene.travels, True)
    return image.reduce(FINER)


def draw_frame(clip: Clip, frame: int, size: tuple[int, int] = (480, 480)) -> Image.Image:
    """One frame, an RGB picture of `size` (width, height) pixels.

    3-D people are seen from their front, 2-D ones as the camera saw them. The view is the same for all frames of a clip, unless
    the people travel far: then it follows them. Absent people and joints of confidence 0 are not drawn.

    Raises:
        UserError: no such frame, or a size that is too small or too large.
    """
    if not 0 <= frame < clip.frames:
        raise UserError(f"{clip.source or 'clip'}: no frame {frame}; it has frames 0 to {clip.frames - 1}")
    return _frame_image(clip, look(clip), frame, size)


def strip(clip: Clip, frames: int = 8, size: tuple[int, int] = (200, 280), caption: str | None = None) -> Image.Image:
    """A contact sheet: up to `frames` frames, evenly spaced over the clip, side by side in cells of `size` pixels.

    A line over them is the `caption`; by default label, subject and duration, what is known of them.

    Raises:
        UserError: fewer than one frame, or a sheet that is too wide.
    """
    shown = figures(clip, frames, size)
    header = 26
    image = Image.new("RGB", (shown.width, shown.height + header), PAPER)
    image.paste(shown, (0, header))
    write_line(image, (10, 0), title(clip) if caption is None else caption, shown.width - 20, header)
    return image


def figures(clip: Clip, frames: int, size: tuple[int, int]) -> Image.Image:
    """The cells of a `strip`, without a line over them.

    Raises:
        UserError: as `strip`.
    """
    if frames < 1:
        raise UserError(f"a strip of {frames} frames: expected 1 or more")
    chosen = np.unique(np.linspace(0, clip.frames - 1, frames).round().astype(int))
    width, height = size
    image = _canvas((width * len(chosen), height))
    draw = ImageDraw.Draw(image)
    scene = look(clip)
    for i, frame in enumerate(chosen):
        _cell(draw, clip, scene, int(frame), (i * width * FINER, 0, width * FINER, height * FINER), True, i == 0)
    return image.reduce(FINER)


def title(clip: Clip) -> str:
    """What is known of a clip, in one line."""
    label = clip.label_name or (f"class {clip.label}" if clip.label is not None else "")
    facts = [label, f"subject {clip.subject}" if clip.subject else "", f"view {clip.view}" if clip.view else ""]
    return " · ".join([f for f in facts if f] + [f"{clip.frames} frames, {clip.seconds:.2f} s"])


def write_line(
    image: Image.Image,
    at: tuple[int, int],
    text: str,
    width: int,
    height: int,
    colour: tuple[int, int, int] = INK,
    bold: bool = False,
) -> None:
    """Writes one line of `text` onto a picture, in the middle of a row `height` pixels high that begins `at` its left upper corner.

    What is longer than `width` pixels is cut in its middle: long names differ at their ends.
    """
    text = one_line(text[:400])
    face = font(text + "…", min(13.0, 0.7 * height))
    line = ImageDraw.Draw(image)
    keep, cut = len(text), text
    while keep > 2 and face.getlength(cut) > width:
        keep -= 1
        cut = text[: keep * 3 // 5] + "…" + text[len(text) - (keep - keep * 3 // 5) :]
    line.text((at[0], at[1] + height / 2), cut, fill=colour, font=face, anchor="lm", stroke_width=0.3 if bold else 0)


def save_png(clip: Clip, path: Path, frames: int = 8) -> None:
    """Writes the `strip` of a clip."""
    image = strip(clip, frames)
    with atomic_file(Path(path)) as temporary:
        image.save(temporary, "PNG", optimize=True)


def save_gif(clip: Clip, path: Path, fps: float | None = None, size: tuple[int, int] = (360, 360)) -> None:
    """Writes a GIF that plays forever, in real time unless `fps` (clip frames shown per second) says otherwise.

    At most 150 frames, and at most 50 a second (browsers slow faster ones down): of longer or faster clips every n-th frame is
    shown, so that the duration stays the same.
    """
    rate = _rate(clip, fps)
    step = max(-(-clip.frames // MAX_GIF_FRAMES), int(np.ceil(rate / 50 - 1e-9)))
    chosen = range(0, clip.frames, step)
    ends = [round(100 * (i + 1) * step / rate) for i in range(len(chosen))]  # hundredths of a second, the unit of the format
    durations = [max(2, end - start) * 10 for start, end in zip([0, *ends], ends, strict=False)]
    scene = look(clip)
    first = _frame_image(clip, scene, clip.frames // 2, size)
    palette = first.quantize(64, dither=Image.Dither.NONE)
    images = [i.quantize(palette=palette, dither=Image.Dither.NONE) for i in _images(clip, scene, chosen, size)]
    with atomic_file(Path(path)) as temporary:
        images[0].save(temporary, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False)


def save_mp4(clip: Clip, path: Path, fps: float | None = None, size: tuple[int, int] = (480, 480)) -> str:
    """Writes a film of every frame (H.264, yuv420p), `fps` frames a second (default: the clip's own).

    Returns:
        The codec: ``h264``, or ``mpeg4`` (which is also logged as a warning) where this machine's FFmpeg has no H.264 encoder.

    Raises:
        UserError: FFmpeg refuses to encode.
    """
    codec = write_film(_images(clip, look(clip), range(clip.frames), size), path, _rate(clip, fps), "try a GIF")
    if codec != "h264":
        logging.getLogger(__name__).warning("%s: written as MPEG-4 part 2, because FFmpeg has no H.264 encoder here", plain(path))
    return codec


def save(clip: Clip, path: Path) -> str | None:
    """Writes a clip to a `.png`, `.gif` or `.mp4`, as the name of the file ends. Gives the codec of a film.

    Raises:
        UserError: another ending, or it cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in DRAWINGS:
        raise UserError(f"{path}: expected a name that ends in {', '.join(DRAWINGS)}")
    if kind == ".mp4":
        return save_mp4(clip, path)
    (save_png if kind == ".png" else save_gif)(clip, path)
    return None


def _rate(clip: Clip, fps: float | None) -> float:
    rate = clip.fps if fps is None else float(fps)
    if not (np.isfinite(rate) and 0.1 <= rate <= 1000):
        raise UserError(f"{rate:g} frames a second cannot be played: expected 0.1 to 1000; give another fps")
    return rate


def _images(clip: Clip, scene: Scene, frames: Sequence[int], size: tuple[int, int]) -> Iterator[Image.Image]:
    for frame in frames:
        yield _frame_image(clip, scene, frame, size)
