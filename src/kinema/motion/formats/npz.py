"""Kinema's own file: one clip, ``.npz``, without pickles.

Arrays of the clip under their own names (`positions`, and where known `confidence`, `body_ids`, `rotations`, `offsets`,
`contacts`), the number `fps`, and two strings of JSON: `skeleton`, and `facts` (label, captions, subject, view, ...).
"""

from __future__ import annotations

import io
import json
import lzma
import math
import re
import tokenize
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np

from ...errors import FormatError, UserError
from ...files import atomic_file
from ..clip import Caption, Clip
from ..skeleton import Skeleton
from .estimates import scores
from .image_units import image_units
from .jobs import Job
from .members import MAX_FILE, MAX_RATIO, Member, members
from .tables import finite, parse_json

NAME = re.compile(r"[^.].*\.npz")
ARRAYS = {"positions": "f", "confidence": "f", "body_ids": "i", "rotations": "f", "offsets": "f", "contacts": "b"}
"""Arrays of a file -> the kind of their numbers (f float, i integer, b bool)."""
_STRINGS = ("skeleton", "facts")
_FACTS: dict[str, type] = {
    **{"units": str, "image_size": list, "label": int, "label_name": str, "captions": list},
    **{"subject": str, "view": str, "source": str, "meta": dict},
}
# what zipfile, zlib and NumPy's header reader are known to raise on damaged bytes
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError),
    *(EOFError, OSError, ValueError, TypeError, LookupError, RuntimeError, SyntaxError, OverflowError, MemoryError),
)


def jobs(source: Path) -> list[Job]:
    """One job a file."""
    return [Job(m.name.removesuffix(".npz"), m) for m in members(source) if NAME.fullmatch(m.file)]


def read(job: Job) -> list[Clip]:
    """The clip that `write` wrote.

    Raises:
        FormatError: not such a file.
    """
    origin = job.member.origin
    arrays = read_arrays(job.member.read(), origin)
    missing = [name for name in ("positions", "fps", *_STRINGS) if name not in arrays]
    if "positions" in arrays and missing:
        raise FormatError(
            origin, f"no {', '.join(missing)} inside: arrays alone are read with a clips.csv and a skeleton (format user)"
        )
    if missing:
        raise FormatError(origin, f"no {', '.join(missing)} inside; it holds {', '.join(arrays) or 'nothing'}")
    if arrays["positions"].ndim != 4:
        raise FormatError(origin, f"positions {arrays['positions'].shape}; expected (frames, people, joints, coordinates)")
    try:
        skeleton = Skeleton.from_json(parse_json(_text(arrays["skeleton"], origin), origin), origin)
        facts = _facts(parse_json(_text(arrays["facts"], origin), origin), origin)
        facts["source"] = facts.get("source") or origin
        return [Clip(skeleton=skeleton, fps=float(arrays["fps"].item()), **_typed(arrays, origin), **facts)]
    except FormatError:
        raise
    except UserError as error:
        raise FormatError(origin, str(error)) from error
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise FormatError(origin, f"not a clip ({type(error).__name__}: {error}); write it with kinema again") from error


def write(clip: Clip, path: Path) -> None:
    """Writes one clip atomically; `read` gives back an equal one.

    Raises:
        UserError: facts that JSON cannot hold, or a place that cannot be written.
    """
    facts = {name: getattr(clip, name) for name in _FACTS}
    facts |= {"captions": [asdict(c) for c in clip.captions], "meta": dict(clip.meta)}
    try:
        strings = {"skeleton": json.dumps(clip.skeleton.to_json()), "facts": json.dumps(facts, allow_nan=False)}
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: the clip's meta is not JSON-safe ({error})") from error
    arrays = {name: value for name in ARRAYS if (value := getattr(clip, name)) is not None}
    with atomic_file(Path(path)) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, fps=np.float64(clip.fps), **arrays, **strings)  # type: ignore[arg-type]


def read_array(member: Member, skeleton: Skeleton, fps: float) -> Clip:
    """A clip from bare positions: ``.npy``, or ``.npz`` with `positions` and perhaps `confidence` `(T, M, J)` or `(T, J)`.

    Positions are `(T, J, C)`, `(T, M, J, C)` or rows `(T, J * C)`, with C of 2 or 3; 3D is taken as metres, 2D as pixels or normalised
    coordinates, whichever `image_units` finds.

    Raises:
        FormatError: not such a file, or another number of joints.
    """
    positions, confidence = load_array(member)
    return from_array(positions, confidence, skeleton, fps, member.origin)


def load_array(member: Member) -> tuple[np.ndarray, np.ndarray | None]:
    """The arrays of a file as `read_array` describes it, as they are: positions, and confidence or None.

    Raises:
        FormatError: not such a file.
    """
    origin, content = member.origin, member.read()
    if member.name.lower().endswith(".npy"):
        return read_npy(io.BytesIO(content), len(content), origin), None
    arrays = read_arrays(content, origin)
    if "positions" not in arrays:
        raise FormatError(origin, f"no array named positions; it holds {', '.join(arrays) or 'nothing'}")
    return arrays["positions"], arrays.get("confidence")


