"""A user's own data: arrays in files, and one table, ``clips.csv``, that says what each is.

Files are ``.npz`` (with `positions`), ``.npy`` or ``.csv`` (a row a frame, joint after joint, x y z or x y). Columns of the
table: `file` and `label`, and if wanted `subject`, `view`, `split`, `fps`, `start`, `end`, `caption`. Labels are the names of
classes; classes are numbered in their alphabetical order.
"""

from __future__ import annotations

import math
import posixpath
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...errors import FormatError, UserError
from ...words import plural
from ..clip import Caption, Clip
from ..names import one_form
from ..skeleton import Skeleton
from .jobs import Job, JobList
from .lookup import Lookup
from .members import Member, members, single
from .npz import from_array, load_array
from .rows import SPREADSHEETS, read_rows
from .split_names import SIDES, side
from .tables import MAX_TEXT, number_table, parse_json

INDEX, SKELETON = "clips.csv", "skeleton.json"
"""What `jobs` looks for in the source when it is not told."""
NAME = re.compile(r"clips\.(?:csv|tsv)", re.IGNORECASE)
REQUIRED = ("file", "label")
OPTIONAL = ("subject", "view", "split", "fps", "start", "end", "caption")
SUFFIXES = (".npz", ".npy", ".csv")
FPS = 30.0
"""Frames per second where the table has no `fps`."""
STEP = 1000
"""Rows after which it is told how far the table has been read."""
SHOWN, MOST_MISSING = 5, 1000
"""Files that are not there: how many are named, and after how many the table is not read on."""
_FRAME = re.compile(r"([0-9]{1,9})(?:[.,]0*)?", re.ASCII)
"""A frame number; spreadsheets write 12.0 as well."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `start`, `end`: frames, from 0, the end not included (None: to the end of the file)."""

    line: int
    file: str
    label_name: str
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


def jobs(
    source: Path, index: Path | None = None, skeleton: Skeleton | None = None, step: Callable[[int], None] | None = None
) -> JobList:
    """One job a row of the table, those of one file one after another.

    The context is (row, skeleton, label, whether more rows of the file follow).

    Args:
        source: folder or zip with the files. They are named from the folder of the table, or from the source.
        index: the table; default ``clips.csv`` in the source, in whatever folder if there is only one.
        skeleton: of all files; default ``skeleton.json`` beside the table or in the source.
        step: called with how many rows have been read.

    Raises:
        UserError: no table, no skeleton, a table with a mistake, whose line is named, or files that are not there.
    """
    files = members(source)
    if index is None and source.is_file() and NAME.fullmatch(source.name):
        raise UserError(f"{source}: a table of clips; give the folder that holds it and its files, {source.absolute().parent}")
    if index is None:
        table = _one(source, files, NAME, INDEX, lambda: no_table(files))
    elif not index.is_file():
        raise UserError(f"{index}: no such file")
    else:
        table = single(index)
    base = table.name.removesuffix(table.file) if index is None else _base(source, index, files)
    if skeleton is None:
        file = _skeleton_file(source, files, base, index)
        skeleton = Skeleton.from_json(parse_json(file.read(2**20), file.origin), file.origin)
    rows, remarks = read_index(table, Lookup(source, files, base), step)
    classes = sorted({row.label_name for row, _ in rows})
    place = {name: i for i, name in enumerate(classes)}
    by_file: dict[Member, list[Row]] = {}
    for row, member in rows:
        by_file.setdefault(member, []).append(row)
    found = [
        Job(row.name, member, (row, skeleton, place[row.label_name], row is not own[-1]))
        for member, own in by_file.items()
        for row in own
    ]
    return JobList(found, classes, (*remarks, *_alike(classes)))


def _one(source: Path, files: Sequence[Member], pattern: re.Pattern[str], name: str, advice: Callable[[], str]) -> Member:
    """The file of a name: the one that lies highest in the source."""
    found = sorted((m for m in files if pattern.fullmatch(m.file)), key=lambda m: m.name.count("/"))
    if not found:
        raise UserError(f"{source}: no {name}; {advice()}")
    if len(found) > 1 and found[0].name.count("/") == found[1].name.count("/"):
        raise UserError(
            f"{source}: {found[0].name} and {found[1].name}; which is it? Remove one, or give the folder of one as the source"
        )
    return found[0]


