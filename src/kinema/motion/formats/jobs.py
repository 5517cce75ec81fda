"""The unit of reading: one file, with what its reader must know about the folder around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .members import Member


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
