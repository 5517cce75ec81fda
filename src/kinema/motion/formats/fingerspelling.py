"""A lexicon of signed letters in one ``.npz``: the frames of all clips one after another, and what each clip is.

`xy` `(F, 49, 2)` pixels and `confidence` `(F, 49)` with the joints of `SIGN49`; for each of `N` clips `length` (frames; they add up to
`F`), `letter`, `language` (ISO 639-3), `fps`, `size` (width, height) and `name`.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from ...errors import FormatError
from ..clip import Clip
from ..keypoints import SIGN49
from .estimates import check_shape, estimated
from .jobs import Job
from .members import Member, members
from .npz import read_arrays

NAME = re.compile(r"fingerspelling[^/]*\.npz")
"""File names of this format."""
CLASSES = tuple(string.ascii_uppercase)
"""Letters that have a label; other letters are read without one."""
LANGUAGES = tuple("ase asq bzs cse csq eso gsg ise lls mfs psr sgg ssp svk swl tsm".split())
"""Languages that have clips of `CLASSES`, sorted."""
FOLDS = 4
MAX_FILE = 64 * 2**20
"""Largest file that is read, bytes; the lexicon has 4 MB."""
_PER_CLIP = {"length": "iu", "letter": "U", "language": "U", "fps": "f", "size": "iu", "name": "U"}


def letter_of(name: str) -> str:
    """The letter of a clip by its name in a store, ``A/ase/...``."""
    return name.partition("/")[0]


def jobs(source: Path) -> list[Job]:
    """One job for each clip, named by letter, language and its name in the lexicon; context: its place, where its frames begin, and what
    is wrong with its name.

    Raises:
        FormatError: not such a file.
    """
    result: list[Job] = []
    for member in (m for m in members(source) if NAME.fullmatch(m.file)):
        table = _table(member)
        starts = np.concatenate([[0], np.cumsum(table["length"])])
        names = [
            f"{letter}/{language}/{PurePosixPath(str(name)).name.removesuffix('.pose')}"
            for letter, language, name in zip(table["letter"], table["language"], table["name"], strict=True)
        ]
        seen: set[str] = set()
        for i, name in enumerate(names):
            plain = name.isprintable() and "\\" not in name and ".." not in name
            bad = (
                "its name is that of a clip before; rename one" if name in seen else None if plain else "its name is not plain text"
            )
            seen.add(name)
            result.append(Job(name, member, (i, int(starts[i]), bad)))
    return result


def read(job: Job) -> list[Clip]:
    """One signed letter, `(T, 1, 49, 2)` pixels with confidence.

    `label` is the place in the alphabet for A to Z, None for other letters. Who signs is not known; `subject` is the language, so
    that clips to choose by are whole languages as well. meta: language, name.

    Raises:
        FormatError: not such a file, or this clip of it is damaged.
    """
    origin = job.member.origin
    table = _table(job.member)
    i, start, bad = job.context
    if bad is not None:
        raise FormatError(f"{origin}, clip {i}", bad)
    fps = float(table["fps"][i])
    if not 0 < fps < np.inf:
        raise FormatError(f"{origin}, clip {i}", f"fps {fps}; expected a number above 0")
    frames = slice(start, start + int(table["length"][i]))
    letter, language = str(table["letter"][i]), str(table["language"][i])
    width, height = (int(n) for n in table["size"][i])
    clip = estimated(
        table["xy"][frames, None],
        table["confidence"][frames, None],
        SIGN49,
        fps,
        f"{origin}, clip {i}",
        (width, height),
        job.units,
        label=CLASSES.index(letter) if letter in CLASSES else None,
        label_name=letter,
        subject=language,
        meta={"language": language, "name": str(table["name"][i])},
    )
    return [clip.with_(source=f"{origin}#{job.name}")]


def _table(member: Member) -> dict[str, np.ndarray]:
    return _loaded(member, member.changed())


@lru_cache(maxsize=1)
def _loaded(member: Member, changed: int) -> dict[str, np.ndarray]:
    """The checked arrays of a file, kept because every clip of it asks for them."""
    origin = member.origin
    table = read_arrays(member.read(MAX_FILE), origin)
    missing = [n for n in ("xy", "confidence", *_PER_CLIP) if n not in table]
    if missing:
        raise FormatError(origin, f"no {', '.join(missing)} inside; expected a lexicon of signed letters")
    count, joints = table["length"].size, len(SIGN49)
    for name, kinds in _PER_CLIP.items():
        shape = (count, 2) if name == "size" else (count,)
        if table[name].shape != shape or table[name].dtype.kind not in kinds:
            raise FormatError(origin, f"{name} is {table[name].dtype} {table[name].shape}; expected {shape}, a row a clip")
    lengths = table["length"].astype(np.int64)
    total = len(table["xy"]) if table["xy"].ndim else 0
    if count < 1 or lengths.min() < 0 or lengths.max() > total or int(lengths.sum()) != total:
        raise FormatError(origin, f"length does not add up to the {total} frames of xy")
    check_shape(total, 1, joints, origin)
    for name, shape in (("xy", (total, joints, 2)), ("confidence", (total, joints))):
        if table[name].shape != shape or table[name].dtype.kind != "f":
            raise FormatError(origin, f"{name} is {table[name].dtype} {table[name].shape}; expected float {shape}")
    return {**table, "length": lengths}