def _skeleton_file(source: Path, files: Sequence[Member], base: str, index: Path | None) -> Member:
    """The description of the joints: beside the table, or else in the source."""
    if index is not None and (index.parent / SKELETON).is_file():
        return single(index.parent / SKELETON)
    near = [m for m in files if m.name == base + SKELETON] or files
    pattern = re.compile(re.escape(SKELETON), re.IGNORECASE)
    return _one(source, near, pattern, SKELETON, lambda: "name a skeleton with --skeleton, or describe yours there")


def no_table(files: Sequence[Member]) -> str:
    """What to do where there is no ``clips.csv`` among these files."""
    sheets = [m.name for m in files if m.file.lower().endswith(SPREADSHEETS)]
    if sheets:
        return f"{sheets[0]} is a spreadsheet: save it as CSV, called {INDEX}"
    tables = [m for m in files if m.file.lower().endswith((".csv", ".tsv", ".txt"))]
    headed = next((m.name for m in tables[:20] if b"label" in _first_line(m).lower()), None)
    if headed is not None:
        return f"if {headed} is your table, call it {INDEX}, or name it with --index"
    return "list your clips there: a header file,label and a row a clip"


def _first_line(member: Member) -> bytes:
    try:
        return member.head(200).partition(b"\n")[0]
    except FormatError:  # it is only looked into for advice
        return b""


def _base(source: Path, index: Path, files: Sequence[Member]) -> str:
    """From which folder of the source a table that was named itself counts: its own, or else that in which everything lies."""
    try:
        folder = one_form(index.resolve().parent.relative_to(source.resolve()).as_posix())
    except ValueError:
        folder = posixpath.commonpath([m.name.rpartition("/")[0] for m in files]) if files else ""
    return "" if folder in ("", ".") else f"{folder}/"


def read_index(
    file: Member, files: Lookup, step: Callable[[int], None] | None = None
) -> tuple[list[tuple[Row, Member]], tuple[str, ...]]:
    """The rows of a table of clips, each with its file, and remarks for the user.

    Raises:
        UserError: a mistake in it, naming the line, or files that are not there.
    """
    table, origin = read_rows(file, REQUIRED, OPTIONAL), file.origin
    found: list[tuple[Row, Member]] = []
    missing: list[tuple[int, str]] = []
    seen: dict[str, int] = {}
    count = 0
    for count, (line, cells) in enumerate(table, 1):
        where = f"{origin}, line {line}"
        if step is not None and count % STEP == 0:
            step(count)
        for column in REQUIRED:
            if column not in cells:
                raise UserError(f"{where}: {column} is empty")
        member = files.find(cells["file"])
        row = _row(line, files.id(member.name) if member else cells["file"], cells, where)
        if member is None:
            missing.append((line, row.file))
            if len(missing) > MOST_MISSING:
                break
            continue
        name = row.name
        if name in seen:
            raise UserError(f"{where}: {name} is already in line {seen[name]}; remove one of them")
        seen[name] = line
        found.append((row, member))
    if missing:
        raise _missing(file, files, missing, count)
    if not found:
        raise UserError(f"{file.origin}: a header and no clips; add a row for each clip")
    return found, table.remarks


def _missing(file: Member, files: Lookup, missing: Sequence[tuple[int, str]], rows: int) -> UserError:
    """The error that names files that are not there."""
    whys = ((name, why) for _, name in missing[:SHOWN] if (why := files.why(name)))
    hint = next((f" ({why})" if len(missing) == 1 else f"; of {name!r}: {why}" for name, why in whys), "")
    if len(missing) == 1:
        line, name = missing[0]
        return UserError(f"{file.origin}, line {line}: no file {name!r} in {files.source}{hint}")
    first = ", ".join(f"{name!r} (line {line})" for line, name in missing[:SHOWN])
    more = f" and {len(missing) - SHOWN} more" if SHOWN < len(missing) <= MOST_MISSING else ", ..." if len(missing) > SHOWN else ""
    count = f"more than {MOST_MISSING}" if len(missing) > MOST_MISSING else f"{len(missing)} of {rows}"
    return UserError(f"{file.origin}: {count} rows name files that are not in {files.source}: {first}{more}{hint}")


