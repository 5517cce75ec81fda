"""``.pose`` files, the exchange format of sign-language processing, through its own library, pose-format.

Points are taken by the names of their component and their own (`pose_layouts`), so it does not matter which of them a file has or in
what order. The library trusts what a header says about sizes; here they are compared with the file first.
"""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions
from pose_format.utils.reader import BufferReader

from ...errors import FormatError, UserError
from ...files import atomic_file
from ...words import plural
from ..clip import MAX_PEOPLE, Clip
from ..keypoints import HAND21
from ..outline import outline
from ..skeleton import Skeleton
from .estimates import check_shape, estimated
from .jobs import Job
from .members import MAX_FILE, members
from .pose_layouts import LAYOUTS, WRITTEN, Layout

NAME = re.compile(r"[^.].*\.pose")
"""File names of this format."""
MAX_HEADER = 2**20
"""Largest header, bytes; MediaPipe Holistic's takes 5 thousand."""
VERSIONS = (0.0, 0.1, 0.2)
_SIDE_COLOUR = {"left": (0, 98, 163), "right": (208, 88, 0)}


def jobs(source: Path) -> list[Job]:
    """One job a file, named by its path without the suffix."""
    found = [m for m in members(source) if NAME.fullmatch(m.file)]
    return [Job(m.name.removesuffix(".pose"), m) for m in found]


def read(job: Job) -> list[Clip]:
    """One clip, `(T, M, J, 2)` with confidence: pixels, or ``normalised`` where no coordinate is as large as a picture.

    The skeleton is `HOLISTIC75` (of which a file may lack points: they are absent), `MEDIAPIPE33` where there is no hand,
    `OPENPOSE137`, `WHOLEBODY133`, or `HAND21` for a single hand, whose side `meta` names under ``hand``. Not kept: MediaPipe's face and
    world landmarks, and depth, which has a different scale in every program.

    Raises:
        FormatError: not such a file, of another version or layout (its components are named), or of another size than it says.
    """
    origin = job.member.origin
    content = job.member.read(MAX_FILE)
    header, start = _header(content, origin)
    layout = _layout(header, origin)
    skeleton, side = layout.part([c.name for c in header.components])
    if header.version == 0:
        fps, data, score = _frame_by_frame(content, start, header, origin)
    else:
        check_shape(*_promised(content, start, header, origin), max(len(skeleton), header.total_points()), origin)
        reader = BufferReader(content)
        reader.read_offset = start
        body: Any = NumPyPoseBody.read(header, reader)  # pyright: ignore[reportUnknownMemberType]
        fps, data, score = float(body.fps), np.asarray(body.data.data), np.asarray(body.confidence)

    frames, people = score.shape[:2]
    xy = np.zeros((frames, people, len(skeleton), 2), np.float32)
    confidence = np.zeros((frames, people, len(skeleton)), np.float32)
    for joint, point in _sources(header, layout, skeleton, side, origin).items():
        xy[:, :, joint] = data[:, :, point, :2]
        confidence[:, :, joint] = score[:, :, point]
    size = (int(header.dimensions.width), int(header.dimensions.height))
    return [estimated(xy, confidence, skeleton, fps, origin, size, job.units, meta={"hand": side} if side else {})]


def _header(content: bytes, origin: str) -> tuple[PoseHeader, int]:
    """The header and where it ends. What it holds takes its bytes from the file, so it is never larger than those."""
    if len(content) < 4:
        raise FormatError(origin, f"{plural(len(content), 'byte')}, no .pose file; copy or download it again")
    version = struct.unpack_from("<f", content)[0]
    if version != 0 and round(version, 3) not in VERSIONS[1:]:  # as the library tells them apart
        raise FormatError(origin, "not a .pose file of version 0.0, 0.1 or 0.2: it is damaged or of another format")
    reader = BufferReader(content[:MAX_HEADER])
    try:
        header = PoseHeader.read(reader)
    except (struct.error, TypeError, ValueError, IndexError):
        raise FormatError(origin, "cut off within its header, or damaged header; copy or download it again") from None
    return header, reader.read_offset


