"""UTKinect-Action3D: 20 recordings, ``joints_s01_e01.txt``, of 10 actions each, cut by ``actionLabel.txt``.

61 numbers a row: the frame's number, then 20 joints in the order of the Kinect v1 SDK, metres, y up, +x to the right of a person
who faces the camera. Frames are numbered at 30 a second but mostly every second one is there; repeated numbers are read once.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...errors import FormatError, UserError
from ..clip import Clip
from ..skeletons import KINECT20
from .jobs import ClipList, Job, Skipped
from .members import Member, members, single
from .tables import MAX_TEXT, check_cuts, decode, finite, table

NAME = re.compile(r"joints_(s(\d\d)_e(\d\d))\.txt")
LABELS = ("actionLabel_modified.txt", "actionLabel.txt")
"""Label files, the first that exists is read."""
ACTIONS = ("walk", "sitDown", "standUp", "pickUp", "carry", "throw", "push", "pull", "waveHands", "clapHands")
"""Names in the label file, by class."""
CLASSES = ("walk", "sit down", "stand up", "pick up", "carry", "throw", "push", "pull", "wave hands", "clap hands")
CORRECTED = {
    ("s01_e02", "walk"): (154, 270),
    ("s03_e01", "push"): (3556, 3622),
    ("s07_e01", "pull"): (3432, 3522),
    ("s07_e02", "pull"): (2530, 2618),
    ("s09_e01", "push"): (3266, 3300),
    ("s10_e01", "carry"): (1394, 1676),
    ("s10_e02", "pull"): (1994, 2062),
}
"""Ranges with typing errors in the first release of the label file."""
FPS = 15.0


def jobs(source: Path) -> list[Job]:
    """One job a recording; its context holds (action, first, last) for each labelled clip.

    A single file takes its labels from the file beside it; without one it is read as a single clip without label.

    Raises:
        UserError: a folder or zip without the label file, or a recording that it does not list.
        FormatError: a damaged label file.
    """
    found = members(source)
    recordings = [m for m in found if NAME.fullmatch(m.file)]
    alone = Path(source).is_file() and Path(source).suffix.lower() != ".zip"
    if alone:
        found = [single(path) for n in LABELS if (path := Path(source).parent / n).is_file()]
    labels = _labels(found)
    if labels is None:
        if recordings and not alone:
            raise UserError(f"{source}: no {' or '.join(LABELS)}; put the data set's label file beside its recordings")
        return [Job(m.stem.removeprefix("joints_"), m) for m in recordings]
    result: list[Job] = []
    for member in recordings:
        name = member.stem.removeprefix("joints_")
        if name not in labels:
            raise UserError(f"{member.origin}: {name} is not in the label file; complete it, or take the recording away")
        result.append(Job(name, member, labels[name]))
    return result


def _labels(found: list[Member]) -> dict[str, tuple[tuple[str, int, int], ...]] | None:
    """Recording -> its labelled ranges of frame numbers, both ends included."""
    by_name = {m.file: m for m in found}
    file = next((by_name[n] for n in LABELS if n in by_name), None)
    if file is None:
        return None
    result: dict[str, tuple[tuple[str, int, int], ...]] = {}
    recording = ""
    for number, line in enumerate(decode(file.read(2**20), file.origin).splitlines(), 1):
        words = line.replace(":", " ").split()
        if len(words) == 1 and NAME.fullmatch(f"joints_{words[0]}.txt"):
            recording = words[0]
            result[recording] = ()
        elif len(words) == 3 and recording and words[0] in ACTIONS:
            if words[1:] == ["NaN", "NaN"]:  # a label that was never given
                continue
            if not (words[1].isdecimal() and words[2].isdecimal()):
                raise FormatError(file.origin, f"line {number}: {line!r} has no two frame numbers")
            first, last = CORRECTED.get((recording, words[0]), (int(words[1]), int(words[2])))
            result[recording] += ((words[0], first, last),)
        elif words:
            raise FormatError(file.origin, f"line {number}: {line!r} is neither a recording (s01_e01) nor 'action: first last'")
    return result


def read(job: Job) -> ClipList:
    """The labelled clips of one recording, each `(T, 1, 20, 3)`; meta: action, subject, episode, recording, first, last.

    A labelled range without a frame, or with a number that is not finite, is `Skipped`.

    Raises:
        FormatError: not such a file, or no range of it can be read.
    """
    origin = job.member.origin
    match = NAME.fullmatch(Path(job.member.name).name)
    if not match:
        raise FormatError(origin, "file name is not joints_sXX_eXX.txt")
    subject, episode = int(match[2]), int(match[3])
    rows = table(job.member.read(MAX_TEXT), origin, 61)
    if not (np.isfinite(rows[:, 0]) & (rows[:, 0] == np.round(rows[:, 0]))).all():
        raise FormatError(origin, "the first number of a row is no frame number")
    order, first_rows = np.unique(rows[:, 0], return_index=True)
    positions = rows[first_rows, 1:].reshape(-1, 1, 20, 3)
    facts = {"subject": subject, "episode": episode, "recording": match[1]}
    if not job.context:
        return ClipList([Clip(finite(positions, origin), KINECT20, fps=FPS, subject=str(subject), source=origin, meta=facts)])
    cuts = [(order >= first) & (order <= last) for _, first, last in job.context]
    check_cuts(sum(int(inside.sum()) for inside in cuts), len(order), origin)
    clips: list[Clip | Skipped] = []
    for (name, first, last), inside in zip(job.context, cuts, strict=True):
        shown = f"{name}, {first} to {last}"
        if not inside.any():
            clips.append(Skipped(shown, f"no frame of {shown}; the recording is cut off or the label is wrong"))
            continue
        try:
            cut = finite(positions[inside], origin)
        except FormatError as error:
            clips.append(Skipped(shown, error.problem))
            continue
        label = ACTIONS.index(name)
        clips.append(
            Clip(
                cut,
                KINECT20,
                fps=FPS,
                label=label,
                label_name=CLASSES[label],
                subject=str(subject),
                source=origin,
                meta={"action": label + 1, **facts, "first": first, "last": last},
            )
        )
    return ClipList.some(clips, origin)
