"""One self-contained HTML file: what was measured and how it moves.

It loads nothing: style, script and data are inside, and a content security policy forbids everything else. Whatever comes from
data (class names, file names, captions) is escaped here, once, by the section builders. It is light or dark as the reader's system is,
fits a telephone, and without scripts lacks nothing but the moving figures.
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
from ..words import plural
from . import plots
from .player import player

MAX_MATRIX = 40
"""Classes of a confusion matrix that can be read; of more the commonest confusions are listed."""
MAX_LETTERS = 72
"""Of a cell; of what is longer the middle is left out."""
MAX_ROWS = 20
"""Rows of the classes and of the confusions that are open to the eye; the others are folded."""


@dataclass(frozen=True)
class Section:
    """A part of a report: a heading (plain text) and its body (safe HTML; use the builders below).

    Attributes:
        title, body: these. half: where there is room, it stands beside another one.
    """

    title: str
    body: str
    half: bool = False


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


@dataclass(frozen=True)
class Gauge:
    """A cell with the name of its row and a bar from 0 to 100 %.

    Attributes:
        name: of the row. percent: length of the bar; None is a row without one.
        low, high: ends of a whisker, per cent; None for no whisker. mark: of a dashed line, for instance the majority-class baseline.
    """

    name: str
    percent: float | None
    low: float | None = None
    high: float | None = None
    mark: float | None = None


Facts = Sequence[tuple[str, str]]
"""Names and what is known of them."""
Cell = str | int | float | None | Measured | Published | Gauge


def text_section(title: str, text: str) -> Section:
    """Paragraphs of plain text, parted by empty lines."""
    paragraphs = [p for p in re.split(r"\n\s*\n", text.strip()) if p]
    return Section(title, "".join(f"<p>{html.escape(p)}</p>" for p in paragraphs))


def curve_section(
    title: str, steps: Sequence[float], values_by_name: Mapping[str, Sequence[float]], note: str = "", xlabel: str = "step"
) -> Section:
    """A learning curve; see `plots.curve`."""
    return Section(title, _plot(plots.curve(steps, values_by_name, xlabel=xlabel), title) + _note(note), half=True)


def confusion_section(title: str, matrix: np.ndarray, classes: Sequence[str], note: str = "") -> Section:
    """A confusion matrix of `(K, K)` counts, see `plots.confusion`; of more than 40 classes a list of the commonest confusions.

    Raises:
        UserError: see `plots.confusion_counts`.
    """
    counts = plots.confusion_counts(matrix, classes)
    if len(classes) <= MAX_MATRIX:
        return Section(title, _plot(plots.confusion(counts, classes), title) + _note(note), half=len(classes) <= 12)
    wrong = counts * ~np.eye(len(classes), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_ROWS]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True) if wrong[i, j]]
    rows = [
        [plots.shortened(classes[i], 60), plots.shortened(classes[j], 60), int(wrong[i, j]), f"{wrong[i, j] / counts[i].sum():.0%}"]
        for i, j in pairs
    ]
    listed = _table(["true class", "taken for", "clips", "of its clips"], rows, numbers=(2, 3))
    said = f"The commonest confusions; a matrix of {len(classes)} classes could not be read. {note}".strip()
    return Section(title, (listed if rows else "<p>No clip was taken for one of another class.</p>") + _note(said), half=True)


def scatter_section(title: str, points: np.ndarray, labels: Sequence[int], classes: Sequence[str], note: str = "") -> Section:
    """An embedding `(N, 2)` coloured by class; see `plots.scatter`."""
    return Section(title, _plot(plots.scatter(points, labels, classes), title) + _note(note), half=True)


def table_section(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], note: str = "", numbers: Sequence[int] = ()
) -> Section:
    """A table. Cells are text, numbers, `Measured`, `Published`, `Gauge` or None (a dash). The first column names its row.

    Args:
        numbers: columns of text that are set as numbers are.

    Raises:
        UserError: a row with more or fewer cells than there are columns.
    """
    for row in rows:
        if len(row) != len(columns):
            raise UserError(f"table {title!r}: a row of {len(row)} cells under {len(columns)} columns: {list(row)!r}")
    return Section(title, _table(columns, rows, numbers) + _note(note))


def per_class_section(title: str, matrix: np.ndarray, classes: Sequence[str], note: str = "") -> Section:
    """For each class of a `(K, K)` confusion matrix (rows true): clips, share recognised, and what it is most often taken for.

    The hardest classes come first; classes without clips last. Those after the twentieth are folded.

    Raises:
        UserError: see `plots.confusion_counts`.
    """
    counts = plots.confusion_counts(matrix, classes)
    total, right = counts.sum(1), np.diag(counts)
    share = np.where(total > 0, right / np.maximum(total, 1), np.inf)
    rows: list[list[Cell]] = []
    for k in np.argsort(share, kind="stable"):
        wrong = counts[k].copy()
        wrong[k] = 0
        other = int(wrong.argmax())
        taken = f"{plots.shortened(classes[other], 60)} ({wrong[other] / total[k]:.0%})" if wrong[other] else None
        percent = 100 * float(share[k]) if total[k] else None
        rows.append(
            [
                Gauge(str(classes[k]).strip() or "(no name)", percent),
                None if percent is None else f"{percent:.0f}",
                int(total[k]),
                taken,
            ]
        )
    columns = ["class", "recognised, %", "clips", "most often taken for"]
    body = _table(columns, rows[:MAX_ROWS], numbers=(1,))
    if len(rows) > MAX_ROWS:
        more = _table(columns, rows[MAX_ROWS:], numbers=(1,))
        body += f"<details><summary>{plural(len(rows) - MAX_ROWS, 'more class')}</summary>{more}</details>"
    return Section(title, body + _note(note), half=not 12 < len(classes) <= MAX_MATRIX)


def facts_section(title: str, facts: Facts, folded: Mapping[str, str | Facts] | None = None) -> Section:
    """Names and what is known of them, one a line; `folded`: headings over a long text or more facts, closed until somebody opens them."""
    more = "".join(
        f"<details><summary>{html.escape(name)}</summary>"
        f"{f'<pre>{html.escape(inner)}</pre>' if isinstance(inner, str) else _facts(inner)}</details>"
        for name, inner in (folded or {}).items()
    )
    return Section(title, _facts(facts) + more)


def _facts(facts: Facts) -> str:
    rows = "".join(f'<tr><th scope="row">{html.escape(name)}</th><td>{_said(value)}</td></tr>' for name, value in facts)
    return f'<div class="wide"><table class="facts"><tbody>{rows}</tbody></table></div>'


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
    links = "".join(f'<a href="#s{i}">{_said(s.title)}</a>' for i, s in enumerate(sections, 1))
    body = "\n".join(
        f'<section id="s{i}"{" class=half" if half else ""}><h2>{_said(s.title)}</h2>\n{s.body}</section>'
        for i, (s, half) in enumerate(zip(sections, _halves(sections), strict=True), 1)
    )
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
<header><h1>{_said(title)}</h1>{f'<p class="soft">{_said(subtitle)}</p>' if subtitle else ""}
{f"<nav>{links}</nav>" if len(sections) > 2 else ""}</header>
<main>
{body}
</main>
{f"<footer>{_said(footer)}</footer>" if footer else ""}
{f"<script>{script}</script>" if moves else ""}
</body>
</html>
"""
    return "\n".join(map(plain, page.split("\n")))


