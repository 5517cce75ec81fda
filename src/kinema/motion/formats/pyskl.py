"""PySKL and MMAction2 annotations: one pickle that holds a whole data set with its splits.

A dictionary with ``annotations``, a list of dictionaries (``frame_dir``, ``label``, ``keypoint`` (M, T, V, C), for 2-D also
``keypoint_score`` (M, T, V) and ``img_shape`` (height, width)), and ``split``, split name -> list of ``frame_dir``. As PySKL does, a list
of annotations without splits is read too, annotations by name, and ``filename`` for ``frame_dir``.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np

from ...errors import FormatError, UserError
from ..clip import MAX_LABEL, Clip
from ..names import one_form
from ..skeleton import Skeleton
from ..skeletons import COCO17, NTU25
from .image_units import image_units
from .jobs import ClipList, Job, Skipped
from .members import members
from .ntu import parse_name
from .unpickle import MAX_PICKLE, MAX_STEPS, load
from .unpickle_values import Unreadable

MOST = 0.9
"""The share of a file's clips whose units are those of all."""
NAME = re.compile(r"[^.].*\.(?:pkl|pickle)")
"""File names of this format."""
MAX_SPLITS = 100

_KINDS = {(17, 2): (COCO17, "pixels"), (25, 3): (NTU25, "metres")}


def jobs(source: Path) -> list[Job]:
    """One job for each pickle (usually one for a whole data set), named by its path without the suffix."""
    found = [m for m in members(source) if NAME.fullmatch(PurePosixPath(m.name).name)]
    return [Job(PurePosixPath(m.name).with_suffix("").as_posix(), m) for m in found]


def read(job: Job) -> ClipList:
    """All clips of a pickle, in its order: (T, M, 17, 2) pixels (or normalised, see `image_units`) or (T, M, 25, 3) metres, float32.

    Scores of 2-D joints are cut to 0..1 (heat maps go slightly above). meta: name (``frame_dir``), splits (names of those that list
    it), and for NTU RGB+D names what the name says. 30 frames per second, which the format does not store. Labels that are all text
    are names of classes.

    An annotation that is no clip is `Skipped`, and so is one of other joints than most have.

    Raises:
        FormatError: not such a pickle, one that holds anything but data, or none of its annotations is a clip.
    """
    origin = job.member.origin
    value = load(job.member.read(MAX_PICKLE), origin)
    annotations, split = _content(value, origin)
    splits = _splits(split, origin)
    words = _named_labels(annotations)
    found: list[Clip | Skipped] = []
    seen: set[int] = set()
    for number, annotation in enumerate(annotations):
        name = _name(annotation, number)
        try:
            clip = _clip(annotation, name, splits, words, origin, job.units)
            # every clip has arrays of its own, so a file that refers to one array a million times would fill the memory
            keypoint = id(annotation["keypoint"])
            if keypoint in seen:
                raise _BadError("its keypoint is also that of another annotation; write each its own")
            seen.add(keypoint)
            found.append(clip)
        except _BadError as error:
            found.append(Skipped(name, str(error)))
    found = _of_one_skeleton(found)
    return ClipList.some(found if job.units else _of_one_unit(found), origin)


class _BadError(Exception):
    """An annotation is no clip."""


def _content(value: Any, origin: str) -> tuple[list[Any], Any]:
    """The annotations, and the splits."""
    content: dict[str, Any] = {"annotations": value}
    if isinstance(value, dict):
        content = cast("dict[str, Any]", value)
    elif not isinstance(value, list) or not any(isinstance(a, dict) for a in cast("list[Any]", value)):
        content = {}
    annotations: Any = content.get("annotations")
    listed: list[Any] = []
    if isinstance(annotations, dict):  # by name
        for name, one in cast("dict[str, Any]", annotations).items():
            listed.append({"frame_dir": name, **cast("dict[str, Any]", one)} if isinstance(one, dict) else one)
    elif isinstance(annotations, list | tuple):
        listed = [*cast("list[Any]", annotations)]
    if not listed:
        raise FormatError(origin, "no list of annotations; expected a PySKL dictionary with annotations and split")
    split: Any = content.get("split")
    return listed, {} if split is None else split


def _name(annotation: Any, number: int) -> str:
    """What messages call an annotation."""
    name = _frame_dir(annotation)
    return name[:100] if isinstance(name, str) and name.isprintable() and name else f"annotation {number}"


