"""Plots of results as SVG text: learning curves, confusion matrices, embeddings, comparisons.

Every function returns one `<svg>` element with a light background, the same bytes for the same input, with text as text and no
reference to anything outside. Colours can be told apart by the colour-blind; where colours run out, markers change.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from ..text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6A3D9A", "#4D4D4D")
"""Okabe and Ito's palette (yellow and black replaced: they vanish on paper or shout)."""
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
MAX_CURVE, MAX_VECTOR_POINTS, MAX_CLASSES = 800, 1500, 400
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, selectable, and the browser finds a font for every script
    "text.parse_math": False,  # a class may be called "$x"
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9AA0A8",
    "axes.labelcolor": "#3C4046",
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "xtick.color": "#5A6068",
    "ytick.color": "#5A6068",
    "text.color": "#22262B",
    "grid.color": "#E4E7EB",
    "axes.grid": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Bar:
    """One result: a method's score under a protocol.

    Attributes:
        protocol: the group of bars it belongs to. method: its colour.
        mean: the score. spread: half-length of its whisker (for instance the standard deviation over seeds), or None.
        published: a figure from a paper, not measured here; drawn hatched and named so.
    """

    protocol: str
    method: str
    mean: float
    spread: float | None = None
    published: bool = False


def curve(steps: Sequence[float], values_by_name: Mapping[str, Sequence[float]], title: str = "", xlabel: str = "step") -> str:
    """Lines over `steps` (N,), one for each name (N,); undefined values are left out. Over 800 points, neighbours
    are averaged.

    Raises:
        UserError: nothing to draw, or lengths that differ.
    """
    x = np.asarray(steps, float)
    if not values_by_name or not len(x):
        raise UserError("a curve of no values: expected at least one step and one named series")
    with _figure(6.4, 3.2) as (figure, axes):
        for i, (name, values) in enumerate(values_by_name.items()):
            y = np.asarray(values, float)
            if y.shape != x.shape:
                raise UserError(f"curve {name!r}: {len(y)} values for {len(x)} steps; expected one each")
            known = np.isfinite(y)  # what is measured every so often (validation) is joined across the steps between
            style = ("-", "--", ":", "-.")[i // 8 % 4]
            few = 0 < known.sum() < 40
            axes.plot(
                _thin(x[known]), _thin(y[known]), label=_text(name), color=COLOURS[i % 8], lw=1.6, ls=style,
                marker=MARKERS[i % 8] if few else None, ms=4,
            )  # fmt: skip
        axes.grid(axis="y")
        axes.set(xlabel=_text(xlabel))
        axes.set_title(_text(title))
        axes.margins(x=0.02)
        axes.locator_params(axis="x", integer=bool((x == x.round()).all()))
        if len(values_by_name) > 1 or not title:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0)
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
    with _figure(cell * k + 2.4, cell * k + 1.9) as (figure, axes):
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        size = float(np.clip(60 * cell, 4.5, 9))
        names = [_text(c, 24) for c in classes]
        axes.set_xticks(range(k), names, rotation=90, fontsize=size)
        axes.set_yticks(range(k), names, fontsize=size)
        axes.tick_params(length=0)
        axes.set(xlabel="predicted", ylabel="true")
        axes.set_title(_text(title))
        for spine in axes.spines.values():
            spine.set_visible(False)
        if k <= 20:
            for i, j in zip(*np.nonzero(share >= 0.005), strict=True):
                dark = "white" if share[i, j] > 0.5 else "#22262B"
                axes.text(j, i, f"{100 * share[i, j]:.0f}", ha="center", va="center", fontsize=size - 0.5, color=dark)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=25, ticks=[0, 0.5, 1], format=lambda v, _: f"{100 * v:.0f} %")
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.ax.tick_params(labelsize=7, length=0)
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

    Over 1,500 points they are embedded as an image, to keep the figure small.

    Raises:
        UserError: shapes that do not agree, or a label that is not a class.
    """
    xy, of = np.asarray(points, float), np.asarray(labels, int)
    if xy.ndim != 2 or xy.shape[1] != 2 or of.shape != xy.shape[:1] or not len(xy):
        raise UserError(f"scatter of points {xy.shape} and labels {of.shape}: expected (N, 2) and (N,), N above 0")
    if of.min() < 0 or of.max() >= len(classes):
        raise UserError(f"scatter with labels {of.min()} to {of.max()}: expected 0 to {len(classes) - 1}, the classes")
    columns = -(-len(classes) // 22)
    with _figure(5.2 + 1.5 * columns, 4.6) as (figure, axes):
        size = float(np.clip(4000 / len(xy), 5, 22))
        for k, name in enumerate(classes):
            mine = xy[of == k]
            axes.scatter(
                mine[:, 0], mine[:, 1], s=size, color=COLOURS[k % 8], marker=MARKERS[k // 8 % 8], label=_text(name, 20),
                alpha=0.8, linewidths=0, rasterized=len(xy) > MAX_VECTOR_POINTS,
            )  # fmt: skip
        axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        axes.set_title(_text(title))
        for spine in axes.spines.values():
            spine.set(visible=True, color="#D5D9DE")
        axes.legend(
            loc="upper left", bbox_to_anchor=(1.01, 1.0), ncols=columns, fontsize=7.5, borderaxespad=0, handletextpad=0.3,
            columnspacing=0.8, markerscale=float(np.sqrt(30 / size)),
        )  # fmt: skip
        return _svg(figure)


def bars(rows: Sequence[Bar], title: str = "", xlabel: str = "accuracy, %") -> str:
    """Horizontal bars grouped by protocol, one colour a method, with whiskers of spread and the number beside each.

    Raises:
        UserError: no rows, or a mean that is not a number.
    """
    if not rows or not all(np.isfinite(r.mean) for r in rows):
        raise UserError("a bar chart needs at least one row, and a finite mean in each")
    methods = list(dict.fromkeys(r.method for r in rows))
    groups: dict[str, list[float]] = {}
    y = 0.0
    for protocol in dict.fromkeys(r.protocol for r in rows):
        for _ in (r for r in rows if r.protocol == protocol):
            groups.setdefault(protocol, []).append(y)
            y += 1.0
        y += 0.7
    ordered = [r for protocol in groups for r in rows if r.protocol == protocol]
    places = [place for group in groups.values() for place in group]
    looks: dict[tuple[str, bool], dict[str, Any]] = {}
    for row in rows:
        colour = COLOURS[methods.index(row.method) % 8]
        hatched = {"facecolor": "white", "edgecolor": colour, "hatch": "////"}
        looks[row.method, row.published] = hatched if row.published else {"facecolor": colour, "edgecolor": colour}
    with _figure(6.6, 0.26 * y + 0.9) as (figure, axes):
        from matplotlib.patches import Patch

        for row, place in zip(ordered, places, strict=True):
            axes.barh(place, row.mean, height=0.84, linewidth=0.8, **looks[row.method, row.published])
            end = row.mean
            if row.spread is not None:
                axes.errorbar(row.mean, place, xerr=row.spread, color="#22262B", lw=1, capsize=2.5)
                end += abs(row.spread)
            text = f"{row.mean:.1f}" + (f" ± {row.spread:.1f}" if row.spread is not None else "") + " published" * row.published
            axes.annotate(text, (max(end, 0), place), (4, 0), textcoords="offset points", va="center", fontsize=7.5)
        axes.set_yticks([float(np.mean(g)) for g in groups.values()], [_text(g, 32) for g in groups])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.set(xlabel=_text(xlabel))
        axes.set_title(_text(title))
        axes.margins(x=0.28, y=0.02)
        if len(methods) > 1:
            first = {r.method: r.published for r in reversed(rows)}
            keys = [Patch(label=_text(m, 32), **looks[m, first[m]]) for m in methods]
            axes.legend(handles=keys, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0)
        return _svg(figure)


def _text(value: object, longest: int = 80) -> str:
    """One line. Control characters are not allowed in XML, in any spelling."""
    text = one_line(value)
    # matplotlib hides legend entries whose name begins with an underscore
    text = " " + text if text.startswith("_") else text
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _thin(values: np.ndarray) -> np.ndarray:
    """Means of neighbours `(N,)`, so that at most `MAX_CURVE` points remain."""
    step = -(-len(values) // MAX_CURVE)
    if step <= 1:
        return values
    starts = np.arange(0, len(values), step)
    return np.add.reduceat(values, starts) / np.diff(np.append(starts, len(values)))


class _figure:
    """A figure of so many inches with its axes, inside our style. Never touches the caller's matplotlib settings."""

    def __init__(self, width: float, height: float):
        self.size = (width, height)

    def __enter__(self) -> tuple[Figure, Axes]:
        import matplotlib
        from matplotlib.figure import Figure

        self.style = matplotlib.rc_context(_STYLE)
        self.style.__enter__()
        figure = Figure(self.size, layout="constrained")
        return figure, figure.add_subplot()

    def __exit__(self, *error: Any) -> None:
        self.style.__exit__(*error)


def _svg(figure: Figure) -> str:
    """One `<svg>` element, ids made unique by its content so that several may share a page."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "kinema"}), warnings.catch_warnings():
        # a script that the measuring font lacks (Chinese class names) is drawn by the browser's own
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing.*")
        figure.savefig(out, format="svg", bbox_inches="tight", pad_inches=0.08, dpi=160, metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    tag = "k" + hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    text = re.sub(r'\bid="([^"]+)"', rf'id="{tag}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{tag}-\1)", text)
    return re.sub(r'href="#([^"]+)"', rf'href="#{tag}-\1"', text).strip()
