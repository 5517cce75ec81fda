"""NTU RGB+D 60 and 120: raw Kinect v2 ``.skeleton`` text, one take of one camera a file.

A file is a frame count; for each frame a body count; for each body one line of 10 fields that starts with its tracker id, the joint
count 25, and 25 lines of 12 numbers: x y z in metres, four image coordinates, four of orientation, the tracking state.
Names are SsssCcccPpppRrrrAaaa: setup, camera, performer, replication, action.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...errors import FormatError
from ...words import plural
from ..clip import MAX_FRAMES, MAX_PEOPLE, Clip
from ..skeletons import NTU25
from .jobs import Job
from .members import members
from .missing_ntu import MISSING_60, MISSING_120

__all__ = [
    "CLASSES_60",
    "CLASSES_120",
    "MISSING_60",
    "MISSING_120",
    "NAME",
    "NTU60_TRAIN_CAMERAS",
    "NTU60_TRAIN_SUBJECTS",
    "NTU120_TRAIN_SETUPS",
    "NTU120_TRAIN_SUBJECTS",
    "NtuName",
    "jobs",
    "parse_name",
    "read",
]

NTU60_TRAIN_SUBJECTS = (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
"""Performers that train in NTU-60 cross-subject."""
NTU120_TRAIN_SUBJECTS = (
    *NTU60_TRAIN_SUBJECTS,
    *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86),
    *(89, 91, 92, 93, 94, 95, 97, 98, 100, 103),
)
"""Performers that train in NTU-120 cross-subject."""
NTU60_TRAIN_CAMERAS = (2, 3)
"""Cameras that train in NTU-60 cross-view; camera 1 tests."""
NTU120_TRAIN_SETUPS = tuple(range(2, 33, 2))
"""Setups that train in NTU-120 cross-setup: the even ones."""

_CLASSES = """
drink water; eat meal/snack; brushing teeth; brushing hair; drop; pickup; throw; sitting down;
standing up (from sitting position); clapping; reading; writing; tear up paper; wear jacket; take off jacket; wear a shoe;
take off a shoe; wear on glasses; take off glasses; put on a hat/cap; take off a hat/cap; cheer up; hand waving;
kicking something; put something inside pocket / take out something from pocket; hopping (one foot jumping); jump up;
make a phone call/answer phone; playing with phone/tablet; typing on a keyboard; pointing to something with finger;
taking a selfie; check time (from watch); rub two hands together; nod head/bow; shake head; wipe face; salute;
put the palms together; cross hands in front (say stop); sneeze/cough; staggering; falling; touch head (headache);
touch chest (stomachache/heart pain); touch back (backache); touch neck (neckache); nausea or vomiting condition;
use a fan (with hand or paper)/feeling warm; punching/slapping other person; kicking other person; pushing other person;
pat on back of other person; point finger at the other person; hugging other person; giving something to other person;
touch other person's pocket; handshaking; walking towards each other; walking apart from each other;
put on headphone; take off headphone; shoot at the basket; bounce ball; tennis bat swing; juggling table tennis balls;
hush (quiet); flick hair; thumb up; thumb down; make ok sign; make victory sign; staple book; counting money; cutting nails;
cutting paper (using scissors); snapping fingers; open bottle; sniff (smell); squat down; toss a coin; fold paper;
ball up paper; play magic cube; apply cream on face; apply cream on hand back; put on bag; take off bag;
put something into a bag; take something out of a bag; open a box; move heavy objects; shake fist; throw up cap/hat;
hands up (both hands); cross arms; arm circles; arm swings; running on the spot; butt kicks (kick backward); cross toe touch;
side kick; yawn; stretch oneself; blow nose; hit other person with something; wield knife towards other person;
knock over other person (hit with body); grab other person's stuff; shoot at other person with a gun; step on foot;
high-five; cheers and drink; carry something with other person; take a photo of other person; follow other person;
whisper in other person's ear; exchange things with other person; support somebody with one's hand;
finger-guessing game (playing rock-paper-scissors)
"""
CLASSES_120: tuple[str, ...] = tuple(name.strip() for name in _CLASSES.split(";"))
"""Names of actions A001 to A120."""
CLASSES_60: tuple[str, ...] = CLASSES_120[:60]
"""Names of actions A001 to A060."""

MAX_FILE = 32 * 2**20
"""Largest .skeleton file read, bytes; real ones stay below 6 MB."""
MAX_BODIES = 1_000_000
"""Largest frames x slots of one clip, so that few bytes of text cannot ask for gigabytes."""

_JOINTS, _FIELDS, _BODY_FIELDS = 25, 12, 10
_STATES = frozenset("012")
NAME = re.compile(r"[^.].*\.skeleton")
"""File names of this format."""
_SAMPLE = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})", re.ASCII)
# what numbers are written with, and white space; NaN and Infinity too, because real files have them in columns that nobody reads
_TEXT = b"0123456789+-.eEnNaAiIfFtTyY \t\r\n"


@dataclass(frozen=True)
class NtuName:
    """What a sample's name says; every number as published, counted from 1."""

    setup: int
    camera: int
    performer: int
    replication: int
    action: int

    def clip_fields(self, name: str) -> dict[str, Any]:
        """The `Clip` fields that follow from the name: label, label_name, subject, view and meta."""
        return {
            "label": self.action - 1,
            "label_name": CLASSES_120[self.action - 1],
            "subject": f"P{self.performer:03d}",
            "view": f"C{self.camera:03d}",
            "meta": {
                "setup": self.setup,
                "camera": self.camera,
                "performer": self.performer,
                "replication": self.replication,
                "action": self.action,
                "missing": name in MISSING_120,
            },
        }


