"""The unit of reading: one file, with what its reader must know about the folder around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import FormatError
from ..clip import Clip
from .members import Member


@dataclass(frozen=True)
class Skipped:
    """A clip of a file that cannot be read, in the place where it would have been.

    Attributes:
        name: what its file calls it, or its place there. reason: what is wrong, and what was expected.
    """

    name: str
    reason: str


class ClipList(list[Clip]):
    """The clips of a file of many, which may hold some that cannot be read.

    Args:
        found: the clips and what was skipped, in the order of the file.

    Attributes:
        found: as given. skipped: those that could not be read.
    """

    def __init__(self, found: Iterable[Clip | Skipped]):
        self.found = tuple(found)
        self.skipped = tuple(item for item in self.found if isinstance(item, Skipped))
        super().__init__(item for item in self.found if isinstance(item, Clip))

    @classmethod
    def some(cls, found: Iterable[Clip | Skipped], origin: str) -> ClipList:
        """The clips of the file `origin`.

        Raises:
            FormatError: clips were found, and none can be read; with the first reasons.
        """
        clips = cls(found)
        if clips or not clips.skipped:
            return clips
        first, *others = clips.skipped
        text = f"{first.name}: {first.reason}"
        if not others:
            raise FormatError(origin, text)
        other = next((f"; {s.name}: {s.reason}" for s in others if s.reason != first.reason), "")
        raise FormatError(origin, f"none of its {len(clips.skipped)} clips can be read: {text}{other}")


def in_order(clips: list[Clip]) -> Sequence[Clip | Skipped]:
    """What a reader found in a file: its clips, and in their places those that were skipped."""
    return clips.found if isinstance(clips, ClipList) else clips


@dataclass(frozen=True)
class Job:
    """One file to read. Small and picklable, so that a worker process can read it.

    Attributes:
        name: stable id within the source, the same wherever the source lies; a store refers to clips by it.
        member: the file.
        context: what side files said about it (labels, frame ranges, an index row); its meaning belongs to the format.
        units: of 2-D joints, as the user says them (``pixels`` or ``normalised``), for the formats of poses, whose files do not say.
    """

    name: str
    member: Member
    context: tuple[Any, ...] = ()
    units: str | None = None


class JobList(list[Job]):
    """Jobs that a list of the data set names.

    Attributes:
        classes: names by label, also of classes that no job is of.
        remarks: for the user, a line each: what the list names in vain.
    """

    def __init__(self, jobs: Iterable[Job], classes: Sequence[str], remarks: Sequence[str] = ()):
        super().__init__(jobs)
        self.classes, self.remarks = tuple(classes), tuple(remarks)
