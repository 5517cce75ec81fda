"""The unit of reading: one file, with what its reader must know about the folder around it."""

from __future__ import annotations

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
    """

    name: str
    member: Member
    context: tuple[Any, ...] = ()