def _frame_dir(annotation: Any) -> Any:
    known = cast("dict[str, Any]", annotation) if isinstance(annotation, dict) else {}
    return known.get("frame_dir", known.get("filename"))


def _named_labels(annotations: list[Any]) -> bool:
    """Whether the labels are names of classes: all text, and not all of them numbers."""
    labels = [cast("dict[str, Any]", a).get("label") for a in annotations if isinstance(a, dict)]
    given = [label for label in labels if label is not None]
    return bool(given) and all(isinstance(v, str) for v in given) and not all(v.strip().isdecimal() for v in given)


def _of_one_skeleton(found: list[Clip | Skipped]) -> list[Clip | Skipped]:
    """The same with the clips of a rarer kind skipped: one store has one skeleton."""
    kinds = Counter(clip.skeleton.name for clip in found if isinstance(clip, Clip))
    if len(kinds) < 2:
        return found
    (most, count), *_ = kinds.most_common()
    return [
        Skipped(
            str(c.meta["name"]), f"keypoints of {c.skeleton.name}; the {count} others are of {most}: one store has one skeleton"
        )
        if isinstance(c, Clip) and c.skeleton.name != most
        else c
        for c in found
    ]


def _of_one_unit(found: list[Clip | Skipped]) -> list[Clip | Skipped]:
    """The same with a few clips in other units taken as the many are: one file was written in one way, and a single clip may look otherwise.

    Where no units are those of nearly all, each clip keeps its own. Shares of an image have no size of it.
    """
    units = Counter(clip.units for clip in found if isinstance(clip, Clip))
    known = None
    if units:
        (most, count), *_ = units.most_common()
        known = most if count >= MOST * units.total() else None
    result: list[Clip | Skipped] = []
    for item in found:
        if isinstance(item, Clip) and (known not in (None, item.units) or item.units == "normalised"):
            new = known or item.units
            item = item.with_(units=new, image_size=item.image_size if new == "pixels" else None)
        result.append(item)
    return result


def _splits(split: Any, origin: str) -> dict[str, list[str]]:
    """For each ``frame_dir`` the names of its splits."""
    splits: dict[str, list[str]] = {}
    if not isinstance(split, dict) or len(cast("dict[str, Any]", split)) > MAX_SPLITS:
        raise FormatError(origin, f"split is not a dictionary of at most {MAX_SPLITS} lists of frame_dir")
    room = 2 * MAX_STEPS
    for key, value in cast("dict[Any, Any]", split).items():
        name, listed = str(key), _names(value)
        if not (name.isprintable() and listed is not None):
            raise FormatError(origin, f"split {_show(name)} is not a list of frame_dir")
        room -= len(listed)
        if room < 0:  # one long list may stand under many names
            raise FormatError(origin, f"the lists of its splits have more than {2 * MAX_STEPS} names in all")
        for sample in dict.fromkeys(one_form(v) for v in listed if isinstance(v, str)):
            splits.setdefault(sample, []).append(name)
    return splits


def _names(value: Any) -> list[Any] | None:
    """The names of a split: of a list, a tuple, a set or an array of text."""
    if isinstance(value, list | tuple | set):
        return list(cast("list[Any]", value))
    array = _array(value)
    return array.reshape(-1).tolist() if array is not None and array.dtype.kind == "U" else None


