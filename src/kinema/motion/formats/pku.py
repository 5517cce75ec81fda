"""PKU-MMD, phases 1 and 2: long videos of Kinect v2 skeletons, with the actions in them marked in label files.

A skeleton file has a row a frame of 150 numbers, 2 bodies x 25 joints x (x, y, z) in metres. Its label file, of the same name in
another folder, has rows ``class,start,end[,confidence]``: classes from 1, frames from 0, the end not included. Split files name the
videos that train in their second line.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...errors import FormatError
from ...words import plural
from ..clip import FARTHEST, MAX_FRAMES, Clip
from ..skeletons import NTU25
from .jobs import ClipList, Job, Skipped
from .members import Member, members
from .tables import check_cuts

NAME = re.compile(r"(?:\d{4}|A\d\dN\d\d)-[LMR]\.txt", re.IGNORECASE)
"""Names of skeleton and label files: ``0002-L.txt`` in phase 1, ``A01N01-L.txt`` in phase 2; the last letter is the camera."""
SPLIT_NAME = re.compile(r"cross[-_](subject|view)(?:_v2)?\.txt", re.IGNORECASE)
"""Names of split files."""

_CLASSES = """
bow; brushing hair; brushing teeth; check time (from watch); cheer up; clapping; cross hands in front (say stop); drink water;
drop; eat meal/snack; falling; giving something to other person; hand waving; handshaking; hopping (one foot jumping);
hugging other person; jump up; kicking other person; kicking something; make a phone call/answer phone;
pat on back of other person; pickup; playing with phone/tablet; point finger at the other person;
pointing to something with finger; punching/slapping other person; pushing other person; put on a hat/cap;
put something inside pocket; reading; rub two hands together; salute; sitting down; standing up; take off a hat/cap;
take off glasses; take off jacket; take out something from pocket; taking a selfie; tear up paper; throw; touch back (backache);
touch chest (stomachache/heart pain); touch head (headache); touch neck (neckache); typing on a keyboard;
use a fan (with hand or paper)/feeling warm; wear jacket; wear on glasses; wipe face; writing
"""
CLASSES: tuple[str, ...] = tuple(name.strip() for name in _CLASSES.split(";"))
"""Names of classes 1 to 51."""

MAX_SKELETON, MAX_SIDE = 128 * 2**20, 2**20
"""Largest skeleton file, and largest label or split file, bytes; real ones stay below 15 MB and 100 kB."""

_ROW = 150
_NUMBER = b"0123456789+-.eE \t\r\n"


def read_split(text: str, origin: object = "split file") -> frozenset[str]:
    """The names of the training videos: second line of a split file, separated by commas. All other videos test.

    Raises:
        FormatError: no names in a second line.
    """
    lines = text.splitlines()
    names = frozenset(n.strip() for n in lines[1].split(",")) - {""} if len(lines) > 1 else frozenset[str]()
    if not names:
        raise FormatError(origin, "names no video in its second line; expected training videos there, separated by commas")
    return names


def jobs(source: Path) -> list[Job]:
    """One job for each video, named by it; `context` is (its label file or None, ((split, trains), ...)).

    Files belong together by their names alone, in whatever folders: the label file is the one in a folder that has "label" in its
    name. A video of which one of the two is absent is a job as well, whose reading tells what is missing.

    Raises:
        FormatError: two skeleton files or two label files of one name, or a damaged split file.
    """
    skeletons: dict[str, Member] = {}
    labels: dict[str, Member] = {}
    splits: dict[str, frozenset[str]] = {}
    for member in members(source):
        path = PurePosixPath(member.name)
        if split := SPLIT_NAME.fullmatch(path.name):
            key = f"train_cross_{split[1].lower()}"
            text = member.read(MAX_SIDE).decode("utf-8", "replace")
            splits[key] = splits.get(key, frozenset()) | read_split(text, member.origin)
        elif NAME.fullmatch(path.name):
            kind = labels if "label" in path.parent.as_posix().lower() else skeletons
            if path.stem in kind:
                raise FormatError(member.origin, f"a second file for video {path.stem}, beside {kind[path.stem].name}; keep one")
            kind[path.stem] = member
    found: list[Job] = []
    for video in sorted({*skeletons, *labels}):
        label = labels.get(video)
        trains = tuple((key, video in names) for key, names in sorted(splits.items()))
        found.append(Job(video, skeletons.get(video) or labels[video], (label, trains)))
    return found


def read(job: Job) -> ClipList:
    """A clip (T, 2, 25, 3) for each labelled instance of a video, in the order of the label file; an absent body is zero.

    Instances are cut to the video; those that are empty then, or in which nobody is seen, are `Skipped`, and so are those with a frame
    or a label that is damaged.
    meta: video, instance (row of the label file from 0), start, end, and train_cross_subject / train_cross_view where the source
    has such split files.

    Raises:
        FormatError: a file missing or of another layout, or no instance left.
    """
    label_file, trains = job.context
    if label_file is None:
        raise FormatError(job.member.origin, f"no label file for this video; put Label/{job.name}.txt into the same source")
    if label_file == job.member:
        raise FormatError(job.member.origin, f"no skeleton file for these labels; put skeleton/{job.name}.txt into the same source")
    video, damage = _skeletons(job.member.read(MAX_SKELETON), job.member.origin)
    damaged = np.array([*damage], np.int64)
    clips: list[Clip | Skipped] = []
    instances = _instances(label_file.read(MAX_SIDE))
    cuts = [each for each in instances if not isinstance(each, str)]
    check_cuts(sum(max(min(end, len(video)) - start, 0) for _, start, end in cuts), len(video), label_file.origin)
    for row, instance in enumerate(instances):
        shown = f"instance {row}"
        if isinstance(instance, str):
            clips.append(Skipped(shown, instance))
            continue
        kind, start, end = instance
        first = int(np.searchsorted(damaged, start))
        if first < len(damaged) and damaged[first] < end:
            clips.append(Skipped(shown, damage[int(damaged[first])]))
            continue
        positions = video[start:end]
        if not positions.any():
            clips.append(Skipped(shown, f"nobody is in any of frames {start} to {end}; the video has {len(video)}"))
            continue
        meta: dict[str, Any] = {"video": job.name, "instance": row, "start": start, "end": min(end, len(video)), **dict(trains)}
        clips.append(
            Clip(
                positions.copy(),
                NTU25,
                30.0,
                label=kind - 1,
                label_name=CLASSES[kind - 1],
                view=job.name[-1].upper(),
                source=job.member.origin,
                meta=meta,
            )
        )
    if not clips:
        raise FormatError(
            label_file.origin, f"no instance with anybody in it within the {plural(len(video), 'frame')} of {job.member.origin}"
        )
    return ClipList.some(clips, job.member.origin)


def _skeletons(data: bytes, origin: str) -> tuple[np.ndarray, dict[int, str]]:
    """(T, 2, 25, 3) float32 of a skeleton file, and what is wrong with its damaged frames, which are zero."""
    lines = data.rstrip().split(b"\n")
    if not lines[0].strip():
        raise FormatError(origin, f"no frame in its first line; expected rows of {_ROW} numbers")
    if len(lines) > MAX_FRAMES:
        raise FormatError(origin, f"{len(lines)} frames; at most {MAX_FRAMES} are read")
    damage: dict[int, str] = {}
    video = np.zeros((len(lines), _ROW), np.float32)
    for frame, line in enumerate(lines):
        row = line.split()
        if len(row) != _ROW:
            damage[frame] = f"row {frame + 1}: {len(row)} numbers; expected {_ROW} (2 bodies x 25 joints x 3)"
            continue
        if line.translate(None, _NUMBER):
            damage[frame] = f"row {frame + 1}: holds something else than finite numbers"
            continue
        try:
            values = np.array([float(word) for word in row])
        except ValueError as error:
            damage[frame] = f"row {frame + 1}: {error}"
            continue
        if np.abs(values).max() > FARTHEST:
            damage[frame] = f"row {frame + 1}: a number too large for a position"
            continue
        video[frame] = values
    return video.reshape(-1, 2, 25, 3), damage


def _instances(data: bytes) -> list[tuple[int, int, int] | str]:
    """(class, start, end) of each row of a label file, or what is wrong with it."""
    rows: list[tuple[int, int, int] | str] = []
    for number, line in enumerate(data.decode("latin-1").splitlines(), 1):
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split(",")]
        if len(fields) not in (3, 4) or not all(f.isascii() and f.isdecimal() and len(f) < 10 for f in fields[:3]):
            rows.append(f"label row {number}: {line[:40]!r} is not class,start,end[,confidence] in whole numbers")
            continue
        kind, start, end = (int(f) for f in fields[:3])
        rows.append(
            (kind, start, end) if 1 <= kind <= len(CLASSES) else f"label row {number}: class {kind}; expected 1 to {len(CLASSES)}"
        )
    return rows
