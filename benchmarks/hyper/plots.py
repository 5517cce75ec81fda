"""Plots of paired runs. An arm has one colour in all of them; lines are means over seeds, bands reach from the lowest to the highest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from kinema.files import atomic_file

Runs = dict[str, dict[int, dict[str, Any]]]


def draw(runs: Runs, baseline: str, folder: Path) -> list[Path]:
    """Draws ``loss.png``, ``cosine.png`` and ``gradient.png``; gives their paths. Diverged runs are left out."""
    alive = {arm: {s: r for s, r in seeds.items() if r["score"]} for arm, seeds in runs.items()}
    colours = {arm: mpl.colormaps["tab10"](i % 10) for i, arm in enumerate(a for a in alive if a != baseline)} | {baseline: "black"}
    alive = {arm: seeds for arm, seeds in alive.items() if seeds}
    figures = {"loss": _loss(alive, baseline, colours), "cosine": _cosine(alive, colours), "gradient": _gradient(alive, colours)}
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        with atomic_file(paths[-1]) as temporary:
            figure.savefig(temporary, dpi=110)
    return paths


def _figure(columns: int) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(5.6 * columns, 4.2), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _band(axis: Axes, x: Sequence[float], rows: np.ndarray, **style: Any) -> None:
    axis.plot(x, rows.mean(0), **style)
    if len(rows) > 1:
        axis.fill_between(x, rows.min(0), rows.max(0), color=style["color"], alpha=0.12, linewidth=0)


def _legend(figure: Figure, axis: Axes) -> None:
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper", frameon=False)


def _loss(runs: Runs, baseline: str, colours: dict[str, Any]) -> Figure:
    """The validation curve, and its difference to the baseline's of the same seed."""
    figure, (left, right) = _figure(2)
    base = runs[baseline]
    tops: list[float] = []
    highest = 0.0
    for arm, seeds in runs.items():
        curves = {s: np.array(r["curve"]["validation"]) for s, r in seeds.items()}
        data = next(iter(curves.values()))[:, 0] * next(iter(seeds.values()))["per_step"]
        style = {"color": colours[arm], "label": arm, "linestyle": "--" if arm == baseline else "-"}
        rows = np.stack([c[:, 1] for c in curves.values()])
        highest = max(
            highest, float(rows[:, min(rows.shape[1] - 1, 1 + rows.shape[1] // 10)].max())
        )  # not the fall of the first steps
        _band(left, data, rows, **style)
        pairs = [c[:, 1] - np.array(base[s]["curve"]["validation"])[:, 1] for s, c in curves.items() if s in base]
        if pairs:
            _band(right, data, np.stack(pairs), **style)
            if arm != "postnorm":  # whose distance would flatten all others
                tops += np.abs(np.stack(pairs)[:, len(data) // 3 :]).ravel().tolist()
    unit = next(iter(base.values()))["unit"]
    left.set(xlabel=unit, ylabel="validation loss, nats", title="Validation loss")
    right.set(xlabel=unit, ylabel=f"loss − {baseline}'s", title=f"Paired difference to {baseline}")
    left.set_ylim(top=1.01 * highest)
    for axis in (left, right):
        axis.xaxis.set_major_formatter(EngFormatter())
    top = 1.2 * max(tops) if tops and max(tops) > 0 else 1.0
    right.set_ylim(-top, top)
    _legend(figure, left)
    return figure


def _cosine(runs: Runs, colours: dict[str, Any]) -> Figure:
    """By depth at the end, and over training: what is missing to 1, on a logarithmic scale, as most are within a hundredth of it."""
    figure, (left, right) = _figure(2)
    for number, (arm, seeds) in enumerate(runs.items()):
        ends = np.stack([np.array(r["probes"][-1]["cosine"]) for r in seeds.values()])  # (seeds, branches - 1, 3)
        low, middle, high = np.maximum(1 - ends.mean(0).T, 1e-6)
        x = np.arange(1, ends.shape[1] + 1) + 0.6 * (number / len(runs) - 0.5)  # side by side
        left.plot(x, middle, color=colours[arm], label=arm, marker=".", linewidth=0.8)
        left.vlines(x, low, high, color=colours[arm], linewidth=0.8, alpha=0.6)
        steps = [p["step"] for p in next(iter(seeds.values()))["probes"]]
        rows = np.array([[np.median(np.array(p["cosine"])[:, 1]) for p in r["probes"]] for r in seeds.values()])
        _band(right, steps, np.maximum(1 - rows, 1e-6), color=colours[arm], marker=".")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set(
        xlabel="branch k",
        ylabel="1 − cosine of the inputs of k and k − 1",
        yscale="log",
        title="At the end: median, 5-95 % of tokens",
    )
    right.set(xlabel="step", ylabel="1 − cosine, median over branches", yscale="log", title="Over training")
    _legend(figure, left)
    return figure


def _gradient(runs: Runs, colours: dict[str, Any]) -> Figure:
    """By depth at the end."""
    figure, axes = _figure(2)
    for axis, what, title in zip(
        axes, ("arriving", "weights"), ("Gradient at a branch's output", "Gradient of a branch's weights"), strict=True
    ):
        for arm, seeds in runs.items():
            rows = np.array([r["probes"][-1][what] for r in seeds.values()])
            _band(axis, np.arange(rows.shape[1]), rows, color=colours[arm], label=arm, marker=".")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set(xlabel="branch k", ylabel="norm", yscale="log", title=f"{title}, at the end")
    _legend(figure, axes[0])
    return figure
