"""How a build reads a file: with its format's reader, and converted as the user said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..errors import UserError
from ..motion import formats
from ..motion.clip import Clip
from ..motion.conventions import PLAIN, Conventions
from ..motion.convert import convert
from ..motion.formats.jobs import ClipList, Job, Skipped, in_order
from ..motion.skeleton import Skeleton
from .datasets import Dataset

Reader = Callable[[Job], list[Clip]]
SILENT = ("user", "npz", "pyskl")
"""Formats whose numbers are what whoever wrote them meant: units and axes can be told."""
POSES = (
    "pose",
    "fingerspelling",
    "openhands",
    "wholebody",
    *(f for f in formats.FORMATS if f.startswith(("wlasl", "msasl"))),
    "nmfs-csl",
    "slr500",
)
"""Formats of poses of the image, which do not say whether they are in pixels: that can be told."""


@dataclass(frozen=True)
class Door:
    """Reads a file, and converts what is in it.

    Attributes:
        read: of the format. conventions: of its numbers. skeleton: to convert to; None: as read.
    """

    read: Reader
    conventions: Conventions
    skeleton: Skeleton | None = None

    def __call__(self, job: Job) -> list[Clip]:
        """The clips of one file, and what was skipped of it. Raises UserError."""
        found = self.read(job)
        if not self.conventions and self.skeleton is None:
            return found
        return ClipList(item if isinstance(item, Skipped) else self._converted(item) for item in in_order(found))

    def _converted(self, clip: Clip) -> Clip:
        clip = self.conventions.applied(clip) if self.conventions else clip
        return clip if self.skeleton is None else convert(clip, self.skeleton)


def door(
    module: formats.Format, label: str, known: Dataset | None, jobs: Sequence[Job], said: Conventions, skeleton: Skeleton | None
) -> tuple[Door, list[Job]]:
    """The door for a format, and its jobs, which know the units of 2-D joints where they were said.

    Raises:
        UserError: units, axes or a skeleton are said of files that know theirs.
    """
    if skeleton is not None and known is not None and known.skeleton:
        raise UserError(f"--skeleton {skeleton.name}: data set {known.name} has the skeleton {known.skeleton}; leave it out")
    to = None if module is formats.user else skeleton  # there it names the joints of the arrays
    if not said or label in SILENT or label not in formats.FORMATS:
        # a reader that would guess the units, and drop what does not go with them, is told them
        units = PLAIN.get(said.units or "")
        return Door(module.read, said, to), list(jobs) if units is None else [replace(job, units=units) for job in jobs]
    options = "--units and --up belong to data whose files do not say it"
    if label not in POSES:
        raise UserError(f"{options}; {known.title if known else f'format {label}'} knows its own, and is converted as it is read")
    if said.up is not None or said.left_handed or said.units not in PLAIN:
        raise UserError(f"{options}; format {label} holds poses of the image, y down: of these only --units px or none can be said")
    return Door(module.read, Conventions(), to), [replace(job, units=PLAIN[said.units]) for job in jobs]