def from_array(
    values: np.ndarray, confidence: np.ndarray | None, skeleton: Skeleton, fps: float, origin: str, first: int = 0
) -> Clip:
    """A clip from an array, as `read_array` describes it; its numbers are never a view of a larger array.

    `first` is the frame of the file that it begins with.

    Raises:
        FormatError: naming `origin`, for anything that is not positions of this skeleton.
    """
    joints = len(skeleton)
    if values.dtype.kind not in "fiu":
        raise FormatError(origin, f"positions are {values.dtype}; expected numbers")
    if values.ndim == 2 and values.shape[1] in (2 * joints, 3 * joints):
        values = values.reshape(len(values), joints, -1)
    if values.ndim == 3:
        values = values[:, None]
    if values.ndim != 4 or values.shape[2] != joints or values.shape[3] not in (2, 3):
        expected = f"(frames, {joints}, 3), (frames, people, {joints}, 3), or 2 instead of 3, for the joints of {skeleton.name}"
        raise FormatError(origin, f"positions {values.shape}; expected {expected}")
    if confidence is not None:
        if confidence.dtype.kind not in "fiub":
            raise FormatError(origin, f"confidence is {confidence.dtype}; expected numbers from 0 to 1")
        confidence = scores(confidence[:, None] if confidence.ndim == 2 else confidence, origin, highest=1.0, first=first)
    try:
        positions = finite(values, origin, first)
        seen = np.ones(positions.shape[:3], bool) if confidence is None else confidence > 0
        if seen.shape != positions.shape[:3]:
            raise FormatError(origin, f"confidence {seen.shape}; expected {positions.shape[:3]}: frames, people, joints")
        units = "metres" if values.shape[3] == 3 else image_units(positions, seen, skeleton)
        return Clip(positions, skeleton, fps=fps, confidence=confidence, units=units, source=origin)
    except FormatError:
        raise
    except UserError as error:
        raise FormatError(origin, error.args[0].removeprefix(f"{origin}: ")) from error


def _typed(arrays: dict[str, np.ndarray], origin: str) -> dict[str, np.ndarray]:
    """The arrays of a clip, in its types."""
    result: dict[str, np.ndarray] = {}
    for name, kind in ARRAYS.items():
        if name not in arrays:
            continue
        if arrays[name].dtype.kind != kind:
            raise FormatError(origin, f"{name} is {arrays[name].dtype}; write it with kinema again")
        wanted = {"f": np.float32, "i": np.int64, "b": np.bool_}[kind]
        with np.errstate(over="ignore"):
            result[name] = finite(arrays[name], origin) if name == "positions" else arrays[name].astype(wanted, copy=False)
    return result


def _facts(value: Any, origin: str) -> dict[str, Any]:
    """The fields of a clip in `_FACTS`, of the right types."""
    if not isinstance(value, dict):
        raise FormatError(origin, "facts is not a JSON object; write the file with kinema again")
    facts = cast(dict[str, Any], value)
    for name, content in facts.items():
        if name not in _FACTS:
            raise FormatError(origin, f"unknown fact {name!r}; known: {', '.join(_FACTS)}")
        if content is not None and not isinstance(content, _FACTS[name]):
            raise FormatError(origin, f"{name} is {content!r}; write the file with kinema again")
    present = {name: content for name, content in facts.items() if content is not None}
    if "image_size" in present:
        width, height = map(int, present["image_size"])
        present["image_size"] = (width, height)
    if "captions" in present:
        present["captions"] = tuple(_caption(c, origin) for c in present["captions"])
    return present


def _caption(value: Any, origin: str) -> Caption:
    known = cast(dict[str, Any], value) if isinstance(value, dict) else {}
    text, start, end = known.get("text"), known.get("start"), known.get("end")
    if not isinstance(text, str) or not all(t is None or (isinstance(t, (int, float)) and math.isfinite(t)) for t in (start, end)):
        raise FormatError(origin, f"caption {value!r}; expected a text, and start and end in seconds")
    return Caption(text, float(start or 0), None if end is None else float(end))


def _text(array: np.ndarray, origin: str) -> bytes:
    if array.dtype.kind != "U" or array.size != 1:
        raise FormatError(origin, "skeleton or facts is not a string; write the file with kinema again")
    return str(array.item()).encode("utf-8", "replace")


def read_arrays(content: bytes, origin: str) -> dict[str, np.ndarray]:
    """Every array of an archive, after its directory says that it is small and plain."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if len(entries) > 32 or sum(e.file_size for e in entries) > MAX_FILE:
                raise FormatError(origin, f"more than 32 arrays or {MAX_FILE} bytes; one file holds one clip")
            result: dict[str, np.ndarray] = {}
            for entry in entries:
                name = entry.filename.removesuffix(".npy")
                if name == entry.filename or not name.isidentifier() or name in result:
                    raise FormatError(origin, f"member {entry.filename!r}; expected arrays, NAME.npy, each once")
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise FormatError(origin, f"{name} is compressed in an unusual way; save it with numpy.savez_compressed")
                if entry.file_size > MAX_RATIO * max(entry.compress_size, 1) + 2**24:
                    raise FormatError(origin, f"{name} expands {entry.file_size // max(entry.compress_size, 1)}-fold")
                with archive.open(entry) as stream:
                    result[name] = read_npy(stream, entry.file_size, f"{origin}, {name}")
            return result
    except FormatError:
        raise
    except _DAMAGE as error:
        raise FormatError(origin, f"damaged .npz ({type(error).__name__}: {error}); copy or write it again") from error


def read_npy(stream: Any, size: int, origin: str) -> np.ndarray:
    """One ``.npy``, whose header must promise exactly the bytes that are there."""
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise FormatError(origin, f".npy version {version}; save it with numpy.save")
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(stream)
        if dtype.kind not in "fiubU":
            raise FormatError(origin, f"an array of {dtype}; only numbers and strings are read")
        if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != size - stream.tell():
            raise FormatError(origin, "its header promises another size than the file has; it is cut off or damaged")
        flat = np.frombuffer(stream.read(), dtype=dtype)
        return flat.reshape(shape, order="F" if fortran else "C")
    except FormatError:
        raise
    except _DAMAGE as error:
        raise FormatError(origin, f"damaged array ({type(error).__name__}: {error}); copy or write it again") from error