def _row(line: int, file: str, cells: Mapping[str, str], where: str) -> Row:
    if not cells["file"].lower().endswith(SUFFIXES):
        raise UserError(f"{where}: {cells['file']!r}; expected a file that ends in {', '.join(SUFFIXES)}")
    part = side(cells["split"]) if "split" in cells else None
    if "split" in cells and part is None:
        raise UserError(f"{where}: split {cells['split']!r}; expected one of {', '.join(SIDES)}")
    start, end = (_frame(cells[c], c, where) if c in cells else None for c in ("start", "end"))
    if end is not None and end <= (start or 0):
        raise UserError(f"{where}: end {end} is not after start {start or 0} (frames count from 0, the end is not included)")
    words = {column: _word(cells[column], column, where) for column in ("label", "subject", "view") if column in cells}
    return Row(
        line,
        file,
        words["label"],
        subject=words.get("subject"),
        view=words.get("view"),
        split=part,
        fps=_rate(cells["fps"], where) if "fps" in cells else FPS,
        start=start or 0,
        end=end,
        caption=cells.get("caption"),
    )


def _word(text: str, column: str, where: str) -> str:
    """A name on one line, its letters in one form."""
    word = _one_line(text)
    if word is None:
        raise UserError(f"{where}: {column} {text[:40]!r} holds a control character; expected a name")
    return word


@lru_cache(maxsize=65_536)
def _one_line(text: str) -> str | None:
    name = one_form(" ".join(text.split()))
    plain = name.isprintable() or not any(unicodedata.category(c) == "Cc" for c in name)
    return name if name and plain else None


def _frame(text: str, column: str, where: str) -> int:
    number = _FRAME.fullmatch(text)
    if number is None:
        raise UserError(f"{where}: {column} {text!r}; expected a frame number from 0")
    return int(number[1])


def _rate(text: str, where: str) -> float:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(f"{where}: fps {text!r}; expected a number above 0")
    return value


def _alike(classes: Sequence[str]) -> list[str]:
    """A remark on labels that a person would take for one: 1, 01 and 1.0, Wave and wave."""
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault(_plain(name), []).append(name)
    pairs = [" and ".join(map(repr, group[:4])) for group in groups.values() if len(group) > 1]
    more = f" and {len(pairs) - SHOWN} more such" if len(pairs) > SHOWN else ""
    return [f"labels that look alike are classes of their own: {'; '.join(pairs[:SHOWN])}{more}"] if pairs else []


def _plain(label: str) -> str:
    """A label without what is easily overlooked."""
    letters = label.casefold()
    if not letters.isascii():
        letters = "".join(c for c in unicodedata.normalize("NFKC", letters) if unicodedata.category(c) != "Cf")
    word = re.sub(r"[\s_-]+", " ", letters).strip()
    number = re.fullmatch(r"0*([0-9]+)(?:[.,]0*)?", word, re.ASCII)
    return number[1] if number else word


def read(job: Job) -> list[Clip]:
    """The clip of one row, `(T, M, J, C)`, a copy of what it cuts; meta: split, where the table has it.

    Raises:
        FormatError: the file is not positions of the skeleton, or has fewer frames than the row says.
    """
    row: Row = job.context[0]
    skeleton: Skeleton = job.context[1]
    origin = job.member.origin
    loaded = _loaded(job.member, job.member.changed())
    if not job.context[3]:  # nothing more is cut from this file
        _loaded.cache_clear()
    if isinstance(loaded, FormatError):
        raise FormatError(loaded.origin, loaded.problem)
    positions, confidence = loaded
    if positions.ndim and max(row.start + 1, row.end or 0) > len(positions):
        asked = f"{row.start} to {row.end or 'the end'}"
        raise FormatError(origin, f"{plural(len(positions), 'frame')}; line {row.line} of the table asks for {asked}")
    if confidence is not None and confidence.shape[:1] != positions.shape[:1]:
        raise FormatError(origin, f"confidence {confidence.shape}; expected one for each joint of positions {positions.shape}")
    if positions.ndim:
        cut = slice(row.start, row.end)
        positions, confidence = positions[cut], None if confidence is None else confidence[cut]
    clip = from_array(positions, confidence, skeleton, row.fps, origin, row.start)
    return [
        clip.with_(
            label=job.context[2],
            label_name=row.label_name,
            subject=row.subject,
            view=row.view,
            captions=(Caption(row.caption),) if row.caption else (),
            meta={"split": row.split} if row.split else {},
        )
    ]


@lru_cache(maxsize=1)
def _loaded(member: Member, changed: int) -> tuple[np.ndarray, np.ndarray | None] | FormatError:
    """The numbers of a file, or why there are none: kept while clips are cut from it, so that it is read once."""
    try:
        if member.name.lower().endswith(".csv"):
            return number_table(member.read(MAX_TEXT), member.origin), None
        return load_array(member)
    except FormatError as error:
        return error
