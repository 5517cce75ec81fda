"""One self-contained HTML file: what was measured and how it moves.

It loads nothing: style, script and data are inside, and a content security policy forbids everything else. Whatever comes from
data (class names, file names, captions) is escaped here, once, by the section builders.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import atomic_file
from ..motion.skeleton import Skeleton
from ..text import plain
from . import plots
from .player import player


@dataclass(frozen=True)
class Section:
    """A part of a report: a heading (plain text) and its body (safe HTML; use the builders below)."""

    title: str
    body: str


@dataclass(frozen=True)
class Measured:
    """A cell ``mean ± spread``, measured here over `runs` runs; without a spread just the mean."""

    mean: float
    spread: float | None = None
    runs: int | None = None


@dataclass(frozen=True)
class Published:
    """A cell with a figure from the literature, marked so that nobody takes it for ours. `source` says whose."""

    value: float
    source: str = ""


Cell = str | int | float | None | Measured | Published


def text_section(title: str, text: str) -> Section:
    """Paragraphs of plain text, parted by empty lines."""
    paragraphs = [p for p in re.split(r"\n\s*\n", text.strip()) if p]
    return Section(title, "".join(f"<p>{html.escape(p)}</p>" for p in paragraphs))


def curve_section(
    title: str, steps: Sequence[float], values_by_name: Mapping[str, Sequence[float]], note: str = "", xlabel: str = "step"
) -> Section:
    """A learning curve; see `plots.curve`."""
    return Section(title, _plot(plots.curve(steps, values_by_name, xlabel=xlabel), title) + _note(note))


def confusion_section(title: str, matrix: np.ndarray, classes: Sequence[str], note: str = "") -> Section:
    """A confusion matrix of `(K, K)` counts; see `plots.confusion`."""
    return Section(title, _plot(plots.confusion(matrix, classes), title) + _note(note))


def scatter_section(title: str, points: np.ndarray, labels: Sequence[int], classes: Sequence[str], note: str = "") -> Section:
    """An embedding `(N, 2)` coloured by class; see `plots.scatter`."""
    return Section(title, _plot(plots.scatter(points, labels, classes), title) + _note(note))


def bars_section(title: str, rows: Sequence[plots.Bar], note: str = "", xlabel: str = "accuracy, %") -> Section:
    """Bars of methods under protocols; see `plots.bars`."""
    return Section(title, _plot(plots.bars(rows, xlabel=xlabel), title) + _note(note))


def table_section(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], note: str = "") -> Section:
    """A table. Cells are text, numbers, `Measured`, `Published` or None (a dash). The first column names its row.

    Raises:
        UserError: a row with more or fewer cells than there are columns.
    """
    for row in rows:
        if len(row) != len(columns):
            raise UserError(f"table {title!r}: a row of {len(row)} cells under {len(columns)} columns: {list(row)!r}")
    words = [all(isinstance(row[i], str) or row[i] is None for row in rows) for i in range(len(columns))]
    head = "".join(f'<th{_words(w)} scope="col">{html.escape(c)}</th>' for c, w in zip(columns, words, strict=True))
    body = "".join(f"<tr>{''.join(_cell(c, w) for c, w in zip(row, words, strict=True))}</tr>" for row in rows)
    return Section(
        title, f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>' + _note(note)
    )


def per_class_section(title: str, matrix: np.ndarray, classes: Sequence[str], note: str = "") -> Section:
    """For each class of a `(K, K)` confusion matrix (rows true): clips, share recognised, and what it is most often taken for.

    The hardest classes come first; classes without clips last.

    Raises:
        UserError: see `plots.confusion_counts`.
    """
    counts = plots.confusion_counts(matrix, classes)
    total, right = counts.sum(1), np.diag(counts)
    share = np.where(total > 0, right / np.maximum(total, 1), np.inf)
    rows: list[str] = []
    for k in np.argsort(share, kind="stable"):
        wrong = counts[k].copy()
        wrong[k] = 0
        other = int(wrong.argmax())
        taken = f"{classes[other]} ({wrong[other] / total[k]:.0%})" if wrong[other] else "–"
        percent = f"{100 * share[k]:.1f}" if total[k] else "–"
        fill = 100 * share[k] if total[k] else 0
        rows.append(
            f"<tr><td>{html.escape(str(classes[k]))}</td><td>{total[k]:g}</td><td>{percent}</td>"
            f'<td class="words"><span class="bar"><i style="width:{fill:.1f}%"></i></span></td>'
            f'<td class="words">{html.escape(taken)}</td></tr>'
        )
    head = '<th scope="col">class</th><th scope="col">clips</th><th scope="col">recognised, %</th><th></th>'
    head += '<th class="words" scope="col">most often taken for</th>'
    return Section(
        title, f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>' + _note(note)
    )


def motion_section(
    title: str,
    skeleton: Skeleton,
    tracks: Mapping[str, np.ndarray],
    fps: float,
    mask: np.ndarray | Mapping[str, np.ndarray] | None = None,
    note: str = "",
    units: str = "metres",
) -> Section:
    """Moving stick figures side by side and in step, to play, scrub and turn.

    Args:
        tracks: name -> positions `(T, M, J, C)`, C 3 (y up) or 2 (pixels, y down); one shape for all, absent joints zero.
            The first track decides the view.
        fps: frames per second.
        mask: `(T, J)` or `(T, M, J)` bool, True where a joint was hidden from the method: drawn hollow, its bones dotted, in every
            track. A mapping masks only the tracks it names.
        units: of the positions; ``pixels`` run down.

    Raises:
        UserError: shapes that do not agree, or values that are not finite.
    """
    return Section(title, player(skeleton, tracks, fps, mask, units) + _note(note))


def write_report(path: Path, title: str, sections: Sequence[Section], subtitle: str = "", footer: str = "") -> None:
    """Writes the report atomically. The same input gives the same bytes.

    Raises:
        UserError: the file cannot be written.
    """
    page = render(title, sections, subtitle, footer)
    with atomic_file(Path(path)) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def render(title: str, sections: Sequence[Section], subtitle: str = "", footer: str = "") -> str:
    """The HTML of a report. Nothing that a section says can turn the order of its letters round, or hide: see `text.plain`."""
    style, script = (Path(__file__).with_name(n).read_text(encoding="utf-8").strip() for n in ("report.css", "player.js"))
    moves = any('class="motion"' in s.body for s in sections)
    # only this very script may run: even markup that slipped through the escaping could not
    allowed = f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" if moves else "'none'"
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    links = "".join(f'<a href="#s{i}">{html.escape(s.title)}</a>' for i, s in enumerate(sections, 1))
    body = "\n".join(f'<section id="s{i}"><h2>{html.escape(s.title)}</h2>\n{s.body}</section>' for i, s in enumerate(sections, 1))
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>
{style}
</style>
</head>
<body>
<header><h1>{html.escape(title)}</h1>{f'<p class="soft">{html.escape(subtitle)}</p>' if subtitle else ""}
{f"<nav>{links}</nav>" if len(sections) > 2 else ""}</header>
<main>
{body}
</main>
{f"<footer>{html.escape(footer)}</footer>" if footer else ""}
{f"<script>{script}</script>" if moves else ""}
</body>
</html>
"""
    return "\n".join(map(plain, page.split("\n")))


