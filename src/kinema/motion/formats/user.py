"""A user's own data: arrays in files, and one table, ``clips.csv``, that says what each is.

Files are ``.npz`` (with `positions`), ``.npy`` or ``.csv`` (a row a frame, joint after joint, x y z or x y). Columns of the
table: `file` and `label`, and if wanted `subject`, `view`, `split`, `fps`, `start`, `end`, `caption`. Labels are the names of
classes; classes are numbered in their alphabetical order.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ...errors import FormatError, UserError
from ..clip import Caption, Clip
from ..skeleton import Skeleton
from .jobs import Job
from .members import Member, members
from .npz import from_array, read_array
from .tables import MAX_TEXT, decode, parse_json, table

INDEX, SKELETON = "clips.csv", "skeleton.json"
"""Where `jobs` looks, inside the source, when it is not told."""
NAME = re.compile(re.escape(INDEX))
REQUIRED = ("file", "label")
OPTIONAL = ("subject", "view", "split", "fps", "start", "end", "caption")
SPLITS = ("train", "validation", "test")
SUFFIXES = (".npz", ".npy", ".csv")
FPS = 30.0
"""Frames per second where the table has no `fps`."""


@dataclass(frozen=True)
class Row:
    """One line of the table. `start`, `end`: frames, from 0, the end not included (None: to the end of the file)."""

    line: int
    file: str
    label_name: str
    label: int = 0
    subject: str | None = None
    view: str | None = None
    split: str | None = None
    fps: float = FPS
    start: int = 0
    end: int | None = None
    caption: str | None = None

    @property
    def name(self) -> str:
        """The clip's id: its file, and its frames where they were given."""
        return (
            self.file
            if (self.start, self.end) == (0, None)
            else f"{self.file}[{self.start}:{'' if self.end is None else self.end}]"
        )


def jobs(source: Path, index: Path | None = None, skeleton: Skeleton | None = None) -> list[Job]:
    """One job a row of the table; its context holds the row and the skeleton.

    Args:
        source: folder or zip with the files.
        index: the table; default ``clips.csv`` in the source.
        skeleton: of all files; default ``skeleton.json`` in the source.

    Raises:
        UserError: no table, no skeleton, or a table with a mistake; the message names its line.
    """
    files = {m.name: m for m in members(source)}
    table_file = _side_file(source, index, files, INDEX, "list your clips there: a header file,label and a row a clip")
    if skeleton is None:
        side = _side_file(source, None, files, SKELETON, "name a skeleton, or describe yours there")
        skeleton = Skeleton.from_json(parse_json(side.read(2**20), side.origin), side.origin)
    rows = read_index(table_file)
    for row in rows:
        if row.file not in files:
            raise UserError(f"{table_file.origin}, line {row.line}: no file {row.file!r} in {source}")
    return [Job(row.name, files[row.file], (row, skeleton)) for row in rows]


def _side_file(source: Path, given: Path | None, files: Mapping[str, Member], name: str, advice: str) -> Member:
    if given is not None:
        path = Path(given)
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        return Member(str(path), path.name, path.stat().st_size)
    if name not in files:
        raise UserError(f"{source}: no {name}; {advice}")
    return files[name]


def read_index(file: Member) -> list[Row]:
    """The rows of a table of clips, with classes numbered.

    Raises:
        UserError: a mistake in it, naming the line.
    """
    reader = csv.reader(io.StringIO(decode(file.read(MAX_TEXT), file.origin)), strict=True)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise FormatError(f"{file.origin}, line {reader.line_num}", f"not a CSV row ({error})") from error
    header = lines[0][1] if lines else []
    missing = [c for c in REQUIRED if c not in header]
    unknown = [c for c in header if c not in REQUIRED + OPTIONAL]
    known = f"required: {', '.join(REQUIRED)}; possible: {', '.join(OPTIONAL)}"
    if missing or unknown or len(set(header)) != len(header):
        what = f"no column {', '.join(missing)}" if missing else f"unknown column {unknown[0]!r}" if unknown else "a column twice"
        raise UserError(f"{file.origin}, line {lines[0][0] if lines else 1}: {what}; {known}")
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for line, cells in lines[1:]:
        where = f"{file.origin}, line {line}"
        if len(cells) != len(header):
            raise UserError(f"{where}: {len(cells)} cells; the header has {len(header)} (quote cells that hold commas)")
        row = _row(line, {k: v for k, v in zip(header, cells, strict=True) if v}, where)
        if row.name in seen:
            raise UserError(f"{where}: {row.name} is already in line {seen[row.name]}; remove one of them")
        seen[row.name] = line
        rows.append(row)
    if not rows:
        raise UserError(f"{file.origin}: a header and no clips; add a row for each clip")
    classes = sorted({row.label_name for row in rows})
    return [replace(row, label=classes.index(row.label_name)) for row in rows]


def _row(line: int, cells: Mapping[str, str], where: str) -> Row:
    for column in REQUIRED:
        if column not in cells:
            raise UserError(f"{where}: {column} is empty")
    if not cells["file"].lower().endswith(SUFFIXES):
        raise UserError(f"{where}: {cells['file']!r}; expected a file that ends in {', '.join(SUFFIXES)}")
    if cells.get("split", SPLITS[0]) not in SPLITS:
        raise UserError(f"{where}: split {cells['split']!r}; expected one of {', '.join(SPLITS)}")
    start, end = (_frame(cells[c], c, where) if c in cells else None for c in ("start", "end"))
    if end is not None and end <= (start or 0):
        raise UserError(f"{where}: end {end} is not after start {start or 0} (frames count from 0, the end is not included)")
    return Row(
        line,
        PurePosixPath(cells["file"].replace("\\", "/")).as_posix(),
        cells["label"],
        subject=cells.get("subject"),
        view=cells.get("view"),
        split=cells.get("split"),
        fps=_rate(cells["fps"], where) if "fps" in cells else FPS,
        start=start or 0,
        end=end,
        caption=cells.get("caption"),
    )


def _frame(text: str, column: str, where: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise UserError(f"{where}: {column} {text!r}; expected a frame number from 0")
    return int(text)


def _rate(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(f"{where}: fps {text!r}; expected a number above 0")
    return value


def read(job: Job) -> list[Clip]:
    """The clip of one row, `(T, M, J, C)`; meta: split, where the table has it.

    Raises:
        FormatError: the file is not positions of the skeleton, or has fewer frames than the row says.
    """
    row: Row = job.context[0]
    skeleton: Skeleton = job.context[1]
    origin = job.member.origin
    if row.file.lower().endswith(".csv"):
        clip = from_array(table(job.member.read(MAX_TEXT), origin, None, ","), None, skeleton, row.fps, origin)
    else:
        clip = read_array(job.member, skeleton, row.fps)
    if max(row.start + 1, row.end or 0) > clip.frames:
        raise FormatError(
            origin, f"{clip.frames} frames; line {row.line} of the table asks for {row.start} to {row.end or 'the end'}"
        )
    cut = slice(row.start, row.end)
    return [
        clip.with_(
            positions=clip.positions[cut],
            confidence=None if clip.confidence is None else clip.confidence[cut],
            label=row.label,
            label_name=row.label_name,
            subject=row.subject,
            view=row.view,
            captions=(Caption(row.caption),) if row.caption else (),
            meta={"split": row.split} if row.split else {},
        )
    ]
