"""WLASL: ``nslt_100.json`` (300, 1000, 2000), and a pose file for each video, called by its id: ``00335.pose``.

A list is a table of video id -> ``subset`` (train, val, test) and ``action`` (class, first frame, last frame). The frames are not used:
poses are those of the videos as the authors' scripts cut them. Names of classes, and who signs, are read where they are there too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
from .tables import decode

SIZES = (2000, 1000, 300, 100)
"""Classes of the published subsets."""
GLOSSES = "WLASL_v0.3.json"
"""A list of ``gloss`` and ``instances`` (``video_id``, ``signer_id``); the place of a gloss is its class."""
CLASS_LIST = "wlasl_class_list.txt"
"""A line a class: its number, a tab, its name."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class WLASL:
    """The format of one of the subsets."""

    def __init__(self, classes: int):
        self.classes, self.list = classes, f"nslt_{classes}.json"
        self.NAME = re.compile(re.escape(self.list))

    def jobs(self, source: Path) -> JobList:
        """A job for each video of the list that has a pose file, in the order of the list, named by its id.

        Raises:
            UserError: no list, no pose files, or two of one video. FormatError: a list that is none, or of which no entry can be used.
        """
        files = members(source)
        file = sign_lists.side_file(source, files, self.list)
        if file is None:
            raise UserError(f"{source}: no {self.list}; put this list of the data set beside its pose files")
        value = sign_lists.read_list(file)
        if not isinstance(value, dict) or not value:
            raise FormatError(file.origin, 'no clips; expected {"video id": {"subset": "train", "action": [class, first, last]}}')
        names, signers = self._names(source, files)
        signs: list[Sign] = []
        bad: list[Job] = []
        for video, row in cast("dict[str, Any]", value).items():
            try:
                signs.append(self._sign(video, row, names, signers, f"{file.origin}, video {sign_lists.shown(video)}"))
            except FormatError as error:
                bad.append(sign_lists.bad_entry(file, error))
        if not signs:
            raise FormatError(f"{file.origin}, {bad[0].name}", bad[0].context[0])
        return sign_lists.listed(source, files, self.list, signs, names, lambda path: PurePosixPath(path).stem, bad)

    def _sign(self, video: str, row: Any, names: Sequence[str], signers: Mapping[str, str], where: str) -> Sign:
        if not _ID.fullmatch(video):
            raise FormatError(where, "the id is no plain file name; expected digits such as 00335")
        known = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
        subset, action = known.get("subset"), known.get("action")
        part = side(subset) if isinstance(subset, str) else None
        if part is None:
            raise FormatError(where, f"subset {sign_lists.shown(subset)}; expected one of {', '.join(SIDES)}")
        if not isinstance(action, list) or not action:
            raise FormatError(where, f"action {sign_lists.shown(action)}; expected [class, first frame, last frame]")
        label = sign_lists.label(cast("list[Any]", action)[0], self.classes, where)
        return Sign(video, label, names[label], part, signers.get(video))

    def read(self, job: Job) -> list[Clip]:
        """See `sign_lists.read_listed`."""
        return sign_lists.read_listed(job)

    def _names(self, source: Path, files: Sequence[Member]) -> tuple[list[str], dict[str, str]]:
        """Names of the classes, numbers if no file tells them; and who signs, by video."""
        signers: dict[str, str] = {}
        file = sign_lists.side_file(source, files, GLOSSES)
        if file is not None:
            names = _glosses(file, signers)
        elif (file := sign_lists.side_file(source, files, CLASS_LIST)) is not None:
            names = _class_list(file)
        else:
            return [str(i) for i in range(self.classes)], signers
        if len(names) < self.classes:
            raise FormatError(file.origin, f"{plural(len(names), 'class')}; {self.list} needs {self.classes}")
        return names[: self.classes], signers


def _glosses(file: Member, signers: dict[str, str]) -> list[str]:
    """All glosses in order; puts into `signers` who signs."""
    value = sign_lists.read_list(file)
    if not isinstance(value, list):
        raise FormatError(file.origin, 'expected a list of {"gloss": ..., "instances": [...]}')
    names: list[str] = []
    origin = file.origin
    for i, entry in enumerate(cast("list[Any]", value)):
        known = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        names.append(sign_lists.class_name(known.get("gloss"), f"{origin}, entry {i}"))
        instances = known.get("instances")
        for instance in cast("list[Any]", instances) if isinstance(instances, list) else []:
            facts = cast("dict[str, Any]", instance) if isinstance(instance, dict) else {}
            video, signer = facts.get("video_id"), sign_lists.signer(facts.get("signer_id"))
            if isinstance(video, str) and signer is not None:
                signers[video] = signer
    return names


def _class_list(file: Member) -> list[str]:
    names: list[str] = []
    origin = file.origin
    for number, line in enumerate(decode(file.read(sign_lists.MAX_LIST), origin).splitlines()):
        place, _, name = line.partition("\t")
        if place.strip() != str(number):
            raise FormatError(
                file.origin, f"line {number + 1} is {sign_lists.shown(line)}; expected class {number}, a tab, its name"
            )
        names.append(sign_lists.class_name(name.strip(), f"{origin}, line {number + 1}"))
    return names
