"""MSR-Action3D: one text file a clip, ``a01_s01_e01_skeleton3D.txt``.

20 rows of ``x y z confidence`` a frame, in an order of joints of its own (`MSR20`), metres, y up, +x to the right of a
person who faces the camera. About 15 frames a second.
"""

from __future__ import annotations

import re
from pathlib import Path

from ...errors import FormatError
from ...words import plural
from ..clip import Clip
from ..skeletons import MSR20
from .jobs import Job
from .members import members
from .tables import MAX_TEXT, finite, table

NAME = re.compile(r"(a(\d\d)_s(\d\d)_e(\d\d))_skeleton3D\.txt")
CLASSES = (
    "high arm wave",
    "horizontal arm wave",
    "hammer",
    "hand catch",
    "forward punch",
    "high throw",
    "draw x",
    "draw tick",
    "draw circle",
    "hand clap",
    "two hand wave",
    "side boxing",
    "bend",
    "forward kick",
    "side kick",
    "jogging",
    "tennis swing",
    "tennis serve",
    "golf swing",
    "pick up and throw",
)
EXCLUDED = frozenset(
    "a02_s03_e02 a04_s03_e01 a07_s04_e01 a13_s09_e01 a13_s09_e02 a13_s09_e03 a14_s03_e01 a20_s07_e01 a20_s07_e03 "
    "a20_s10_e03".split()
)
"""Damaged recordings: the 557 clips that are evaluated by the field are without them. They read, and say so in `meta`."""
FPS = 15.0


def jobs(source: Path) -> list[Job]:
    """One job a clip, the excluded ones too."""
    return [Job(m.stem.removesuffix("_skeleton3D"), m) for m in members(source) if NAME.fullmatch(m.file)]


def read(job: Job) -> list[Clip]:
    """One clip of one person, `(T, 1, 20, 3)` with confidence; meta: action, subject, episode, excluded.

    Raises:
        FormatError: not such a file.
    """
    origin = job.member.origin
    match = NAME.fullmatch(Path(job.member.name).name)
    if not match or not 1 <= int(match[2]) <= len(CLASSES):
        raise FormatError(origin, f"file name is not aXX_sXX_eXX_skeleton3D.txt with an action of 1 to {len(CLASSES)}")
    action, subject, episode = (int(match[i]) for i in (2, 3, 4))
    rows = table(job.member.read(MAX_TEXT), origin, 4)
    if len(rows) % 20:
        raise FormatError(origin, f"{plural(len(rows), 'row')}; expected 20 a frame, so the file is cut off or holds other joints")
    values = finite(rows.reshape(-1, 1, 20, 4), origin)
    confidence = values[..., 3].copy()
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise FormatError(origin, "a confidence (fourth number of a row) outside 0 to 1")
    return [
        Clip(
            values[..., :3].copy(),
            MSR20,
            fps=FPS,
            confidence=confidence,
            label=action - 1,
            label_name=CLASSES[action - 1],
            subject=str(subject),
            source=origin,
            meta={"action": action, "subject": subject, "episode": episode, "excluded": match[1] in EXCLUDED},
        )
    ]
