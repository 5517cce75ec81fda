"""Labels over time as a picture: one row a class, as high as its confidence, under figures of the motion.

A row is strong in colour where its class is the likeliest, with the confidence over it, pale elsewhere; where nobody is there, all rows
are hatched.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..files import atomic_file
from ..motion.clip import Clip
from ..motion.outline import outline
from ..motion.prepare import take_frames
from .figure import LEFT, MIDDLE, RIGHT
from .fonts import families
from .plots import _PAPER, COLOURS, _text, shortened
from .scene import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_CLASSES = 8
"""Rows: the classes that are the likeliest for the longest time, then those with most confidence."""
FIGURES = 8
"""Figures of the motion, evenly spaced over the time."""
WIDTH, ROW, STRIP = 9.0, 0.46, 1.35
"""Inches: of the picture, the height of a row and of the figures."""
DPI = 150
TALL = 0.62
"""Height of full confidence, of a row; the rest of it is for the number."""
PALE = 0.28
"""Opacity of a row where its class is not the likeliest."""


@dataclass(frozen=True)
class Span:
    """A part of the time, in which the labels stay the same.

    Attributes:
        start, end: seconds. labels: (class, confidence 0 to 1), best first; empty where nobody is there.
    """

    start: float
    end: float
    labels: Sequence[tuple[str, float]]


def draw(spans: Sequence[Span], path: Path, clip: Clip | None = None, title: str = "") -> None:
    """Writes a `.png` of the labels over time, atomically; at most 8 classes have a row.

    Args:
        spans: each begins where the one before ends. path: the file to make.
        clip: whose labels they are; figures of it are drawn above. title: one line over all.

    Raises:
        UserError: no spans, spans without length, with gaps or in disorder, or a confidence outside 0 to 1.
    """
    if not spans or any(not s.start < s.end for s in spans) or any(a.end != b.start for a, b in pairwise(spans)):
        raise UserError("a timeline needs one span or more, each with a length and each beginning where the one before ends")
    if any(not 0 <= confidence <= 1 for span in spans for _, confidence in span.labels):
        raise UserError("a timeline with a confidence outside 0 to 1")
    import matplotlib
    from matplotlib.figure import Figure

    names = _rows(spans)
    strip = STRIP if clip is not None else 0.0
    height = ROW * max(1, len(names)) + strip + 0.95
    with matplotlib.rc_context({**_PAPER, "font.family": families([title, *names])}), warnings.catch_warnings():
        # a script that the font lacks (Chinese class names) becomes boxes, which is no reason to complain
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing.*")
        figure = Figure((WIDTH, height), dpi=DPI, layout="constrained")
        # an axes of its own for the figures: over the same time, so that they stand where they belong
        rows = figure.subplots(2, 1, sharex=True, height_ratios=[strip, height - strip - 0.95]) if clip is not None else None
        axes = rows[1] if rows is not None else figure.add_subplot()
        if rows is not None and clip is not None:
            _draw_figures(rows[0], clip, spans[0].start, spans[-1].end)
        _draw_rows(axes, spans, names)
        (rows[0] if rows is not None else axes).set_title(_text(title), pad=6)
        with atomic_file(Path(path)) as temporary:
            figure.savefig(temporary, format="png")


def _rows(spans: Sequence[Span]) -> list[str]:
    """The classes that get a row, in the order of their first win (those that never win come last)."""
    won: dict[str, float] = {}
    mass: dict[str, float] = {}
    first: dict[str, float] = {}
    for span in spans:
        for rank, (name, confidence) in enumerate(span.labels):
            length = span.end - span.start
            mass[name] = mass.get(name, 0.0) + confidence * length
            if rank == 0:
                won[name] = won.get(name, 0.0) + length
                first.setdefault(name, span.start)
    chosen = sorted(mass, key=lambda name: (-won.get(name, 0.0), -mass[name]))[:MAX_CLASSES]
    return sorted(chosen, key=lambda name: (first.get(name, np.inf), -mass[name]))


def _draw_rows(axes: Axes, spans: Sequence[Span], names: Sequence[str]) -> None:
    """Confidences as heights `0..1` above the base line of each class; the first class on top."""
    edges = np.array([[span.start, span.end] for span in spans]).ravel()
    for row, name in enumerate(names):
        base, colour = len(names) - 1 - row, COLOURS[row % len(COLOURS)]
        told = [dict(span.labels).get(name, 0.0) for span in spans]
        best = [bool(span.labels) and span.labels[0][0] == name for span in spans]
        height = np.repeat(np.array(told), 2) * TALL
        axes.axhline(base, color="#D5D9DE", lw=0.7, zorder=1)
        axes.fill_between(edges, base, base + height, color=colour, alpha=PALE, lw=0, zorder=2)
        strong = np.repeat(np.array(best), 2)
        axes.fill_between(edges, base, np.where(strong, base + height, base), color=colour, lw=0, zorder=3)
    for start, end in _empty(spans):
        axes.axvspan(start, end, facecolor="#F3F4F6", edgecolor="#D5D9DE", hatch="///", lw=0, zorder=0)
        if end - start > 0.06 * (spans[-1].end - spans[0].start):
            axes.text((start + end) / 2, max(1, len(names)) / 2, "nobody", ha="center", va="center", color="#5A6068", fontsize=8.5)
    axes.set_yticks([len(names) - 1 - row + TALL / 2 for row in range(len(names))], [shortened(name, 28) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set(xlim=(spans[0].start, spans[-1].end), ylim=(-0.03, max(1, len(names))), xlabel="seconds")
    _draw_numbers(axes, spans, names)


def _draw_numbers(axes: Axes, spans: Sequence[Span], names: Sequence[str]) -> None:
    """The confidence, in per cent, over the middle of every stretch that one class wins, where there is room; of a single span all."""
    total = spans[-1].end - spans[0].start
    taken = dict.fromkeys(names, spans[0].start - total)  # where the last number of each row ends
    found = [(spans[0].start, spans[0].end, *label) for label in spans[0].labels] if len(spans) == 1 else list(_stretches(spans))
    for start, end, name, confidence in found:
        if name not in names:
            continue
        middle = (start + end) / 2
        reach = 0.025 * total  # half of what a number takes of the width
        if middle - reach < max(taken[name], spans[0].start) or middle + reach > spans[-1].end:
            continue
        taken[name] = middle + reach
        told = [dict(s.labels).get(name, 0.0) for s in spans if s.start < middle + reach and s.end > middle - reach]
        base = len(names) - 1 - names.index(name)
        axes.text(middle, base + TALL * max(told) + 0.04, f"{100 * confidence:.0f} %", ha="center", va="bottom", fontsize=8)


def _stretches(spans: Sequence[Span]) -> Iterator[tuple[float, float, str, float]]:
    """Start, end, class and mean confidence of every time in which one class is the likeliest."""
    for name, group in groupby(spans, lambda span: span.labels[0][0] if span.labels else None):
        stretch = list(group)
        start, end = stretch[0].start, stretch[-1].end
        if name is not None:
            yield start, end, name, sum(s.labels[0][1] * (s.end - s.start) for s in stretch) / (end - start)


def _empty(spans: Sequence[Span]) -> list[tuple[float, float]]:
    """Stretches of the time in which nobody is there."""
    found: list[tuple[float, float]] = []
    for span in spans:
        if span.labels:
            continue
        if found and found[-1][1] == span.start:
            found[-1] = (found[-1][0], span.end)
        else:
            found.append((span.start, span.end))
    return found


def _draw_figures(axes: Axes, clip: Clip, start: float, end: float) -> None:
    """Up to 8 figures, each over its time."""
    from matplotlib.collections import EllipseCollection, LineCollection

    count = min(FIGURES, clip.frames)
    times = start + (np.arange(count) + 0.5) * (end - start) / count
    frames = np.clip((times * clip.fps).astype(int), 0, clip.frames - 1)
    few = take_frames(clip, frames)
    scene, plan = look(few), outline(clip.skeleton)
    ink = [tuple(c / 255 for c in kind[0]) for kind in (MIDDLE, LEFT, RIGHT)]
    thick = 1.5 if len(clip.skeleton) <= 40 else 0.8
    cell = (end - start) / count
    # as in a strip of figures: the same scale everywhere, centred on the people
    tall = max(scene.top - scene.bottom + 1.2 * scene.head * bool(plan.head), 1e-6)
    reach = max(scene.width, 0.2 * tall) * 1.1
    inches = WIDTH * 0.85 / count
    scale = min(0.88 * STRIP / tall, 0.95 * inches / reach)  # inches per unit
    for i, time in enumerate(times):
        points, shown = plan.points(scene.points[i]), plan.seen(scene.visible[i])
        x = time + (points[..., 0] - scene.centre[i]) * scale * cell / inches
        y = (points[..., 1] - scene.bottom) * scale / STRIP
        for person, here in enumerate(shown):
            drawn = [line for line in plan.lines if here[line[0]] and here[line[1]]]
            lines = [[(x[person, a], y[person, a]), (x[person, b], y[person, b])] for a, b, _ in drawn]
            colours = [ink[side] for _, _, side in drawn]
            axes.add_collection(LineCollection(lines, colors=colours, linewidths=thick, capstyle="round"))
            head = [j for j in plan.head if here[j]]
            if head:
                inside = ink[0] if len(head) == 1 else "none"
                size = 2 * max(scene.head * scale, 0.02)
                at = [(x[person, head].mean(), y[person, head].mean())]
                ring = {"units": "inches", "offsets": at, "offset_transform": axes.transData, "zorder": 3}
                axes.add_collection(
                    EllipseCollection(size, size, 0, facecolors=inside, edgecolors=ink[0], linewidths=thick, **ring)
                )
    axes.set(xlim=(start, end), ylim=(-0.06, 1.0), yticks=[])
    axes.tick_params(axis="x", length=0, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
