"""What the lists of signed clips have in common: a pose file for each clip, and a list that says which clip it is.

The files are ``.pose`` of any layout, arrays and pickles of 133 keypoints, or OpenHands' pickles, anywhere in the source. Hands are cut
out of the image, so clips in pixels need its size: from the pose file, or ``sizes.json`` (clip name -> [width, height]), or the list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from ...errors import FormatError, UserError
from ...words import plural
from ..clip import Clip
from ..names import one_form
from . import dotpose, openhands, wholebody
from .jobs import Job, JobList
from .members import Member
from .rows import MAX_ROWS
from .split_names import SIDES
from .tables import parse_json
from .unpickle import load

SUFFIXES = (".pose", ".npy", ".npz", ".pkl", ".pickle")
"""Of pose files."""
IMAGE_SIZES = "sizes.json"
MAX_LIST = 32 * 2**20
"""Largest list that is read, bytes; WLASL's longest has 12 million."""
MAX_NAME = 100
"""Longest name of a class or a signer."""


@dataclass(frozen=True)
class Sign:
    """What a list says of one clip.

    Attributes:
        name: of the clip, unique in the list.
        label, label_name: its class, from 0. side: one of `SIDES`.
        signer: who signs, if known. size: (width, height) of the image in pixels, if known.
    """

    name: str
    label: int
    label_name: str
    side: str
    signer: str | None = None
    size: tuple[int, int] | None = None


def side_file(source: Path, files: Sequence[Member], name: str) -> Member | None:
    """The file of a name, anywhere in the source; None if there is none.

    Raises:
        UserError: there are two.
    """
    found = [m for m in files if m.file == name]
    if len(found) > 1:
        raise UserError(f"{source}: {name} is there twice, as {found[0].name} and {found[1].name}; remove one of them")
    return found[0] if found else None


def read_list(file: Member) -> Any:
    """The value of a JSON file of at most `MAX_LIST` bytes and `MAX_ROWS` entries. Raises FormatError."""
    value: Any = parse_json(file.read(MAX_LIST), file.origin)
    entries = len(cast("list[Any]", value)) if isinstance(value, list | dict) else 0
    if entries > MAX_ROWS:
        raise FormatError(file.origin, f"{entries} entries; at most {MAX_ROWS} are read: split the list")
    return cast("Any", value)


def bad_entry(file: Member, error: FormatError) -> Job:
    """A job for an entry of a list that says nothing usable: its reading tells what is wrong, and the others go on."""
    return Job(error.origin.removeprefix(f"{file.origin}, "), file, (error.problem,))


def listed(
    source: Path,
    files: Sequence[Member],
    name: str,
    signs: Sequence[Sign],
    classes: Sequence[str],
    clip_of: Callable[[str], str | None],
    bad: Sequence[Job] = (),
) -> JobList:
    """A job for each clip of a list that has a pose file; the others are counted in its remarks.

    Args:
        source, files: where the pose files are. name: of the list. signs: what it says. classes: names by label.
        clip_of: the clip that a pose file is of, by its path in the source; None: of none. bad: see `bad_entry`.

    Raises:
        UserError: no clip has a pose file, or one has two. FormatError: a bad ``sizes.json``.
    """
    wanted = {sign.name for sign in signs}
    found: dict[str, Member] = {}
    others = 0
    for member in (m for m in files if _is_pose(m.file)):
        clip = clip_of(member.name)
        if clip is None or clip not in wanted:
            others += 1
        elif clip in found:
            raise UserError(f"{source}: two pose files of {clip}, {found[clip].name} and {member.name}; keep one of each clip")
        else:
            found[clip] = member
    if not found:
        raise UserError(
            f"{source}: of {plural(len(signs), 'clip')} in {name} none has a pose file; "
            f"expected one for each, called {signs[0].name} or the like, as {', '.join(SUFFIXES)}"
        )
    sizes = _image_sizes(source, files)
    jobs = [Job(s.name, found[s.name], (replace(s, size=sizes.get(s.name, s.size)),)) for s in signs if s.name in found]
    missing = Counter(s.side for s in signs if s.name not in found)
    remarks: list[str] = []
    if missing:
        sides = ", ".join(f"{missing[side]} {side}" for side in SIDES)
        remarks.append(f"clips of {name} without a pose file: {missing.total()} of {len(signs)} ({sides})")
    if others:
        remarks.append(f"pose files of no clip of {name}, left out: {others}")
    return JobList([*jobs, *bad], classes, remarks)


