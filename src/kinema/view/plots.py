"""Plots of results as SVG text: learning curves, confusion matrices, embeddings.

Every function returns one `<svg>` element, the same bytes for the same input, with text as text and no reference to anything outside.
It has no background, and its colours are variables of the page around it (`THEME`), with those of a light page where there is none.
Colours can be told apart by the colour-blind, and each comes with a marker of its own.
"""

from __future__ import annotations

import hashlib
import io
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from ..text import one_line
from ..words import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0f7a3a", "#cc4fa0", "#8c8619", "#4a2480", "#2f9181", "#7d2440", "#9370cc", "#5f6670")
"""Of classes and methods. None is the blue or the orange of a left or right side of a body."""
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
INK, SOFT, EDGE, LINE, OTHERS, SHADE, ON_SHADE = "#22262b", "#5a6068", "#9aa0a8", "#e4e7eb", "#c3c8ce", "#158378", "#fffffe"
THEME = {INK: "ink", SOFT: "soft", EDGE: "edge", LINE: "line", OTHERS: "others", **{c: f"c{i}" for i, c in enumerate(COLOURS)}}
"""Colours that change with the page -> the variable that has them."""
MAX_CURVE, MAX_VECTOR_POINTS, MAX_CLASSES, MAX_SHOWN = 800, 1500, 400, 16
"""Points of a line; points that are not an image; classes of a matrix; classes that each have their colour in a scatter."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, selectable, and the browser finds a font for every script
    "text.parse_math": False,  # a class may be called "$x"
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9.0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": EDGE,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titlecolor": INK,
    "xtick.color": EDGE,
    "ytick.color": EDGE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "text.color": INK,
    "grid.color": LINE,
    "axes.grid": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
_PAPER = {**_STYLE, "figure.facecolor": "white"}
"""The same for files that stand alone."""


def curve(steps: Sequence[float], values_by_name: Mapping[str, Sequence[float]], title: str = "", xlabel: str = "step") -> str:
    """Lines over `steps` (N,), one for each name (N,); undefined values are left out. Over 800 points, neighbours
    are averaged.

    Raises:
        UserError: nothing to draw, or lengths that differ.
    """
    x = np.asarray(steps, float)
    if not values_by_name or not len(x):
        raise UserError("a curve of no values: expected at least one step and one named series")
    with _figure(5.4, 3.6 + 0.18 * -(-len(values_by_name) // _columns(list(values_by_name)))) as (figure, axes):
        for i, (name, values) in enumerate(values_by_name.items()):
            y = np.asarray(values, float)
            if y.shape != x.shape:
                raise UserError(f"curve {name!r}: {len(y)} values for {len(x)} steps; expected one each")
            known = np.isfinite(y)  # what is measured every so often (validation) is joined across the steps between
            style = ("-", "--", ":", "-.")[i % 4]
            few = 0 < known.sum() < 40
            axes.plot(
                _thin(x[known]), _thin(y[known]), label=shortened(name, 28), color=COLOURS[i % 8], lw=1.6, ls=style,
                marker=MARKERS[i % 8] if few else None, ms=4,
            )  # fmt: skip
        axes.grid(axis="y")
        axes.set(xlabel=_text(xlabel))
        axes.set_title(_lines(title, 70))
        axes.margins(x=0.02)
        axes.locator_params(axis="x", integer=bool((x == x.round()).all()))
        if len(values_by_name) > 1 or not title:
            _legend(axes, list(values_by_name))
        return _svg(figure)


def confusion(matrix: np.ndarray, classes: Sequence[str], title: str = "") -> str:
    """A `(K, K)` matrix of counts, rows the true class, columns the predicted one; shaded by the share of its row.

    Up to 20 classes the shares are written into the cells, in per cent.

    Raises:
        UserError: not square, not as many as `classes`, negative, or more than 400 classes.
    """
    counts = confusion_counts(matrix, classes)
    k = len(classes)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    cell = float(np.clip(6.0 / k, 0.13, 0.45))
    with _figure(cell * k + 2.0, cell * k + 1.6) as (figure, axes):
        # one colour, more or less opaque: it is right on light pages and on dark ones
        shade = np.array([int(SHADE[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        axes.imshow(np.concatenate([np.broadcast_to(shade, (k, k, 3)), share[..., None]], -1), interpolation="nearest")
        size = float(np.clip(60 * cell, 5.0, 9))
        names = [shortened(c, 24) for c in classes]
        axes.set_xticks(range(k), names, rotation=90, fontsize=size)
        axes.set_yticks(range(k), names, fontsize=size)
        axes.set_xticks(np.arange(k + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(k + 1) - 0.5, minor=True)
        axes.tick_params(which="both", length=0)
        axes.grid(which="minor", lw=0.5)
        axes.set(xlabel="predicted", ylabel="true")
        axes.set_title(_lines(title, 60))
        for spine in axes.spines.values():
            spine.set(visible=True, color=LINE)
        if k <= 20:
            for i, j in zip(*np.nonzero(share >= 0.005), strict=True):
                colour = ON_SHADE if share[i, j] > 0.5 else INK
                axes.text(j, i, f"{100 * share[i, j]:.0f}", ha="center", va="center", fontsize=size - 0.5, color=colour)
        return _svg(figure)


def confusion_counts(matrix: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """`matrix` as `(K, K)` float counts.

    Raises:
        UserError: not square, not as many rows as `classes`, negative, not finite, or more than 400 classes.
    """
    counts, k = np.asarray(matrix, float), len(classes)
    if counts.shape != (k, k) or not 1 <= k <= MAX_CLASSES:
        raise UserError(
            f"confusion matrix {counts.shape} for {k} classes: expected ({k}, {k}) counts of 1 to {MAX_CLASSES} classes"
        )
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise UserError("confusion matrix with negative or undefined counts: expected how often each class was taken for each")
    return counts


def scatter(points: np.ndarray, labels: Sequence[int], classes: Sequence[str], title: str = "") -> str:
    """Points `(N, 2)` of an embedding (t-SNE, ...), coloured by `labels` (N,), which index `classes`.

    Of more than 16 classes that have points the eight with most points are coloured, as many as the eye can tell apart. Over 1,500
    points they are embedded as an image, to keep the figure small.

    Raises:
        UserError: shapes that do not agree, or a label that is not a class.
    """
    xy, of = np.asarray(points, float), np.asarray(labels, int)
    if xy.ndim != 2 or xy.shape[1] != 2 or of.shape != xy.shape[:1] or not len(xy):
        raise UserError(f"scatter of points {xy.shape} and labels {of.shape}: expected (N, 2) and (N,), N above 0")
    if of.min() < 0 or of.max() >= len(classes):
        raise UserError(f"scatter with labels {of.min()} to {of.max()}: expected 0 to {len(classes) - 1}, the classes")
    count = np.bincount(of, minlength=len(classes))
    present = np.flatnonzero(count).tolist()
    chosen = sorted(np.argsort(-count, kind="stable")[: len(COLOURS)].tolist()) if len(present) > MAX_SHOWN else present
    rest = ~np.isin(of, chosen)
    names = [str(classes[k]) for k in chosen] + [plural(len(present) - len(chosen), "other class")] * bool(rest.any())
    with _figure(5.4, 3.8 + 0.18 * -(-len(names) // _columns(names))) as (figure, axes):
        size = float(np.clip(4000 / len(xy), 7, 26))
        flat = len(xy) > MAX_VECTOR_POINTS
        for i, k in enumerate(chosen):
            mine = xy[of == k]
            axes.scatter(
                mine[:, 0], mine[:, 1], s=size, color=COLOURS[i % 8], marker=MARKERS[(i + i // 8) % 8],
                label=shortened(classes[k], 28), alpha=0.85, linewidths=0, rasterized=flat,
            )  # fmt: skip
        if rest.any():
            dot = {"s": 0.5 * size, "color": OTHERS, "linewidths": 0, "rasterized": flat, "zorder": 0.5}
            axes.scatter(xy[rest, 0], xy[rest, 1], label=names[-1], **dot)
        axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        axes.set_title(_lines(title, 70))
        for spine in axes.spines.values():
            spine.set(visible=True, color=LINE)
        _legend(axes, names, markerscale=float(np.sqrt(30 / size)))
        return _svg(figure)


def _columns(names: Sequence[str]) -> int:
    """How many of the names have room beside each other."""
    return int(np.clip(64 // (max(wide(shortened(name, 28)) for name in names) + 5), 1, 4))


def _legend(axes: Axes, names: Sequence[str], **more: Any) -> None:
    """Names under the axes."""
    under = {
        "loc": "upper left",
        "bbox_to_anchor": (0.0, -0.17 if axes.get_xlabel() else -0.02),
        "borderaxespad": 0.0,
        "ncols": _columns(names),
    }
    axes.legend(**under, fontsize=8, handletextpad=0.4, columnspacing=1.0, **more)


def wide(text: str) -> int:
    """Columns that a text takes: letters of East Asian scripts and most pictures take two."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _text(value: object, longest: int = 80) -> str:
    """One line. Control characters are not allowed in XML, in any spelling."""
    text = one_line(value)
    # matplotlib hides legend entries whose name begins with an underscore
    text = " " + text if text.startswith("_") else text
    return text if wide(text) <= longest else _first(text, longest - 1) + "…"


