"""Data sets of signs whose own lists we have not seen: pose files with a table of Kinema's own, ``list.csv``.

Columns: `file` (path in the source), `label` (number of the class, from 0), `split` (train, validation, test), and if wanted `signer`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from ...errors import FormatError, UserError
from ..clip import Clip
from . import sign_lists
from .jobs import Job, JobList
from .members import Member, members
from .sign_lists import Sign
from .tables import decode

LIST = "list.csv"
REQUIRED, OPTIONAL = ("file", "label", "split"), ("signer",)
MAX_CLASSES = 10_000


def nmfs_csl_size(label: int) -> tuple[int, int]:
    """(width, height) of NMFs-CSL's videos, which depends on the class."""
    return (1000, 720) if label < 610 else (540, 540)


def slr500_size(label: int) -> tuple[int, int]:
    """(width, height) of SLR500's videos."""
    return (1280, 720)


class SignTable:
    """The format of a data set whose image sizes are known by class."""

    NAME = re.compile(r"(?!)")
    """Nothing: ``list.csv`` does not say which data set it is of, so it is always named."""

    def __init__(self, size: Callable[[int], tuple[int, int]]):
        self.size = size

    def jobs(self, source: Path) -> JobList:
        """A job for each row whose file is there, named by the file. The classes are 0 to the largest of the table.

        Raises:
            UserError: no table, no pose files, or a table with a mistake, naming the line.
        """
        files = members(source)
        file = sign_lists.side_file(source, files, LIST)
        if file is None:
            raise UserError(f"{source}: no {LIST}; write one beside the pose files, columns {','.join(REQUIRED + OPTIONAL)}")
        signs = self._signs(file)
        names = [str(i) for i in range(max(sign.label for sign in signs) + 1)]
        return sign_lists.listed(source, files, LIST, signs, names, lambda path: path)

    def read(self, job: Job) -> list[Clip]:
        """See `sign_lists.read_listed`."""
        return sign_lists.read_listed(job)

    def _signs(self, file: Member) -> list[Sign]:
        reader = csv.reader(io.StringIO(decode(file.read(sign_lists.MAX_LIST), file.origin)), strict=True)
        try:
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cell.strip() for cell in cells)]
        except csv.Error as error:
            raise FormatError(f"{file.origin}, line {reader.line_num}", f"not a CSV row ({error})") from error
        header = lines[0][1] if lines else []
        if not set(REQUIRED) <= set(header) <= set(REQUIRED + OPTIONAL) or len(set(header)) != len(header):
            found = sign_lists.shown(",".join(header))
            raise FormatError(f"{file.origin}, line 1", f"columns {found}; expected {','.join(REQUIRED)} and perhaps {OPTIONAL[0]}")
        signs: dict[str, Sign] = {}
        for line, cells in lines[1:]:
            where = f"{file.origin}, line {line}"
            if len(cells) != len(header):
                raise FormatError(where, f"{len(cells)} cells; the header has {len(header)} (quote cells that hold commas)")
            sign = self._sign(dict(zip(header, cells, strict=True)), where)
            if sign.name in signs:
                raise FormatError(where, f"{sign_lists.shown(sign.name)} was in a line before; remove one of them")
            signs[sign.name] = sign
        if not signs:
            raise FormatError(file.origin, "a header and no clips; add a row for each clip")
        return list(signs.values())

    def _sign(self, row: Mapping[str, str], where: str) -> Sign:
        path = PurePosixPath(row["file"].replace("\\", "/"))
        name = path.as_posix()
        if (
            path.is_absolute()
            or ".." in path.parts
            or ":" in name
            or not name.isprintable()
            or path.suffix not in sign_lists.SUFFIXES
        ):
            suffixes = ", ".join(sign_lists.SUFFIXES)
            raise FormatError(where, f"file {sign_lists.shown(row['file'])}; expected a path in the source that ends in {suffixes}")
        digits = row["label"]
        number = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else digits
        label = sign_lists.label(number, MAX_CLASSES, where)
        if row["split"] not in sign_lists.SIDES:
            raise FormatError(where, f"split {sign_lists.shown(row['split'])}; expected one of {', '.join(sign_lists.SIDES)}")
        signer = row.get("signer") or None
        if signer is not None and not (signer.isprintable() and len(signer) <= sign_lists.MAX_NAME):
            raise FormatError(where, f"signer {sign_lists.shown(signer)}; expected a name of 1 to {sign_lists.MAX_NAME} letters")
        return Sign(name, label, str(label), row["split"], signer, self.size(label))
