"""Northwestern-UCLA Multiview Action 3D: one JSON a clip, ``a01_s01_e00_v01.json``.

Kinect v1, 20 joints in the SDK's order, metres, y up, +x to the right of a person who faces the camera.
The numbers of actions in file names leave out 7 and 10; classes count on without the gap.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from ...errors import FormatError
from ..clip import Clip
from ..skeletons import KINECT20
from .jobs import Job
from .members import members
from .tables import MAX_TEXT, finite, numbers, parse_json

NAME = re.compile(r"a(\d\d)_s(\d\d)_e(\d\d)_v(\d\d)\.json")
ACTIONS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)
"""Number of the action in a file name, by class."""
CLASSES = (
    "pick up with one hand",
    "pick up with two hands",
    "drop trash",
    "walk around",
    "sit down",
    "stand up",
    "donning",
    "doffing",
    "throw",
    "carry",
)
FPS = 30.0


def jobs(source: Path) -> list[Job]:
    """One job a clip."""
    return [Job(m.stem, m) for m in members(source) if NAME.fullmatch(m.file)]


def read(job: Job) -> list[Clip]:
    """One clip of one person, `(T, 1, 20, 3)`; meta: action, subject, episode, view.

    Raises:
        FormatError: not such a file.
    """
    origin = job.member.origin
    match = NAME.fullmatch(Path(job.member.name).name)
    if not match or int(match[1]) not in ACTIONS:
        raise FormatError(origin, "file name is not aXX_sXX_eXX_vXX.json with an action of 1 2 3 4 5 6 8 9 11 12")
    action, subject, episode, view = map(int, match.groups())
    label = ACTIONS.index(action)
    content = parse_json(job.member.read(MAX_TEXT), origin)
    if not isinstance(content, dict) or "skeletons" not in content:
        raise FormatError(origin, "expected a JSON object with the key skeletons")
    content = cast(dict[str, Any], content)
    if content.get("label", label + 1) != label + 1:
        raise FormatError(origin, f"label {content['label']!r}; its file name says {label + 1}. One of them is wrong")
    positions = numbers(content["skeletons"], origin)
    if positions.ndim != 3 or positions.shape[1:] != (20, 3):
        raise FormatError(origin, f"skeletons of shape {positions.shape}; expected (frames, 20, 3)")
    return [
        Clip(
            finite(positions[:, None], origin),
            KINECT20,
            fps=FPS,
            label=label,
            label_name=CLASSES[label],
            subject=str(subject),
            view=str(view),
            source=origin,
            meta={"action": action, "subject": subject, "episode": episode, "view": view},
        )
    ]