def read_listed(job: Job) -> list[Clip]:
    """The clip of a pose file, with what the list says of it; meta: split, one of `SIDES`.

    Raises:
        FormatError: what the file's own format raises, or no image size for a clip in pixels.
    """
    member = job.member
    sign: Sign | str = job.context[0]
    if isinstance(sign, str):
        raise FormatError(f"{member.origin}, {job.name}", sign)
    if member.name.endswith(".pose"):
        clips = dotpose.read(job)
    elif member.name.endswith((".pkl", ".pickle")):
        value = load(member.read(openhands.MAX_FILE), member.origin)
        clips = (openhands if openhands.fits(value) else wholebody).from_pickle(value, member.origin, job.units)
    else:
        clips = wholebody.read(job)
    result: list[Clip] = []
    for clip in clips:
        size = clip.image_size or sign.size
        if clip.units == "pixels" and size is None:
            raise FormatError(
                member.origin,
                f'no image size; write it into {IMAGE_SIZES} beside the list: {{"{sign.name}": [width, height], ...}}',
            )
        result.append(
            clip.with_(
                label=sign.label,
                label_name=sign.label_name,
                subject=sign.signer,
                image_size=size if clip.units == "pixels" else None,
                meta={**clip.meta, "split": sign.side},
            )
        )
    return result


def label(value: Any, classes: int, where: str) -> int:
    """A class index. Raises FormatError unless it is a whole number from 0 to below `classes`."""
    if type(value) is not int or not 0 <= value < classes:
        raise FormatError(where, f"class {shown(value)}; expected a whole number from 0 to {classes - 1}")
    return value


def class_name(value: Any, where: str) -> str:
    """The name of a class. Raises FormatError unless it is printable text of one to `MAX_NAME` letters."""
    if not (isinstance(value, str) and 1 <= len(value) <= MAX_NAME and value.isprintable()):
        raise FormatError(where, f"{shown(value)} is not the name of a class; expected text of 1 to {MAX_NAME} letters")
    return one_form(value)


def signer(value: Any) -> str | None:
    """Who signs, by a number from 0; None if the list does not know."""
    return str(value) if type(value) is int and 0 <= value < 2**31 else None


def shown(value: Any) -> str:
    """A value of a list for a message: short, on one line, whatever it is."""
    if isinstance(value, str):
        return ascii(value[:40])
    return str(value) if isinstance(value, int | float) and abs(value) < 2**63 else type(value).__name__


def image_size(width: Any, height: Any, where: str) -> tuple[int, int]:
    """(width, height). Raises FormatError unless both are whole numbers above 0 (JSON may write them as 640.0)."""
    if not all(type(n) in (int, float) and 0 < n < 2**31 and n == int(n) for n in (width, height)):
        raise FormatError(where, f"image size {shown(width)} x {shown(height)}; expected whole numbers of pixels above 0")
    return int(width), int(height)


def _is_pose(name: str) -> bool:
    return not name.startswith(".") and name.endswith(SUFFIXES)


def _image_sizes(source: Path, files: Sequence[Member]) -> dict[str, tuple[int, int]]:
    file = side_file(source, files, IMAGE_SIZES)
    if file is None:
        return {}
    value = read_list(file)
    if not isinstance(value, dict):
        raise FormatError(file.origin, 'expected {"clip name": [width, height], ...}')
    sizes: dict[str, tuple[int, int]] = {}
    origin = file.origin
    for name, size in cast("dict[str, Any]", value).items():
        where = f"{origin}, {shown(name)}"
        two = cast("list[Any]", size) if isinstance(size, list) else []
        if len(two) != 2:
            raise FormatError(where, "expected [width, height]")
        sizes[one_form(name)] = image_size(two[0], two[1], where)
    return sizes
