"""Plots of how a network is connected: who reads whom, and what happens with depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from ..files import atomic_file
from .plots import _PAPER, COLOURS, MARKERS, _figure, _svg, _text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_NUMBERED = 17
"""Up to so many rows a heat map has its numbers written in."""


def connection_heatmap(matrix: Any, path: Path, title: str = "", branches: Sequence[str] = ()) -> None:
    """Draws an unfolded connection matrix to a `.png` or `.svg`, red above zero and blue below.

    Colours saturate at the 98 % quantile of what branches read: the output's row is a sum of streams and would leave the rest pale.

    Args:
        matrix: `(K + 1, K + 1)`, lower triangular: rows what reads (branch 0 to K - 1, then the output), columns what is read (the
            embedding, then branch 0 to K - 1). path: where to. branches: names of the `K` branches; their numbers by default.

    Raises:
        UserError: another shape, values that are not finite, or another suffix.
    """
    values = np.asarray(matrix, float)
    size = len(values) if values.ndim else 0
    if size < 2 or values.shape != (size, size) or not np.isfinite(values).all():
        raise UserError(f"connection matrix {values.shape}: expected (K + 1, K + 1) finite numbers, K 1 or more")
    if branches and len(branches) != size - 1:
        raise UserError(f"{len(branches)} names for {size - 1} branches; expected one each")
    names = [_text(b, 24) for b in branches] if branches else [str(k) for k in range(size - 1)]
    lower = np.tril(np.ones_like(values, bool))
    limit = float(np.quantile(np.abs(values[:-1][lower[:-1]]), 0.98)) or 1.0
    beyond = bool((np.abs(values[lower]) > limit).any())
    cell = float(np.clip(6.5 / size, 0.14, 0.42))
    every = 1 if branches else -(-size // 40)
    marked = [k for k in range(size - 1) if k % every == 0 and (every == 1 or every <= k <= size - 1 - every)]
    with _figure(cell * size + 2.2, cell * size + 1.3, _PAPER) as (figure, axes):
        image = axes.imshow(np.ma.masked_array(values, ~lower), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axes.axhline(size - 1.5, color="white", lw=2)
        font = float(np.clip(60 * cell, 4.5, 8.5))
        axes.set_xticks([0, *(k + 1 for k in marked)], ["embedding", *(names[k] for k in marked)], fontsize=font, rotation=90)
        axes.set_yticks([*marked, size - 1], [*(names[k] for k in marked), "output"], fontsize=font)
        axes.tick_params(length=0)
        axes.set(xlabel="output of", ylabel="input of")
        axes.set_title(_text(title))
        for spine in axes.spines.values():
            spine.set_visible(False)
        if size <= MAX_NUMBERED:
            for i, j in np.argwhere(lower).tolist():
                colour = "white" if abs(values[i, j]) > 0.6 * limit else "#22262B"
                axes.text(j, i, _short(values[i, j]), ha="center", va="center", fontsize=font - 1, color=colour)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=25, pad=0.02, extend="both" if beyond else "neither")
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.ax.tick_params(labelsize=7, length=0)
        _save(figure, path)


def depth_curves(
    curves: Mapping[str, Any],
    path: Path,
    ylabel: str,
    *,
    title: str = "",
    xlabel: str = "branch",
    first: int = 0,
    log: bool = False,
) -> None:
    """Draws lines over depth to a `.png` or `.svg`, with bands where a spread is known.

    Args:
        curves: name -> values `(K,)`, or `(3, K)`: the line, the lower and the upper end of its band (a tuple of three will do). Names
            may differ in `K`. path: where to. first: depth of the first value. log: logarithmic values.

    Raises:
        UserError: nothing to draw, another shape, values that are not finite (with `log`, not above 0), or another suffix.
    """
    if not curves:
        raise UserError("depth curves of nothing: expected at least one named series")
    from matplotlib.ticker import LogLocator, NullLocator

    found = {name: _banded(name, values, log) for name, values in curves.items()}
    with _figure(6.4, 3.2, _PAPER) as (figure, axes):
        for i, (name, (line, low, high)) in enumerate(found.items()):
            depth = np.arange(first, first + len(line))
            few, style = len(depth) <= 40, ("-", "--", ":", "-.")[i // 8 % 4]
            marker = MARKERS[i % 8] if few else None
            axes.plot(depth, line, label=_text(name), color=COLOURS[i % 8], lw=1.6, ls=style, marker=marker, ms=4)
            if low is not line:
                axes.fill_between(depth, low, high, color=COLOURS[i % 8], alpha=0.15, lw=0)
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
            axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(axis="y")
        axes.set(xlabel=_text(xlabel), ylabel=_text(ylabel))
        axes.set_title(_text(title))
        axes.margins(x=0.02)
        axes.locator_params(axis="x", integer=True)
        if len(found) > 1 or not title:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0)
        _save(figure, path)


def _banded(name: str, values: Any, log: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The line, and the two ends of its band (the line itself where there is none)."""
    parts = [np.asarray(v, float) for v in values] if isinstance(values, tuple) else []
    if len({part.shape for part in parts}) > 1:
        raise UserError(f"depth curve {name!r}: expected the ends of its band as long as the line")
    rows = np.stack(parts) if parts else np.asarray(values, float)
    if rows.shape[-1:] in ((), (0,)) or not (rows.ndim == 1 or (rows.ndim == 2 and len(rows) == 3)):
        raise UserError(f"depth curve {name!r} of shape {rows.shape}: expected (K,) or (3, K) values, K 1 or more")
    if not np.isfinite(rows).all() or (log and not (rows > 0).all()):
        raise UserError(f"depth curve {name!r}: expected finite values" + ", above 0 on a logarithmic axis" * log)
    return (rows, rows, rows) if rows.ndim == 1 else (rows[0], rows[1], rows[2])


def _short(value: float) -> str:
    """Two digits, without the zero before the point or a sign before nothing."""
    text = f"{value:.2f}" if abs(value) < 9.995 else f"{value:.0f}"
    return "0" if float(text) == 0 else text.replace("0.", ".", 1) if abs(value) < 1 and "1." not in text else text


def _save(figure: Figure, path: Path) -> None:
    path = Path(path)
    if path.suffix not in (".png", ".svg"):
        raise UserError(f"{path}: expected a name that ends in .png or .svg")
    with atomic_file(path) as temporary:
        if path.suffix == ".svg":
            temporary.write_text(_svg(figure, themed=False), encoding="utf-8")
        else:
            figure.savefig(temporary, format="png", dpi=160, bbox_inches="tight", pad_inches=0.08, metadata={"Software": None})
