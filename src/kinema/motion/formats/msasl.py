"""MS-ASL: ``MSASL_train.json``, ``MSASL_val.json``, ``MSASL_test.json``, and a pose file for each entry.

A clip has no name of its own in these lists, so a pose file is called by its split and its place in the list, from 0:
``train_00012.pose`` or ``train/00012.pose``. The entries' times are not used: poses are those of the videos cut by them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast

from ...errors import FormatError, UserError
from ...words import plural
from ..clip import Clip
from . import sign_lists
from .jobs import Job, JobList
from .members import Member, members
from .sign_lists import Sign
from .split_names import SIDES, side

SIZES = (1000, 500, 200, 100)
"""Classes of the published subsets: the first ones."""
SHORT = {"train": "train", "validation": "val", "test": "test"}
"""What each side is called in the names of lists and clips."""
CLASSES = "MSASL_classes.json"
"""A list of names; the place is the class."""
_FILE = re.compile(r"(?:.*/)?([A-Za-z]+)[_/]([0-9]{1,6})\.[^./]+")
_LIST = re.compile(r"MSASL_(?!classes)([A-Za-z]+)\.json")


class MSASL:
    """The format of one of the subsets: clips whose class is below `classes`."""

    def __init__(self, classes: int):
        self.classes = classes
        self.NAME = _LIST

    def jobs(self, source: Path) -> JobList:
        """A job for each entry of the subset that has a pose file, named ``train_00012``.

        Raises:
            UserError: a list or all pose files are missing, or two are of one entry. FormatError: a list that
                is none, or of which no entry can be used.
        """
        files = members(source)
        names = self._names(source, files)
        bad: list[Job] = []
        signs = [sign for part in SIDES for sign in self._signs(source, files, part, names, bad)]
        if not signs:
            raise UserError(f"{source}: the lists have no clip of the first {self.classes} classes")
        return sign_lists.listed(source, files, "MSASL_train.json, _val and _test", signs, names, clip_of, bad)

    def read(self, job: Job) -> list[Clip]:
        """See `sign_lists.read_listed`."""
        return sign_lists.read_listed(job)

    def _signs(self, source: Path, files: Sequence[Member], part: str, names: Sequence[str], bad: list[Job]) -> list[Sign]:
        """The entries of one list; puts into `bad` those that say nothing usable."""
        name = f"MSASL_{SHORT[part]}.json"
        called = (PurePosixPath(m.name).name for m in files)
        lists = sorted({n for n in called if (word := _LIST.fullmatch(n)) and side(word[1]) == part})  # MSASL_dev.json as well
        if len(lists) > 1:
            raise UserError(f"{source}: {' and '.join(lists)} are both a list of the {part} clips; remove one of them")
        file = sign_lists.side_file(source, files, lists[0]) if lists else None
        if file is None:
            raise UserError(f"{source}: no {name}; put the three lists of the data set beside its pose files")
        value = sign_lists.read_list(file)
        if not isinstance(value, list):
            raise FormatError(file.origin, 'expected a list of {"label": ..., "signer_id": ..., "width": ..., "height": ...}')
        signs: list[Sign] = []
        wrong: list[Job] = []
        for i, entry in enumerate(cast("list[Any]", value)):
            try:
                sign = self._sign(entry, _name(part, i), part, names, f"{file.origin}, entry {i}")
            except FormatError as error:
                wrong.append(sign_lists.bad_entry(file, error))
                continue
            if sign is not None:
                signs.append(sign)
        if wrong and len(wrong) == len(cast("list[Any]", value)):
            raise FormatError(f"{file.origin}, {wrong[0].name}", wrong[0].context[0])
        bad += wrong
        return signs

    def _sign(self, entry: Any, name: str, part: str, names: Sequence[str], where: str) -> Sign | None:
        """What an entry says; None for a clip of a class beyond the subset."""
        known = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        label = sign_lists.label(known.get("label"), max(SIZES), where)
        if label >= self.classes:
            return None
        width, height = known.get("width"), known.get("height")
        size = None if width is None or height is None else sign_lists.image_size(width, height, where)
        return Sign(name, label, names[label], part, sign_lists.signer(known.get("signer_id")), size)

    def _names(self, source: Path, files: Sequence[Member]) -> list[str]:
        file = sign_lists.side_file(source, files, CLASSES)
        if file is None:
            return [str(i) for i in range(self.classes)]
        value = sign_lists.read_list(file)
        names = cast("list[Any]", value) if isinstance(value, list) else []
        if len(names) < self.classes:
            raise FormatError(file.origin, f"{plural(len(names), 'name')}; expected a list of at least {self.classes}")
        return [sign_lists.class_name(name, f"{file.origin}, entry {i}") for i, name in enumerate(names[: self.classes])]


def clip_of(path: str) -> str | None:
    """``train_00012`` for ``poses/train_00012.pkl`` and ``poses/train/12.pose``; None for other files."""
    found = _FILE.fullmatch(path)
    part = side(found[1]) if found else None
    return None if found is None or part is None else _name(part, int(found[2]))


def _name(part: str, place: int) -> str:
    return f"{SHORT[part]}_{place:05}"
