"""UTD-MHAD skeletons: one MATLAB 5 file a clip, ``a1_s1_t1_skeleton.mat``.

The variable ``d_skel``, float64 `(20, 3, T)`, Kinect v1, metres, y up, +x to the right of a person who faces the camera.
Its joints start at the head; they are read into the SDK's order (`KINECT20`) by name.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np

from ...errors import FormatError
from ..clip import MAX_FRAMES, Clip
from ..skeletons import KINECT20
from .jobs import Job
from .members import members
from .tables import finite

NAME = re.compile(r"a(\d\d?)_s(\d)_t(\d)_skeleton\.mat")
CLASSES = (
    "swipe left",
    "swipe right",
    "wave",
    "clap",
    "throw",
    "arm cross",
    "basketball shoot",
    "draw x",
    "draw circle clockwise",
    "draw circle counter-clockwise",
    "draw triangle",
    "bowling",
    "boxing",
    "baseball swing",
    "tennis swing",
    "arm curl",
    "tennis serve",
    "push",
    "knock",
    "catch",
    "pick up and throw",
    "jog",
    "walk",
    "sit to stand",
    "stand to sit",
    "lunge",
    "squat",
)
STORED: tuple[str, ...] = (
    *("head", "shoulder_centre", "spine", "hip_centre"),
    *("left_shoulder", "left_elbow", "left_wrist", "left_hand", "right_shoulder", "right_elbow", "right_wrist", "right_hand"),
    *("left_hip", "left_knee", "left_ankle", "left_foot", "right_hip", "right_knee", "right_ankle", "right_foot"),
)
"""Joints in the order of the file."""
FPS = 30.0
MAX_MAT = 16 * 2**20
"""Largest file, and largest content of it once expanded, bytes; a real one stays below 100 kB."""
_ORDER = [STORED.index(name) for name in KINECT20.joints]
_MATRIX, _COMPRESSED = 14, 15


def jobs(source: Path) -> list[Job]:
    """One job a clip."""
    return [Job(m.stem.removesuffix("_skeleton"), m) for m in members(source) if NAME.fullmatch(m.file)]


def read(job: Job) -> list[Clip]:
    """One clip of one person, `(T, 1, 20, 3)`; meta: action, subject, repetition.

    Raises:
        FormatError: not such a file.
    """
    origin = job.member.origin
    match = NAME.fullmatch(Path(job.member.name).name)
    if not match or not 1 <= int(match[1]) <= len(CLASSES):
        raise FormatError(origin, f"file name is not aN_sN_tN_skeleton.mat with an action of 1 to {len(CLASSES)}")
    action, subject, repetition = map(int, match.groups())
    stored = _variable(job.member.read(MAX_MAT), origin)
    return [
        Clip(
            finite(stored.transpose(2, 0, 1)[:, None, _ORDER], origin),
            KINECT20,
            fps=FPS,
            label=action - 1,
            label_name=CLASSES[action - 1],
            subject=str(subject),
            source=origin,
            meta={"action": action, "subject": subject, "repetition": repetition},
        )
    ]


def _variable(content: bytes, origin: str) -> np.ndarray:
    """``d_skel``, `(20, 3, T)`."""
    import scipy.io  # here, because every command imports the formats and few read this one

    content = _expanded(content, origin)
    try:
        known = {name: (tuple(shape), kind) for name, shape, kind in scipy.io.whosmat(io.BytesIO(content))}
        if "d_skel" not in known:
            raise FormatError(origin, f"no variable d_skel; it holds {', '.join(known) or 'nothing'}")
        shape, kind = known["d_skel"]
        if kind not in ("double", "single"):
            raise FormatError(origin, f"d_skel is {kind}; expected double")
        if len(shape) == 2:
            shape = (*shape, 1)  # MATLAB drops a last axis of one frame
        if len(shape) != 3 or shape[:2] != (20, 3) or not 1 <= shape[2] <= MAX_FRAMES:
            raise FormatError(origin, f"d_skel is {' x '.join(map(str, shape))}; expected 20 joints x 3 x frames")
        value = scipy.io.loadmat(io.BytesIO(content), variable_names=["d_skel"])["d_skel"]
    except FormatError:
        raise
    except Exception as error:  # SciPy documents no closed list of what damaged bytes raise
        raise FormatError(origin, f"damaged MATLAB file ({type(error).__name__}: {error}); copy or download it again") from error
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.size != np.prod(shape):
        raise FormatError(origin, "d_skel does not hold the numbers that its header promises")
    return value.reshape(shape, order="F")


def _expanded(content: bytes, origin: str) -> bytes:
    """The same file with its compressed variables expanded, so that SciPy can allocate no more than what is there."""
    if len(content) < 136 or not content.startswith(b"MATLAB 5.0 MAT-file"):
        raise FormatError(origin, "not a MATLAB 5 file; save the variable with -v6 or -v7")
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise FormatError(origin, "damaged MATLAB file (no byte order mark)")
    parts, at, room = [content[:128]], 128, MAX_MAT
    while at < len(content):
        tag = content[at : at + 8]
        kind, size = struct.unpack(order + "II", tag) if len(tag) == 8 else (0, 0)
        body = content[at + 8 : at + 8 + size]
        if kind not in (_MATRIX, _COMPRESSED) or len(body) < max(size, 1):
            raise FormatError(origin, "damaged or cut off: a variable does not fit into the file")
        at += 8 + size
        if kind == _COMPRESSED:
            try:
                body = zlib.decompressobj().decompress(body, room)
            except zlib.error as error:
                raise FormatError(origin, f"damaged MATLAB file ({error})") from error
        parts += [body] if kind == _COMPRESSED else [tag, body]
        room -= len(body)
        if room <= 0:
            raise FormatError(origin, f"its variables expand beyond {MAX_MAT} bytes")
    return b"".join(parts)