def _clip(annotation: Any, shown: str, splits: dict[str, list[str]], words: bool, origin: str, said: str | None) -> Clip:
    if not isinstance(annotation, dict):
        raise _BadError(f"{_show(annotation)} instead of a dictionary with frame_dir, label and keypoint")
    known = cast("dict[str, Any]", annotation)
    name = _frame_dir(known)
    if name is None and not splits:
        name = shown  # nothing refers to it
    if not (isinstance(name, str) and name.isprintable()):
        raise _BadError(f"frame_dir is {'missing' if name is None else 'not a name'}, so no split can list it")
    name = one_form(name)
    keypoint, skeleton, units = _keypoint(known.get("keypoint"), "keypoint" in known)
    frames = keypoint.shape[1]
    total = _single(known.get("total_frames"))
    if total is not None and total != frames:
        raise _BadError(f"total_frames is {_show(total)}, but keypoint has {frames}")
    confidence = _score(known.get("keypoint_score"), keypoint.shape[:3])
    label, label_name = _label(known.get("label"), words)
    positions = _float32(keypoint.swapaxes(0, 1))
    if units == "pixels" and said is not None:
        units = said
    elif units == "pixels" and np.isfinite(positions).all():
        units = image_units(positions, np.ones(positions.shape[:3], bool) if confidence is None else confidence > 0, skeleton)
    stem = PurePosixPath(name).name
    sample = parse_name(stem)
    fields: dict[str, Any] = sample.clip_fields(stem) if sample else {"meta": {}}
    if sample is None or fields["label"] != label:  # a subset with classes of its own
        fields["label_name"] = label_name
    fields |= {"label": label, "meta": {**fields["meta"], "name": name, "splits": splits.get(name, [])}}
    if skeleton is COCO17:
        fields["image_size"] = _size(known.get("img_shape", known.get("original_shape")))
    try:
        return Clip(positions, skeleton, confidence=confidence, units=units, source=f"{origin}#{name}", **fields)
    except UserError as error:
        raise _BadError(str(error).removeprefix(f"{origin}#{name}: ")) from None


def _keypoint(value: Any, there: bool) -> tuple[np.ndarray, Skeleton, str]:
    """(M, T, V, C) numbers, of which joints they are, and in which units."""
    keypoint = _array(value)
    kind = _KINDS.get(keypoint.shape[2:]) if keypoint is not None and keypoint.ndim == 4 else None
    if keypoint is None or kind is None or keypoint.dtype.kind not in "fiu":
        none = value.what if isinstance(value, Unreadable) else "no array"
        found = none if keypoint is None else f"{keypoint.dtype} {keypoint.shape}"
        expected = "expected (people, frames, 17, 2) or (people, frames, 25, 3) numbers"
        raise _BadError(f"keypoint is {found}; {expected}" if there else f"no keypoint; {expected}")
    if keypoint.shape[0] < 1:
        raise _BadError(f"nobody is in it: keypoint is {keypoint.shape}")
    return keypoint, *kind


def _score(value: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """(T, M, V) confidences, if there are any."""
    if value is None:
        return None
    score = _array(value)
    if score is not None and score.shape == (*shape, 1):
        score = score[..., 0]
    if score is None or score.shape != shape or score.dtype.kind not in "fiub" or not np.isfinite(score).all():
        raise _BadError(f"keypoint_score is not finite numbers {shape}")
    return _float32(score.swapaxes(0, 1)).clip(0, 1)


def _label(value: Any, words: bool) -> tuple[int | None, str | None]:
    """A class from 0, or the name of one, or neither."""
    if words and isinstance(value, str) and value.isprintable() and value.strip():
        return None, value.strip()
    value = _single(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal() and len(value) < 10:
        value = int(value)
    if value is not None and not (type(value) is int and 0 <= value <= MAX_LABEL):
        raise _BadError(f"label {_show(value)}; expected a class from 0 to {MAX_LABEL}, or none")
    return value, None


def _single(value: Any) -> Any:
    """The value that an array or a list of one holds; all else as it is, but no array, which compares with nothing."""
    array = _array(value)
    if array is not None:
        return array.reshape(-1)[0].item() if array.size == 1 else array.shape
    if isinstance(value, list | tuple):
        listed = [*cast("list[Any]", value)]
        return listed[0] if len(listed) == 1 and _array(listed[0]) is None else listed
    return value


def _array(value: Any) -> np.ndarray | None:
    return cast("np.ndarray", value) if isinstance(value, np.ndarray) else None


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)


def _size(shape: Any) -> tuple[int, int] | None:
    """(width, height) of (height, width[, ...]); None where it is not two whole numbers."""
    array = _array(shape)
    sides: Any = array.tolist() if array is not None and array.ndim == 1 else shape
    two = [*cast("list[Any]", sides)][:2] if isinstance(sides, list | tuple) else []
    whole = [int(n) for n in two if type(n) in (int, float) and 0 < n < 2**31 and n == int(n)]
    return (whole[1], whole[0]) if len(whole) == 2 else None


def _show(value: Any) -> str:
    """A value from the file for a message: short, on one line, whatever it is."""
    if isinstance(value, str):
        return ascii(value[:60])
    if isinstance(value, Unreadable):
        return value.what
    return str(value) if isinstance(value, int) and abs(value) < 2**63 else type(value).__name__