def _words(left: bool) -> str:
    return ' class="words"' if left else ""


def _cell(cell: Cell, words: bool) -> str:
    if isinstance(cell, Published):
        source = f", {html.escape(cell.source)}" if cell.source else ""
        return f'<td class="published">{_number(float(cell.value))}<span class="badge">published{source}</span></td>'
    if isinstance(cell, Measured):
        spread = f" ± {_number(cell.spread, like=cell.mean)}" if cell.spread is not None else ""
        runs = f' <span class="runs">({cell.runs} runs)</span>' if cell.runs else ""
        return f"<td>{_number(float(cell.mean))}{spread}{runs}</td>"
    if cell is None or cell == "":
        return f"<td{_words(words)}>–</td>"
    return f"<td{_words(words)}>{html.escape(cell) if isinstance(cell, str) else _number(cell)}</td>"


def _number(value: float, like: float | None = None) -> str:
    """Integers as they are; others with one decimal from 10 up (percentages), two from 1, else three; `like` sets the decimals."""
    if isinstance(value, (int, np.integer)) and like is None:
        return f"{value:,}"
    size = abs(value if like is None else like)
    return f"{value:.{1 if size >= 10 or size == 0 else 2 if size >= 1 else 3}f}" if np.isfinite(value) else "–"


def _note(note: str) -> str:
    return f'<p class="note">{html.escape(note)}</p>' if note else ""


def _plot(svg: str, label: str) -> str:
    """An SVG inside the page, where it needs no namespaces."""
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg, count=3)
    return f'<div class="plot" role="img" aria-label="{html.escape(label)}">{svg}</div>'