def _halves(sections: Sequence[Section]) -> list[bool]:
    """Which sections stand beside another: those that can, two by two, so that no half of a line is empty."""
    beside = [False] * len(sections)
    for i in range(len(sections) - 1):
        if sections[i].half and sections[i + 1].half and not beside[i]:
            beside[i] = beside[i + 1] = True
    return beside


def _said(text: str, longest: int | None = None) -> str:
    """Escaped; it keeps its own direction of writing, and has no say in that of its neighbours. What is cut is told when pointed at."""
    whole = str(text)
    shown = whole if longest is None or plots.wide(whole) <= longest else plots.shortened(whole, longest)
    hint = f' title="{html.escape(whole)}"' if shown != whole else ""
    return f"<bdi{hint}>{html.escape(shown)}</bdi>"


def _table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], numbers: Sequence[int] = ()) -> str:
    """Columns of words begin at their left, those of numbers (and `numbers`) end at their right."""
    kinds = (str, Gauge, type(None))
    words = [i not in numbers and all(isinstance(row[i], kinds) for row in rows) for i in range(len(columns))]
    words[:1] = [True]
    drawn = [any(isinstance(row[i], Gauge) for row in rows) for i in range(len(columns))]
    head = "".join(
        f'<th{_words(w)} scope="col">{_gauged(html.escape(c), _SCALE) if g else html.escape(c)}</th>'
        for c, w, g in zip(columns, words, drawn, strict=True)
    )
    body = "".join(f"<tr>{''.join(_cell(c, w) for c, w in zip(row, words, strict=True))}</tr>" for row in rows)
    full = " class=full" if any(drawn) else ""
    return f'<div class="wide"><table{full}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


