"""SBU Kinect Interaction: one text file a clip of two people, ``s01s02/03/001/skeleton_pos.txt``.

91 numbers a frame: its number, then 15 joints of each person. Stored are image coordinates in 0 to 1 (y down) and a scaled
depth. They are undone with the constants that the authors publish with the data (written here from memory), divided by 1000.
The result is y up, with +x to the right of a person who faces the camera, and close to metres: the mean thigh is 0.43, the shin
0.41, the shoulders 0.30. Its units stay ``normalised`` because the constants were not checked against the authors' own file.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...errors import FormatError
from ..clip import Clip
from ..skeletons import SBU15
from .jobs import Job
from .members import Member, members
from .tables import MAX_TEXT, finite, table

NAME = re.compile(r"skeleton_pos\.txt")
FOLDERS = re.compile(r"(?:^|.*[/:\\])(s(\d\d)s(\d\d))[/\\](\d\d)[/\\](\d\d\d)[/\\]skeleton_pos\.txt")
CLASSES = ("approaching", "departing", "kicking", "pushing", "shaking hands", "hugging", "exchanging object", "punching")
FPS = 15.0
SCALE, SHIFT = np.array([-2.560, -1.920, 1.280]), np.array([1.280, 0.960, 0.0])


def _place(member: Member) -> re.Match[str] | None:
    return FOLDERS.fullmatch(member.name) or FOLDERS.fullmatch(member.origin)  # a single file has its folders in its path


def jobs(source: Path) -> list[Job]:
    """One job a clip."""
    found = [(m, _place(m)) for m in members(source) if NAME.fullmatch(m.file)]
    return [Job(f"{place[1]}/{place[4]}/{place[5]}" if place else m.name, m) for m, place in found]


def read(job: Job) -> list[Clip]:
    """One clip of two people, `(T, 2, 15, 3)`; meta: action, pair, subject (the acting one), partner, repetition.

    Without the folders that name pair and action, the clip has no label. A person whose numbers are all zero stays zero.

    Raises:
        FormatError: not such a file.
    """
    origin = job.member.origin
    place = _place(job.member)
    if place and not 1 <= int(place[4]) <= len(CLASSES):
        raise FormatError(origin, f"action folder {place[4]}; expected 01 to {len(CLASSES):02}")
    rows = table(job.member.read(MAX_TEXT), origin, 91, delimiter=",")
    raw = rows[:, 1:].reshape(-1, 2, 15, 3)
    present = (raw != 0).any((2, 3), keepdims=True)
    positions = finite(np.where(present, raw * SCALE + SHIFT, 0.0), origin)
    if place is None:
        return [Clip(positions, SBU15, fps=FPS, units="normalised", source=origin)]
    subject, partner, action, repetition = (int(place[i]) for i in (2, 3, 4, 5))
    return [
        Clip(
            positions,
            SBU15,
            fps=FPS,
            units="normalised",
            label=action - 1,
            label_name=CLASSES[action - 1],
            subject=place[1],
            source=origin,
            meta={"action": action, "pair": place[1], "subject": subject, "partner": partner, "repetition": repetition},
        )
    ]
