"""PySKL and MMAction2 annotations: one pickle that holds a whole data set with its splits.

A dictionary with ``annotations``, a list of dictionaries (``frame_dir``, ``label``, ``keypoint`` (M, T, V, C), for 2-D also
``keypoint_score`` (M, T, V) and ``img_shape`` (height, width)), and ``split``, split name -> list of ``frame_dir``.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np

from ...errors import FormatError, UserError
from ..clip import Clip
from ..skeletons import COCO17, NTU25
from .image_units import image_units
from .jobs import Job
from .members import members
from .ntu import parse_name
from .unpickle import MAX_PICKLE, load

NAME = re.compile(r"[^.].*\.(?:pkl|pickle)")
"""File names of this format."""
MAX_SPLITS = 100

_KINDS = {(17, 2): (COCO17, "pixels"), (25, 3): (NTU25, "metres")}


def jobs(source: Path) -> list[Job]:
    """One job for each pickle (usually one for a whole data set), named by its path without the suffix."""
    found = [m for m in members(source) if NAME.fullmatch(PurePosixPath(m.name).name)]
    return [Job(PurePosixPath(m.name).with_suffix("").as_posix(), m) for m in found]


def read(job: Job) -> list[Clip]:
    """All clips of a pickle, in its order: (T, M, 17, 2) pixels (or normalised, see `image_units`) or (T, M, 25, 3) metres, float32.

    Scores of 2-D joints are cut to 0..1 (heat maps go slightly above). meta: name (``frame_dir``), splits (names of those that list
    it), and for NTU RGB+D names what the name says. 30 frames per second, which the format does not store.

    Raises:
        FormatError: not such a pickle, or one that holds anything but data; names the annotation.
    """
    origin = job.member.origin
    value = load(job.member.read(MAX_PICKLE), origin)
    content = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    annotations = content.get("annotations")
    if not isinstance(annotations, list) or not annotations:
        raise FormatError(origin, "no list of annotations; expected a PySKL dictionary with annotations and split")
    splits = _splits(content.get("split", {}), origin)
    clips: list[Clip] = []
    seen: set[int] = set()
    for number, annotation in enumerate(cast("list[Any]", annotations)):
        clips.append(_clip(annotation, number, splits, origin))
        # every clip has arrays of its own, so a file that refers to one array a million times would fill the memory
        keypoint = id(annotation["keypoint"])
        if keypoint in seen:
            raise FormatError(origin, f"annotation {number}: its keypoint is also that of another; write each its own")
        seen.add(keypoint)
    return clips


def _splits(split: Any, origin: str) -> dict[str, list[str]]:
    """For each ``frame_dir`` the names of its splits."""
    splits: dict[str, list[str]] = {}
    if not isinstance(split, dict) or len(cast("dict[str, Any]", split)) > MAX_SPLITS:
        raise FormatError(origin, f"split is not a dictionary of at most {MAX_SPLITS} lists of frame_dir")
    for name, listed in cast("dict[str, Any]", split).items():
        if not (name.isprintable() and isinstance(listed, list | tuple)):
            raise FormatError(origin, f"split {_show(name)} is not a list of frame_dir")
        for sample in dict.fromkeys(v for v in cast("list[Any]", listed) if isinstance(v, str)):
            splits.setdefault(sample, []).append(name)
    return splits


def _clip(annotation: Any, number: int, splits: dict[str, list[str]], origin: str) -> Clip:
    known = cast("dict[str, Any]", annotation) if isinstance(annotation, dict) else {}
    name = known.get("frame_dir")

    def fail(problem: str) -> FormatError:
        return FormatError(origin, f"annotation {number} ({_show(name)}): {problem}")

    if not (isinstance(name, str) and name.isprintable()):
        raise fail("frame_dir is not a name")
    keypoint = _array(known.get("keypoint"))
    kind = _KINDS.get(keypoint.shape[2:]) if keypoint is not None and keypoint.ndim == 4 else None
    if keypoint is None or kind is None:
        shape = "no array" if keypoint is None else keypoint.shape
        raise fail(f"keypoint is {shape}; expected (people, frames, 17, 2) or (people, frames, 25, 3)")
    people, frames, joints = keypoint.shape[:3]
    if known.get("total_frames", frames) != frames:
        raise fail(f"total_frames is {_show(known['total_frames'])}, but keypoint has {frames}")
    label = known.get("label")
    if label is not None and not (type(label) is int and 0 <= label < 2**31):
        raise fail(f"label {_show(label)}; expected a class from 0, or none")

    skeleton, units = kind
    confidence = None
    if known.get("keypoint_score") is not None:
        score = _array(known["keypoint_score"])
        if score is None or score.shape != (people, frames, joints) or not np.isfinite(score).all():
            raise fail(f"keypoint_score is not finite numbers {(people, frames, joints)}")
        confidence = _float32(score.swapaxes(0, 1)).clip(0, 1)
    positions = _float32(keypoint.swapaxes(0, 1))
    if units == "pixels" and np.isfinite(positions).all():
        units = image_units(positions, np.ones(positions.shape[:3], bool) if confidence is None else confidence > 0, skeleton)
    stem = PurePosixPath(name).name
    sample = parse_name(stem)
    fields: dict[str, Any] = sample.clip_fields(stem) if sample else {"meta": {}}
    if fields.get("label") != label:  # a subset with classes of its own
        fields["label_name"] = None
    fields |= {"label": label, "meta": {**fields["meta"], "name": name, "splits": splits.get(name, [])}}
    if units == "pixels":
        fields["image_size"] = _size(known.get("img_shape", known.get("original_shape")))
    try:
        return Clip(positions, skeleton, confidence=confidence, units=units, source=f"{origin}#{name}", **fields)
    except UserError as error:
        raise fail(str(error)) from None


def _array(value: Any) -> np.ndarray | None:
    return cast("np.ndarray", value) if isinstance(value, np.ndarray) else None


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)


def _size(shape: Any) -> tuple[int, int] | None:
    """(width, height) of (height, width[, ...])."""
    if not isinstance(shape, list | tuple):
        return None
    height, width = (*cast("tuple[Any, ...]", shape), None, None)[:2]
    return (
        (width, height)
        if type(width) is int and type(height) is int and 0 < min(width, height) and max(width, height) < 2**31
        else None
    )


def _show(value: Any) -> str:
    """A value from the file for a message: short, on one line, whatever it is."""
    if isinstance(value, str):
        return ascii(value[:60])
    return str(value) if isinstance(value, int) and abs(value) < 2**63 else type(value).__name__