def _layout(header: PoseHeader, origin: str) -> Layout:
    """The layout that knows all components, each of which has x, y, perhaps more, and a confidence for every point."""
    names = [str(c.name) for c in header.components]
    for layout in LAYOUTS:
        if any(n in layout.components for n in names) and all(n in layout.components or n in layout.unread for n in names):
            break
    else:
        found = ", ".join(f"{ascii(c.name[:40])[1:-1]} ({len(c.points)})" for c in header.components[:8]) or "none"
        known = "; ".join(f"{x.name}: {', '.join(x.components)}" for x in LAYOUTS)
        raise FormatError(origin, f"unknown layout with the components {found}; known are {known}")
    if len(set(names)) != len(names):
        raise FormatError(origin, "it has a component twice; write it with another program")
    for component in header.components:
        letters = str(component.format)
        if not (letters.startswith("XY") and letters.endswith("C")):
            raise FormatError(
                origin, f"{component.name} has points {letters[:20]!a}; expected x, y, ... and a confidence: XYC, XYZC"
            )
        if header.version != 0 and len(letters) != header.num_dims() + 1:
            raise FormatError(origin, f"{component.name} has other coordinates than the rest; expected the same for all components")
    return layout


def _sources(header: PoseHeader, layout: Layout, skeleton: Skeleton, side: str | None, origin: str) -> dict[int, int]:
    """Our joint -> the file's point."""
    sources: dict[int, int] = {}
    offset = 0
    for component in header.components:
        known = layout.components.get(component.name)
        for i, point in enumerate(component.points if known is not None else ()):
            joint = (known or {}).get(str(point))
            if joint is None:
                raise FormatError(origin, f"{component.name} has a point {point[:40]!a}, which {layout.name} does not have")
            at = skeleton.index(joint.removeprefix(f"{side}_") if side else joint)
            if at in sources:
                raise FormatError(origin, f"{component.name} has the point {point} twice")
            sources[at] = offset + i
        offset += len(component.points)
    if not sources:
        raise FormatError(origin, "its components have no points")
    return sources


def _promised(content: bytes, start: int, header: PoseHeader, origin: str) -> tuple[int, int]:
    """Frames and people of versions 0.1 and 0.2, if exactly their bytes follow the header."""
    old = round(header.version, 3) == 0.1
    layout = struct.Struct("<HHH" if old else "<fIH")
    if len(content) < start + layout.size:
        raise FormatError(origin, "cut off after the header; copy or download it again")
    _, frames, people = layout.unpack_from(content, start)
    there = len(content) - start - layout.size
    one = 4 * people * header.total_points() * (header.num_dims() + 1)
    # version 0.1 has 16 bits for the number of frames, and longer ones were written: the size of the file decides then
    if old and one and there // one > 0xFFFF:
        frames = there // one
    if one * frames != there or not one:
        raise FormatError(
            origin,
            f"its header promises {plural(frames, 'frame')} of {plural(people, 'person', 'people')}, {one * frames} bytes, and {there} follow: "
            "it is cut off or damaged; copy or download it again",
        )
    return int(frames), int(people)