def parse_name(stem: str) -> NtuName | None:
    """The parts of ``SsssCcccPpppRrrrAaaa``, or None for any other name or an action outside 1 to 120."""
    match = _SAMPLE.fullmatch(stem)
    if match is None or not 1 <= int(match[5]) <= len(CLASSES_120):
        return None
    return NtuName(*(int(part) for part in match.groups()))


def jobs(source: Path) -> list[Job]:
    """One job for each ``.skeleton`` file of a folder, a zip, or alone; named by its path without the suffix."""
    found = [m for m in members(source) if NAME.fullmatch(m.file)]
    return [Job(PurePosixPath(m.name).with_suffix("").as_posix(), m) for m in found]


def read(job: Job) -> list[Clip]:
    """The one clip of a file.

    `positions` (T, S, 25, 3) float32 metres exactly as in the file: T all its frames, also those with nobody; S the most bodies of
    a frame; a slot is a place within the frame, not a person: `body_ids` (T, S) tells who is in it (0: empty). `confidence` is the
    tracking state: 0 not tracked, 0.5 inferred, 1 tracked. A name that is not NTU's gives no label.

    Raises:
        FormatError: not such a file, saying in which frame.
    """
    origin = job.member.origin
    positions, confidence, ids = _parse(job.member.read(MAX_FILE), origin)
    name = parse_name(job.member.stem)
    known: dict[str, Any] = name.clip_fields(job.member.stem) if name else {"meta": {"missing": False}}
    return [Clip(positions, NTU25, 30.0, confidence, body_ids=ids, source=origin, **known)]


