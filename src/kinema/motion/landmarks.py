"""Where on a person a joint is, by its name, in the spellings of the common skeletons.

``LeftUpLeg``, ``left_hip``, ``L_Hip``, ``hip.L``, ``mixamorig:LeftUpLeg``, ``HipLeft``, ``lhipjoint`` and ``LASI`` are all at the hip. A
name that means different places in different data (CMU's ``lfemur``) means none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

GROUPS: dict[str, tuple[str, ...]] = {
    "head": (
        "head",
        "headtop",
        "headend",
        "topofhead",
        "skull",
        "nose",
        "eye",
        "ear",
        "chin",
        "jaw",
        "face",
        "forehead",
        "fhd",
        "bhd",
    ),
    "neck": ("neck", "upperneck", "lowerneck", "spineshoulder", "shouldercenter", "shouldercentre", "thorax", "chest", "clav"),
    "shoulder": ("shoulder", "shldr", "sho", "collar", "clavicle", "scapula"),
    "hip": (
        "hip",
        "hips",
        "pelvis",
        "hipcenter",
        "hipcentre",
        "midhip",
        "spinebase",
        "hipjoint",
        "upleg",
        "upperleg",
        "thigh",
        "asi",
        "psi",
    ),
    "foot": ("foot", "feet", "ankle", "heel", "toe", "toes", "toebase", "bigtoe", "smalltoe", "footindex", "ball", "ank", "hee"),
    "hand": ("wrist", "hand", "palm", "thumb", "index", "middle", "ring", "little", "pinky", "finger"),
}
"""Place -> words that name it."""
_TOES = ("toe", "toes", "toebase", "bigtoe", "smalltoe", "footindex", "ball")
_ANKLES = ("ankle", "heel", "ank", "hee")
_SIDES = {"left": "left", "l": "left", "lft": "left", "right": "right", "r": "right", "rgt": "right", "rt": "right", "lt": "left"}
# parts of a name that say nothing of the place; numbers too
_FILL = {
    "joint",
    "jnt",
    "j",
    "bone",
    "end",
    "site",
    "endsite",
    "base",
    "tip",
    "mixamorig",
    "bip",
    "bip01",
    "def",
    "org",
    "inner",
    "outer",
}


@dataclass(frozen=True)
class Place:
    """Where a joint is: one of `GROUPS` (or None), left or right (or None), and what of a foot."""

    group: str | None
    side: str | None
    toe: bool = False
    ankle: bool = False


def place(name: str) -> Place:
    """The place of a joint by its name."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    words = [w for w in re.split(r"[^A-Za-z0-9]+", spaced.lower()) if w]
    side = next((_SIDES[w] for w in words if w in _SIDES), None)
    words = [re.sub(r"(?<=[a-z])\d+$", "", w) or w for w in words if w not in _SIDES and not w.isdigit()]
    rest = [w for w in words if w not in _FILL] or words
    for word in dict.fromkeys(("".join(rest), "".join(words), *rest)):
        for stem, found in ((word, side), *_with_side(word)):
            group = next((g for g, known in GROUPS.items() if stem in known), None)
            if group is not None:
                return Place(group, side or found, stem in _TOES, stem in _ANKLES)
    return Place(None, side)


def _with_side(word: str) -> list[tuple[str, str]]:
    """A word without the side that is written into it: ``lfoot``, ``footleft``, ``leftfoot``."""
    pairs = (("left", "left"), ("right", "right"), ("l", "left"), ("r", "right"))
    found = [(word.removeprefix(p), s) for p, s in pairs if word.startswith(p) and len(word) > len(p) + 2]
    return found + [(word.removesuffix(p), s) for p, s in pairs[:2] if word.endswith(p) and len(word) > len(p) + 2]


def groups(joints: Sequence[str]) -> dict[str, list[int]]:
    """Place -> the indices of the joints that are there; places without any are left out."""
    result: dict[str, list[int]] = {}
    for i, name in enumerate(joints):
        group = place(name).group
        if group is not None:
            result.setdefault(group, []).append(i)
    return result
