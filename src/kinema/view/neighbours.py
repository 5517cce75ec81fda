"""A motion and those most like it in a grid: as a contact sheet, or as a page where they move in step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from ..errors import UserError
from ..files import atomic_file
from ..motion.clip import Clip
from .figure import FLOOR, INK, MAX_SIDE, PAPER, figures, write_line
from .player import Kind, Moving, grid
from .report import Cell, Section, table_section, write_report

FRAMES = 4
"""Figures of one motion."""
FIGURE = (96, 132)
"""Width and height of one of them, pixels."""
LINE, LINES = 19, 3
"""Height of a line of words, pixels, and how many a cell has."""
GAP, EDGE = 14, 3
"""Pixels between cells, and of the line around one."""
FRAME = {"query": INK, "same": (15, 122, 58), "other": (179, 38, 30), "unknown": FLOOR}
"""Colour around a cell: of the query, of its class, of another class, of a class that nobody knows."""
AGREES = {"query": "", "same": "same class", "other": "other class", "unknown": ""}


@dataclass(frozen=True)
class Neighbour:
    """One cell.

    Attributes:
        title: ``query``, or the rank and the similarity. label: its class, or empty. name: of the clip. clip: as it was read.
        kind: see `FRAME`.
    """

    title: str
    label: str
    name: str
    clip: Clip
    kind: Kind = "unknown"

    @property
    def lines(self) -> tuple[str, str, str]:
        """What is written into the cell: which it is, its class and whether that is the query's, its name."""
        told = " · ".join(t for t in (self.label or "class not known", AGREES[self.kind]) if t)
        return self.title, told, self.name


def kind_of(query: str, label: str) -> Kind:
    """How the class of a neighbour compares with that of the query; empty ones are not known."""
    return "unknown" if not query or not label else "same" if query == label else "other"


def most() -> int:
    """How many cells a contact sheet can hold without being larger than `MAX_SIDE` in width or height."""
    across, tallest = _room()
    return across * tallest


def _room() -> tuple[int, int]:
    """How many cells fit side by side, and one above another."""
    width, height = _cell()
    return (MAX_SIDE - GAP) // (width + GAP), (MAX_SIDE - GAP) // (height + GAP)


def _cell() -> tuple[int, int]:
    """Its width and height, pixels, with the frame."""
    return FRAMES * FIGURE[0] + 2 * EDGE, LINES * LINE + 8 + FIGURE[1] + 2 * EDGE


def sheet(cells: Sequence[Neighbour]) -> Image.Image:
    """Cells side by side in the shape of a page, the first one first; each is a strip of up to 4 figures under its three lines.

    Raises:
        UserError: no cells, or more than `most`.
    """
    if not 1 <= len(cells) <= most():
        raise UserError(f"a contact sheet of {len(cells)} motions: expected 1 to {most()}")
    width, height = _cell()
    across, tallest = _room()
    # in the shape of a page, and never a side that is too long
    columns = min(across, max(-(-len(cells) // tallest), min(len(cells), max(2, round((0.9 * len(cells)) ** 0.5)))))
    rows = -(-len(cells) // columns)
    image = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP), PAPER)
    draw = ImageDraw.Draw(image)
    for i, cell in enumerate(cells):
        left, top = GAP + i % columns * (width + GAP), GAP + i // columns * (height + GAP)
        draw.rectangle([left, top, left + width - 1, top + height - 1], outline=FRAME[cell.kind], width=EDGE)
        for number, text in enumerate(cell.lines):
            colour = FRAME[cell.kind] if number == 1 and AGREES[cell.kind] else INK
            at = (left + EDGE + 7, top + EDGE + 5 + number * LINE)
            write_line(image, at, text, width - 2 * EDGE - 14, LINE, colour, bold=number == 0)
        drawn = figures(cell.clip, FRAMES, FIGURE)
        image.paste(drawn, (left + EDGE, top + height - EDGE - drawn.height))
    return image


def save_sheet(cells: Sequence[Neighbour], path: Path) -> None:
    """Writes the `sheet` as PNG, atomically.

    Raises:
        UserError: see `sheet`; or the file cannot be written.
    """
    image = sheet(cells)
    with atomic_file(Path(path)) as temporary:
        image.save(temporary, "PNG", optimize=True)


def save_page(
    cells: Sequence[Neighbour],
    columns: Sequence[str],
    table: Sequence[Sequence[Cell]],
    path: Path,
    title: str,
    subtitle: str = "",
    footer: str = "",
) -> None:
    """Writes one HTML file that loads nothing: the grid, whose figures move in step and turn together, and a table.

    Args:
        cells: the motions; the first is the one that the others are compared to.
        columns, table: heads and rows of the table.
        path: the file. title, subtitle, footer: plain text.

    Raises:
        UserError: the file cannot be written.
    """
    moving = grid([Moving(cell.kind, cell.lines, cell.clip) for cell in cells])
    sections = [Section("Side by side", moving), table_section("In numbers", columns, table)]
    write_report(path, title, sections, subtitle, footer)
