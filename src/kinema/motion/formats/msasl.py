"""MS-ASL: ``MSASL_train.json``, ``MSASL_val.json``, ``MSASL_test.json``, and a pose file for each entry.

A clip has no name of its own in these lists, so a pose file is called by its split and its place in the list, from 0:
``train_00012.pose`` or ``train/00012.pose``. The entries' times are not used: poses are those of the videos cut by them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from ...errors import FormatError, UserError
from ...words import plural
from ..clip import Clip
from . import sign_lists
from .jobs import Job, JobList
from .members import Member, members
from .sign_lists import Sign

SIZES = (1000, 500, 200, 100)
"""Classes of the published subsets: the first ones."""
LISTS = {"train": "train", "val": "validation", "test": "test"}
CLASSES = "MSASL_classes.json"
"""A list of names; the place is the class."""
_FILE = re.compile(r"(?:.*/)?(train|val|test)[_/]([0-9]{1,6})\.[^./]+")


class MSASL:
    """The format of one of the subsets: clips whose class is below `classes`."""

    def __init__(self, classes: int):
        self.classes = classes
        self.NAME = re.compile(r"MSASL_(?:train|val|test)\.json")

    def jobs(self, source: Path) -> JobList:
        """A job for each entry of the subset that has a pose file, named ``train_00012``.

        Raises:
            UserError: a list or all pose files are missing, or two are of one entry. FormatError: a list that is none, naming the entry.
        """
        files = members(source)
        names = self._names(source, files)
        signs = [sign for split in LISTS for sign in self._signs(source, files, split, names)]
        if not signs:
            raise UserError(f"{source}: the lists have no clip of the first {self.classes} classes")
        return sign_lists.listed(source, files, "MSASL_train.json, _val and _test", signs, names, clip_of)

    def read(self, job: Job) -> list[Clip]:
        """See `sign_lists.read_listed`."""
        return sign_lists.read_listed(job)

    def _signs(self, source: Path, files: Sequence[Member], split: str, names: Sequence[str]) -> list[Sign]:
        name = f"MSASL_{split}.json"
        file = sign_lists.side_file(source, files, name)
        if file is None:
            raise UserError(f"{source}: no {name}; put the three lists of the data set beside its pose files")
        value = sign_lists.read_list(file)
        if not isinstance(value, list):
            raise FormatError(file.origin, 'expected a list of {"label": ..., "signer_id": ..., "width": ..., "height": ...}')
        signs: list[Sign] = []
        origin = file.origin
        for i, entry in enumerate(cast("list[Any]", value)):
            where = f"{origin}, entry {i}"
            known = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
            label = sign_lists.label(known.get("label"), max(SIZES), where)
            if label >= self.classes:
                continue
            width, height = known.get("width"), known.get("height")
            size = None if width is None or height is None else sign_lists.image_size(width, height, where)
            signer = sign_lists.signer(known.get("signer_id"))
            signs.append(Sign(_name(split, i), label, names[label], LISTS[split], signer, size))
        return signs

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
    parts = _FILE.fullmatch(path)
    return None if parts is None else _name(parts[1], int(parts[2]))


def _name(split: str, place: int) -> str:
    return f"{split}_{place:05}"
