"""A motion and those most like it, one under the other: as a contact sheet, or as a page where they move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from ..errors import UserError
from ..files import atomic_file
from ..motion.clip import Clip
from .figure import FLOOR, LEFT, MAX_SIDE, PAPER, strip
from .report import Cell, motion_section, table_section, write_report

FRAMES = 8
"""Figures of one motion."""
CELL = (130, 170)
"""Width and height of one figure, pixels."""
TALL = 12
"""Rows of a column, before another one is begun."""
GAP = 14


@dataclass(frozen=True)
class Row:
    """One motion of a picture.

    Attributes:
        caption: what stands over it, one printable line. clip: as it was read.
    """

    caption: str
    clip: Clip


def most() -> int:
    """How many rows a contact sheet can hold without being larger than `MAX_SIDE` in width or height."""
    down, across = _step()
    return ((MAX_SIDE - GAP) // down) * ((MAX_SIDE - GAP) // across)


def _step() -> tuple[int, int]:
    """Pixels from row to row and from column to column; 26 is the line of words over a strip."""
    return CELL[1] + 26 + GAP, FRAMES * CELL[0] + GAP


def sheet(rows: Sequence[Row]) -> Image.Image:
    """Each motion as a strip of up to 8 figures under its caption; the first, to which the others are compared, has a blue bar.

    Rows run down, and on in further columns where there are many.

    Raises:
        UserError: no rows, or more than `most`.
    """
    if not 1 <= len(rows) <= most():
        raise UserError(f"a contact sheet of {len(rows)} motions: expected 1 to {most()}")
    down, across = _step()
    columns = min(-(-len(rows) // TALL), (MAX_SIDE - GAP) // across)
    tall = -(-len(rows) // columns)
    columns = -(-len(rows) // tall)  # rows rounded up may leave the last column empty
    image = Image.new("RGB", (columns * across + GAP, tall * down + GAP), PAPER)
    draw = ImageDraw.Draw(image)
    for i, row in enumerate(rows):
        left, top = GAP + i // tall * across, GAP + i % tall * down
        image.paste(strip(row.clip, FRAMES, CELL, row.caption), (left, top))
        draw.line([(left, top), (left + across - GAP - 1, top)], fill=FLOOR)
        if i == 0:
            draw.rectangle([left - 9, top, left - 5, top + down - GAP - 1], fill=LEFT[0])
    return image


def save_sheet(rows: Sequence[Row], path: Path) -> None:
    """Writes the `sheet` as PNG, atomically.

    Raises:
        UserError: see `sheet`; or the file cannot be written.
    """
    image = sheet(rows)
    with atomic_file(Path(path)) as temporary:
        image.save(temporary, "PNG", optimize=True)


def save_page(
    rows: Sequence[Row], columns: Sequence[str], table: Sequence[Sequence[Cell]], path: Path, title: str, subtitle: str = ""
) -> None:
    """Writes one HTML file that loads nothing: a table, and every motion as a figure to play and turn.

    Args:
        rows: the motions; the first is the one that the others are compared to.
        columns, table: heads and rows of the table.
        path: the file. title, subtitle: plain text.

    Raises:
        UserError: the file cannot be written.
    """
    sections = [table_section("The motions most like it", columns, table)]
    for row in rows:
        track = {row.clip.label_name or "motion": row.clip.positions}
        sections.append(motion_section(row.caption, row.clip.skeleton, track, row.clip.fps, units=row.clip.units))
    write_report(path, title, sections, subtitle)