def _parse(data: bytes, origin: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (T, S, 25, 3), confidence (T, S, 25) and ids (T, S) of a file's bytes."""
    text = _Text(data, origin)
    total = text.begin()
    where: list[tuple[int, int]] = []  # (frame, slot) of each body
    ids: list[int] = []
    values = array("d")  # of each body 25 x, 25 y, 25 z
    states = bytearray()
    for frame in range(total):
        for slot in range(text.people(frame)):
            where.append((frame, slot))
            ids.append(text.body(frame, slot, values, states))
    text.end()
    if not where:
        raise FormatError(origin, f"no body in any of {total} frames")

    frames, slots = np.array(where).T
    width = int(slots.max()) + 1
    if total * width > MAX_BODIES:
        raise FormatError(origin, f"{total} frames of up to {width} bodies; at most {MAX_BODIES} in all are read")
    with np.errstate(over="ignore"):
        xyz = np.frombuffer(values).astype(np.float32).reshape(-1, 3, _JOINTS).swapaxes(1, 2)
    wrong = np.flatnonzero(~np.isfinite(xyz).all((1, 2)))
    if len(wrong):
        raise text.wrong(int(frames[wrong[0]]), f"body {slots[wrong[0]] + 1}: a position is NaN or infinite")

    positions = np.zeros((total, width, _JOINTS, 3), np.float32)
    confidence = np.zeros((total, width, _JOINTS), np.float32)
    body_ids = np.zeros((total, width), np.int64)
    positions[frames, slots] = xyz
    confidence[frames, slots] = (np.frombuffer(states, np.uint8).reshape(-1, _JOINTS) - ord("0")) * np.float32(0.5)
    body_ids[frames, slots] = ids
    return positions, confidence, body_ids


class _Text:
    """The lines of a file, taken from the top; whatever is not as it should be is said with its frame."""

    def __init__(self, data: bytes, origin: str):
        self.origin, self.total, self.at = origin, 0, 0
        strange = data.translate(None, _TEXT)
        self.strange = data.find(strange[:1]) if strange else -1
        self.data = data
        # latin-1 so that a strange byte survives until its frame is known
        self.lines = data.decode("latin-1").rstrip().split("\n")

    def wrong(self, frame: int, problem: str) -> FormatError:
        return FormatError(self.origin, f"frame {frame + 1} of {self.total}: {problem}")

    def begin(self) -> int:
        """The number of frames."""
        total = self._whole(0)
        if not total or total > MAX_FRAMES:
            raise FormatError(self.origin, f"first line is {self.lines[0][:20]!r}; expected a number of frames, 1 to {MAX_FRAMES}")
        self.total, self.at = total, 1
        return total

    def people(self, frame: int) -> int:
        """The number of bodies of the next frame."""
        if self.at >= len(self.lines):
            raise self.wrong(frame, "the file ends before it; copy the file again")
        people = self._whole(self.at)
        if people is None or people > MAX_PEOPLE:
            raise self.wrong(frame, f"{self.lines[self.at][:20]!r} is not a number of bodies, 0 to {MAX_PEOPLE}")
        self._clean(frame, 1)
        return people

    def body(self, frame: int, slot: int, values: array[float], states: bytearray) -> int:
        """The id of the next body; appends x, y and z of its joints to `values`, their tracking states to `states`."""
        start, stop = self.at + 2, self.at + 2 + _JOINTS
        if stop > len(self.lines):
            raise self.wrong(frame, f"the file ends within body {slot + 1}; copy the file again")
        fields = self.lines[self.at].split()
        identity = int(fields[0]) if fields and fields[0].isdecimal() and len(fields[0]) < 20 else 2**63
        if len(fields) != _BODY_FIELDS or identity >= 2**63:
            raise self.wrong(frame, f"body {slot + 1}: expected a line of {_BODY_FIELDS} fields that begins with a whole body id")
        if self._whole(self.at + 1) != _JOINTS:
            raise self.wrong(frame, f"body {slot + 1}: {self.lines[self.at + 1][:20]!r} joints; expected {_JOINTS}")
        rows = [line.split() for line in self.lines[start:stop]]
        if set(map(len, rows)) != {_FIELDS}:
            joint = next(j for j, row in enumerate(rows) if len(row) != _FIELDS)
            raise self.wrong(frame, f"body {slot + 1}, joint {joint + 1}: {len(rows[joint])} numbers; expected {_FIELDS}")
        self._clean(frame, stop - self.at)
        columns = list(zip(*rows, strict=True))
        if not _STATES.issuperset(columns[-1]):
            raise self.wrong(frame, f"body {slot + 1}: a tracking state other than 0, 1 and 2")
        states += "".join(columns[-1]).encode()
        try:
            for column in columns[:3]:
                values.extend(map(float, column))
        except ValueError as error:
            raise self.wrong(frame, f"body {slot + 1}: {error}") from None
        # 0 marks an empty slot, so a body that is numbered 0 is given the one number that no sensor uses
        return identity or -1

    def end(self) -> None:
        """Nothing may follow."""
        if self.at != len(self.lines):
            raise FormatError(
                self.origin, f"{plural(len(self.lines) - self.at, 'line')} after the last of the {self.total} frames it announces"
            )

    def _whole(self, line: int) -> int | None:
        word = self.lines[line].strip()
        return int(word) if word.isdecimal() and len(word) < 20 else None

    def _clean(self, frame: int, lines: int) -> None:
        """Goes on by some lines, none of which may hold the first strange byte."""
        self.at += lines
        if self.strange >= 0 and self.data.count(b"\n", 0, self.strange) < self.at:
            raise self.wrong(frame, f"{self.data[self.strange : self.strange + 1]!r} is no part of a number")