def shortened(value: object, longest: int) -> str:
    """One printable line that keeps both of its ends, by which long names differ; what has no name says so."""
    text = _text(value, 10_000) or "(no name)"
    if wide(text) <= longest:
        return text
    return _first(text, longest * 3 // 5) + "…" + _first(text[::-1], longest * 2 // 5 - 1)[::-1]


def _first(text: str, columns: int) -> str:
    """As much of its beginning as has room."""
    while wide(text) > columns:
        text = text[: min(len(text) - 1, columns)]
    return text


def _lines(value: object, columns: int) -> str:
    """At most three lines."""
    return "\n".join(textwrap.wrap(_text(value, 3 * columns - 8), columns, break_long_words=True))


def _thin(values: np.ndarray) -> np.ndarray:
    """Means of neighbours `(N,)`, so that at most `MAX_CURVE` points remain."""
    step = -(-len(values) // MAX_CURVE)
    if step <= 1:
        return values
    starts = np.arange(0, len(values), step)
    return np.add.reduceat(values, starts) / np.diff(np.append(starts, len(values)))


class _figure:
    """A figure of so many inches with its axes, in a style. Never touches the caller's matplotlib settings."""

    def __init__(self, width: float, height: float, style: Mapping[Any, Any] = _STYLE):
        self.size, self.look = (width, height), style

    def __enter__(self) -> tuple[Figure, Axes]:
        import matplotlib
        from matplotlib.figure import Figure

        self.style = matplotlib.rc_context(dict(self.look))
        self.style.__enter__()
        figure = Figure(self.size, layout="constrained")
        return figure, figure.add_subplot()

    def __exit__(self, *error: Any) -> None:
        self.style.__exit__(*error)


def _svg(figure: Figure, *, themed: bool = True) -> str:
    """One `<svg>` element, ids made unique by its content so that several may share a page; `themed`: in the colours of that page."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "kinema"}), warnings.catch_warnings():
        # a script that the measuring font lacks (Chinese class names) is drawn by the browser's own
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing.*")
        figure.savefig(
            out, format="svg", bbox_inches="tight", pad_inches=0.08 + _unmeasured(figure), dpi=160, metadata={"Date": None}
        )
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for colour, name in THEME.items() if themed else ():
        text = text.replace(f": {colour}", f": var(--{name}, {colour})")
    tag = "k" + hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    text = re.sub(r'\bid="([^"]+)"', rf'id="{tag}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{tag}-\1)", text)
    return re.sub(r'href="#([^"]+)"', rf'href="#{tag}-\1"', text).strip()


def _unmeasured(figure: Figure) -> float:
    """Inches by which the widest text may be wider than measured: the measuring font has no letters that are as wide as high."""
    from matplotlib.text import Text

    room = 0.0
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text.get_visible():
            room = max(room, 0.45 * (wide(text.get_text()) - len(text.get_text())) * float(text.get_fontsize()) / 72)
    return room
