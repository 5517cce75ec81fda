"""Data sets of signs whose own lists we have not seen: pose files with a table of Kinema's own, ``list.csv``.

Columns: `file` (path in the source), `label` (number of the class, from 0), `split` (train, validation, test), and if wanted `signer`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from ...errors import FormatError, UserError
from ..clip import Clip
from ..names import one_form
from . import sign_lists
from .jobs import Job, JobList
from .lookup import Lookup
from .members import Member, members
from .rows import read_rows
from .sign_lists import Sign
from .split_names import SIDES, side

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
            UserError: no table, no pose files, or a table without a header or of which no row can be used.
        """
        files = members(source)
        file = sign_lists.side_file(source, files, LIST)
        if file is None:
            raise UserError(f"{source}: no {LIST}; write one beside the pose files, columns {','.join(REQUIRED + OPTIONAL)}")
        lookup = Lookup(source, files, file.name.removesuffix(file.file))
        bad: list[Job] = []
        signs, remarks = self._signs(file, lookup, bad)
        names = [str(i) for i in range(max(sign.label for sign in signs) + 1)]
        found = sign_lists.listed(source, files, LIST, signs, names, lookup.id, bad)
        return JobList(found, found.classes, (*remarks, *found.remarks))

    def read(self, job: Job) -> list[Clip]:
        """See `sign_lists.read_listed`."""
        return sign_lists.read_listed(job)

    def _signs(self, file: Member, files: Lookup, bad: list[Job]) -> tuple[list[Sign], tuple[str, ...]]:
        """What the table says, and remarks for the user; puts into `bad` rows with a mistake."""
        table = read_rows(file, REQUIRED, OPTIONAL)
        signs: dict[str, Sign] = {}
        for line, cells in table:
            where = f"{file.origin}, line {line}"
            try:
                sign = self._sign(cells, files, where)
                if sign.name in signs:
                    raise FormatError(where, f"{sign_lists.shown(sign.name)} was in a line before; remove one of them")
                signs[sign.name] = sign
            except FormatError as error:
                bad.append(sign_lists.bad_entry(file, error))
        if not signs and bad:
            raise FormatError(f"{file.origin}, {bad[0].name}", bad[0].context[0])
        if not signs:
            raise FormatError(file.origin, "a header and no clips; add a row for each clip")
        return list(signs.values()), table.remarks

    def _sign(self, row: Mapping[str, str], files: Lookup, where: str) -> Sign:
        empty = [column for column in REQUIRED if column not in row]
        if empty:
            raise FormatError(where, f"{empty[0]} is empty")
        path = PurePosixPath(one_form(row["file"].replace("\\", "/")))
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
        member = files.find(name)
        digits = row["label"]
        number = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else digits
        label = sign_lists.label(number, MAX_CLASSES, where)
        part = side(row["split"])
        if part is None:
            raise FormatError(where, f"split {sign_lists.shown(row['split'])}; expected one of {', '.join(SIDES)}")
        signer = row.get("signer") or None
        if signer is not None and not (signer.isprintable() and len(signer) <= sign_lists.MAX_NAME):
            raise FormatError(where, f"signer {sign_lists.shown(signer)}; expected a name of 1 to {sign_lists.MAX_NAME} letters")
        return Sign(name if member is None else files.id(member.name), label, str(label), part, signer, self.size(label))