def _frame_by_frame(content: bytes, start: int, header: PoseHeader, origin: str) -> tuple[float, np.ndarray, np.ndarray]:
    """The body of version 0.0, which tells anew in every frame who is there; the library keeps only the first person.

    Returns:
        fps, `(T, M, points, 2)` x and y, `(T, M, points)` confidence. People stand in the order of the file; absent are zero.
    """
    widths = np.array([len(c.format) for c in header.components for _ in c.points], np.int64)
    columns = np.cumsum(widths) - widths
    count = int(widths.sum())
    size = 2 + 4 * count  # a person's number, and the points
    cut = FormatError(origin, "its frames do not fill the file: it is cut off or damaged; copy or download it again")
    if len(content) < start + 4:
        raise cut
    fps, frames = struct.unpack_from("<HH", content, start)
    at = start + 4
    found: list[tuple[int, int, int]] = []  # frame, person, where
    most = 1
    for frame in range(frames):
        if len(content) < at + 2:
            raise cut
        people = struct.unpack_from("<H", content, at)[0]
        at += 2
        if people > MAX_PEOPLE or len(content) < at + people * size:
            raise cut
        found += [(frame, person, at + person * size + 2) for person in range(people)]
        most, at = max(most, people), at + people * size
    if at != len(content):
        raise cut
    check_shape(frames, most, max(len(widths), 137), origin)
    xy = np.zeros((frames, most, len(widths), 2), np.float32)
    score = np.zeros((frames, most, len(widths)), np.float32)
    for frame, person, where in found:
        numbers = np.frombuffer(content, "<f4", count, where)
        xy[frame, person, :, 0], xy[frame, person, :, 1] = numbers[columns], numbers[columns + 1]
        score[frame, person] = numbers[columns + widths - 1]
    return float(fps), xy, score


def write(clip: Clip, path: Path) -> None:
    """Writes a 2-D clip as ``.pose`` 0.2, atomically; `read` gives back its positions, confidence, fps, size and hand.

    An image size that the clip does not know is 0 x 0 in the file: one that is guessed from joints would cut hands out at the wrong scale.
    What else a clip knows (label, captions, ...) the format cannot hold. Without a confidence, joints that are not zero get 1.

    Raises:
        UserError: a skeleton that is none of the format's, 3-D positions, or an image larger than 65535 pixels.
    """
    if clip.skeleton not in WRITTEN:
        names = ", ".join(s.name for s in WRITTEN)
        raise UserError(f"{path}: a .pose file holds {names}, not {clip.skeleton.name}; use kinema.motion.convert first")
    if clip.positions.shape[-1] != 2 or clip.units == "metres":
        raise UserError(f"{path}: a .pose file is written from 2-D clips in pixels (or normalised), not from {clip.units}")
    side = clip.meta.get("hand")
    if clip.skeleton == HAND21 and side not in ("left", "right"):
        raise UserError(f"{path}: which hand is it? The clip's meta must say hand: left or right")
    width, height = clip.image_size or (0, 0)
    if max(width, height) > 0xFFFF:
        raise UserError(f"{path}: an image of {width} x {height}; a .pose file holds at most 65535 x 65535: scale the clip first")
    components, order = _components(clip.skeleton, str(side))
    score = clip.confidence
    if score is None:
        score = np.any(clip.positions != 0, axis=-1).astype(np.float32)
    header = PoseHeader(0.2, PoseHeaderDimensions(width, height, 0), components)
    body = NumPyPoseBody(clip.fps, clip.positions[:, :, order], score[:, :, order])
    with atomic_file(Path(path)) as temporary, temporary.open("wb") as stream:
        Pose(header, body).write(stream)


def _components(skeleton: Skeleton, side: str) -> tuple[list[PoseHeaderComponent], list[int]]:
    """The components that hold a skeleton's joints, and for each of their points, in order, the joint."""
    layout = WRITTEN[skeleton]
    components: list[PoseHeaderComponent] = []
    order: list[int] = []
    for name, points in layout.components.items():
        own = layout.hands.get(name)
        if skeleton == HAND21:
            joints = {p: j.removeprefix(f"{side}_") for p, j in points.items()} if own == side else {}
        else:
            joints = {p: j for p, j in points.items() if skeleton.has(j)}
        if not joints:
            continue
        indices = [skeleton.index(j) for j in joints.values()]
        limbs = [(indices.index(p), indices.index(j)) for j, p, _ in outline(skeleton).lines if {j, p} <= {*indices}]
        colours = [_SIDE_COLOUR.get(own or "", (74, 78, 84))]
        components.append(PoseHeaderComponent(name, list(joints), limbs, colours, "XYC"))
        order += indices
    return components, order