_SCALE = '<span class="scale"><i>0</i><i>50</i><i>100&nbsp;%</i></span>'


def _gauged(name: str, bar: str) -> str:
    return f'<span class="gauged"><span>{name}</span>{bar}</span>'


def _gauge(cell: Gauge) -> str:
    """The bar, with its whisker and its mark over it. What is outside 0 to 100 ends there."""
    if cell.percent is None:
        return _gauged(_said(cell.name, MAX_LETTERS), "<span></span>")

    def at(percent: float) -> float:
        return float(np.clip(percent, 0, 100)) if np.isfinite(percent) else 0.0

    parts, told = [f'<i style="width:{at(cell.percent):.2f}%"></i>'], f"{cell.percent:.1f} %"
    if cell.mark is not None:
        parts.append(f'<u style="left:{at(cell.mark):.2f}%"></u>')
        told += f", chance {cell.mark:.1f} %"
    if cell.low is not None and cell.high is not None:
        low, high = at(cell.low), at(cell.high)
        parts.append(f'<b style="left:{low:.2f}%;width:{high - low:.2f}%"></b>')
        told += f", from {low:.1f} to {high:.1f} %"
    return _gauged(_said(cell.name, MAX_LETTERS), f'<span class="bar" role="img" aria-label="{told}">{"".join(parts)}</span>')


def _words(left: bool) -> str:
    return ' class="words"' if left else ""


def _cell(cell: Cell, words: bool) -> str:
    if isinstance(cell, Published):
        source = f", {html.escape(cell.source)}" if cell.source else ""
        return f'<td class="published">{_number(float(cell.value))}<span class="badge">published{source}</span></td>'
    if isinstance(cell, Measured):
        spread = f" ± {_number(cell.spread, like=cell.mean)}" if cell.spread is not None else ""
        runs = f' <span class="runs">({plural(cell.runs, "run")})</span>' if cell.runs else ""
        return f"<td>{_number(float(cell.mean))}{spread}{runs}</td>"
    if isinstance(cell, Gauge):
        return f'<th scope="row" class="words">{_gauge(cell)}</th>'
    if cell is None or cell == "":
        return f"<td{_words(words)}>–</td>"
    return f"<td{_words(words)}>{_said(cell, MAX_LETTERS) if isinstance(cell, str) else _number(cell)}</td>"


def _number(value: float, like: float | None = None) -> str:
    """Integers as they are; others with one decimal from 10 up (percentages), two from 1, else three; `like` sets the decimals."""
    if isinstance(value, (int, np.integer)) and like is None:
        return f"{value:,}"
    size = abs(value if like is None else like)
    return f"{value:.{1 if size >= 10 or size == 0 else 2 if size >= 1 else 3}f}" if np.isfinite(value) else "–"


def _note(note: str) -> str:
    return f'<p class="note">{html.escape(note)}</p>' if note else ""


def _plot(svg: str, label: str) -> str:
    """An SVG inside the page, where it needs no namespaces. It grows and shrinks with its place, as long as its letters can be read."""
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg, count=3)
    width = float(re.search(r'\bwidth="([\d.]+)pt"', svg)[1])  # type: ignore[index]
    svg = re.sub(r'\s(width|height)="[\d.]+pt"', "", svg, count=2)
    size = f"min-width:{0.85 * width:.0f}px;max-width:{1.7 * width:.0f}px"
    return f'<div class="plot" role="img" aria-label="{html.escape(label)}"><div style="{size}">{svg}</div></div>'
