"""Tables with a header that people write: CSV as programs and spreadsheets save it, whatever divides the cells."""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ...errors import FormatError, UserError
from ...words import plural
from ..names import one_form
from .members import Member
from .tables import MAX_TEXT, decode

MAX_ROWS = 300_000
"""Most rows of one table, and most entries of one list."""
SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
"""Suffixes of what spreadsheet programs save unless they are asked for CSV."""
DELIMITERS = ",;\t|"
_BINARY = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How the files of `SPREADSHEETS` begin: a zip, or Microsoft's older container."""
_SEP = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
"""A first line by which Excel is told what divides the cells."""


@dataclass(frozen=True)
class Rows:
    """A table whose header has been read; iterating gives (line, cells by column) of each row that is not empty.

    Attributes:
        remarks: for the user, a line each: which columns are ignored, and how the file was read where that is not plain.
    """

    file: Member
    columns: tuple[str | None, ...]
    remarks: tuple[str, ...]
    reader: Iterator[tuple[int, list[str]]]

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]]]:
        wanted = [(i, column) for i, column in enumerate(self.columns) if column is not None]
        width = len(self.columns)
        for line, cells in self.reader:
            while len(cells) > width and not cells[-1]:  # spreadsheets save empty cells as well
                cells.pop()
            if len(cells) != width:
                raise UserError(
                    f"{self.file.origin}, line {line}: {plural(len(cells), 'cell')}; the header has {width} "
                    "(quote cells that hold what divides them)"
                )
            yield line, {column: cells[i] for i, column in wanted if cells[i]}


def read_rows(file: Member, required: Sequence[str], optional: Sequence[str]) -> Rows:
    """Opens a table: finds how its text is written, what divides its cells, and its columns.

    Letter case and blanks around the names of columns do not count; columns of other names are ignored with a remark.

    Raises:
        UserError: a spreadsheet, no text, no header, or one that lacks a required column or names a known one twice.
    """
    text, remarks = _text(file)
    delimiter, rest = _delimiter(text, required, optional)
    skipped = text[: len(text) - len(rest)].count("\n")
    lines = _lines(rest, delimiter, file, skipped)
    nothing: tuple[int, list[str]] = (1, [])
    line, header = next(lines, nothing)
    while header and not header[-1]:
        header.pop()
    names = [one_form(cell).casefold() for cell in header]
    known = (*required, *optional)
    where = f"{file.origin}, line {line}"
    missing = [column for column in required if column not in names]
    if missing:
        raise UserError(f"{where}: {_no_column(missing, header, names, known)}; {_expected(required, optional)}")
    rows = sum(1 for _ in islice(_lines(rest, delimiter, file, skipped), MAX_ROWS + 2)) - 1
    if rows > MAX_ROWS:
        raise UserError(f"{file.origin}: more than {MAX_ROWS} rows; split the table, and build a store of each part")
    twice = [column for column in known if names.count(column) > 1]
    if twice:
        raise UserError(f"{where}: a column twice, {twice[0]}; remove one of them")
    ignored = [(cell, name) for cell, name in zip(header, names, strict=True) if name not in known]
    if ignored:
        remarks = (*remarks, f"{file.file}: {_ignored(ignored, names, known)}")
    return Rows(file, tuple(name if name in known else None for name in names), remarks, lines)


def _text(file: Member) -> tuple[str, tuple[str, ...]]:
    """The text of a table, and a remark where its encoding had to be guessed."""
    advice = "save it as CSV (in the spreadsheet program: Save as, CSV UTF-8), and give that file"
    if file.file.lower().endswith(SPREADSHEETS):
        raise UserError(f"{file.origin}: a spreadsheet; {advice}")
    content = file.read(MAX_TEXT)
    if content.startswith(_BINARY):
        raise UserError(f"{file.origin}: a spreadsheet or an archive under the name of a table; {advice}")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _whole(decode(content, file.origin), file), ()
    try:
        return _whole(content.decode("utf-8-sig"), file), ()
    except UnicodeDecodeError as error:
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError:
            text = "\0"
        line = content.count(b"\n", 0, error.start) + 1
        if "\0" in text:
            raise FormatError(f"{file.origin}, line {line}", f"not text in UTF-8; {advice}") from error
        return _whole(text, file), (
            f"{file.file}: not UTF-8 (line {line}), read as Windows-1252; look at the letters in its names, or save it as UTF-8",
        )


def _whole(text: str, file: Member) -> str:
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise FormatError(f"{file.origin}, line {line}", "a zero byte; not a text file, or damaged: save it as CSV UTF-8")
    if not text.strip():
        raise UserError(f"{file.origin}: the table is empty; write a header and a row for each clip")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _delimiter(text: str, required: Sequence[str], optional: Sequence[str]) -> tuple[str, str]:
    """What divides the cells: that by which the first line has most of the known columns; and the text from its header on."""
    first, _, rest = text.partition("\n")
    told = _SEP.fullmatch(first.strip())
    if told:
        return told[1], rest
    line = next((line for line in io.StringIO(text) if line.strip(DELIMITERS + ' "\n')), "")

    def known(delimiter: str) -> tuple[int, int]:
        cells = [cell.strip(' "\n').casefold() for cell in line.split(delimiter)]
        return sum(cell in (*required, *optional) for cell in cells), len(cells)

    return max(DELIMITERS, key=known), text


def _lines(text: str, delimiter: str, file: Member, skipped: int) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row that holds anything."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t")
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num + skipped, cells
    except csv.Error as error:
        raise FormatError(f"{file.origin}, line {reader.line_num + skipped}", f"not a CSV row ({error})") from error


def _expected(required: Sequence[str], optional: Sequence[str]) -> str:
    return f"required: {', '.join(required)}; possible: {', '.join(optional)}"


def _no_column(missing: Sequence[str], header: Sequence[str], names: Sequence[str], known: Sequence[str]) -> str:
    """What to say of a header without required columns."""
    found = ", ".join(repr(cell[:40]) for cell in header[:8]) + (", ..." if len(header) > 8 else "")
    if not set(names) & set(known) and any("." in cell for cell in header):
        return f"no header, it seems: the first line is {found}; write {','.join(missing)} above it"
    hints = [
        f"{column} by {close[0]!r}"
        for column in missing
        if (close := difflib.get_close_matches(column, [n for n in names if n not in known], 1))
    ]
    hint = f" (did you mean {' and '.join(hints)}?)" if hints else ""
    return f"no column {', '.join(missing)}{hint}, only {found}" if found else f"no column {', '.join(missing)}"


def _ignored(columns: Iterable[tuple[str, str]], names: Sequence[str], known: Sequence[str]) -> str:
    """The remark on columns that are not used."""
    free = [column for column in known if column not in names]
    told: list[str] = []
    for cell, name in columns:
        close = difflib.get_close_matches(name, free, 1, 0.75)
        told.append((repr(cell[:40]) if cell else "one without a name") + (f" (did you mean {close[0]}?)" if close else ""))
    more = f" and {len(told) - 8} more" if len(told) > 8 else ""
    return f"{'column' if len(told) == 1 else 'columns'} ignored: {', '.join(told[:8])}{more}"
