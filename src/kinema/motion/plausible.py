"""What the people of a clip seem to be like: how large, which way up, whether their bones keep their length. Medians throughout."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .clip import Clip
from .landmarks import groups, place
from .skeleton import Skeleton

MOST_FRAMES = 32
"""Frames of a clip that are looked at, evenly spaced."""
BONE_ROWS = 32
"""People of frames whose bones are kept."""
UPRIGHT = (
    ("head", "foot"),
    ("neck", "foot"),
    ("shoulder", "foot"),
    ("head", "hip"),
    ("neck", "hip"),
    ("shoulder", "hip"),
    ("hip", "foot"),
    ("head", "shoulder"),
)
"""(upper, lower) places whose direction is up in somebody who stands, the surest first."""


@dataclass(frozen=True)
class Measures:
    """Of one clip. What cannot be told is None.

    Attributes:
        span: twice the distance from the middle of a person within which nine tenths of the joints are; a little more than the height of
            somebody who stands.
        bone: length of a bone. bones: `(frames, bones)` lengths of each as parts of `bone`, NaN where it is not there.
        up: `(C,)` mean of the directions from feet to head (or as `UPRIGHT` says), each of length 1: short where they differ.
        longest: axis along which people are longest, from 0, and how many times longer than along the next.
        mirrored: share of the frames in which toes (or the nose) point backwards by the names of left and right.
        shoulders: distance of the shoulders.
        farthest: a large coordinate, of which only one in a hundred is larger.
        origin: the joint that is at 0 in all frames, while the joints around it are not.
        third: lowest and highest third coordinate (without the outermost hundredths) and the median distance of the other two from 0.
    """

    span: float | None = None
    bone: float | None = None
    bones: np.ndarray | None = None
    up: np.ndarray | None = None
    longest: tuple[int, float] | None = None
    mirrored: float | None = None
    shoulders: float | None = None
    farthest: float | None = None
    origin: int | None = None
    third: tuple[float, float, float] | None = None


def measures(clip: Clip) -> Measures:
    """What `clip` seems to hold. Joints at zero, or with confidence 0, are not looked at."""
    frames = np.unique(np.linspace(0, clip.frames - 1, min(clip.frames, MOST_FRAMES)).astype(np.int64))
    there = (clip.positions[frames] != 0).any(-1)
    if clip.confidence is not None:
        there &= clip.confidence[frames] > 0
    # people of frames as rows: (N, J, C)
    joints = clip.positions[frames].reshape(-1, *clip.positions.shape[2:]).astype(np.float64)
    there = there.reshape(-1, there.shape[-1])
    enough = there.sum(1) >= min(3, there.shape[1])
    joints, there = joints[enough], there[enough]
    if not len(joints):
        return Measures()
    known = np.where(there[..., None], joints, np.nan)
    middle = np.nanmedian(known, axis=1, keepdims=True)
    reach = np.linalg.norm(known - middle, axis=-1)
    span = 2 * float(np.median(np.nanquantile(reach, 0.9, axis=1)))
    sides = np.median(np.nanquantile(np.abs(known - middle), 0.9, axis=1), axis=0)
    most, next_to = np.sort(sides)[::-1][:2]
    lengths = _lengths(known, clip.skeleton)
    bone = None if lengths is None else float(np.nanmedian(lengths))
    third = None
    if joints.shape[-1] == 3:
        low, high = np.quantile(joints[there][:, 2], (0.01, 0.99))
        third = float(low), float(high), float(np.median(np.abs(joints[there][:, :2]).max(-1)))
    return Measures(
        span=span,
        bone=bone,
        bones=lengths[:: max(1, len(lengths) // BONE_ROWS)] / bone if lengths is not None and bone else None,
        up=_up(known, clip.skeleton),
        longest=(int(sides.argmax()), float(most / next_to)) if next_to > 0 else None,
        mirrored=_mirrored(known, clip.skeleton),
        shoulders=_apart(known, clip.skeleton, "shoulder"),
        farthest=float(np.quantile(np.abs(joints[there]), 0.99)),
        origin=_origin(joints, clip) if clip.confidence is None else None,
        third=third,
    )


@dataclass(frozen=True)
class _Named:
    """Indices of joints by what their names say."""

    groups: dict[str, tuple[int, ...]]
    left: dict[str, tuple[int, ...]]
    right: dict[str, tuple[int, ...]]
    feet: tuple[tuple[int, int], ...]  # (toe, ankle) of one side each


@lru_cache(maxsize=64)
def _named(joints: tuple[str, ...]) -> _Named:
    places = [place(name) for name in joints]
    sided = {
        side: {g: tuple(i for i in found if places[i].side == side) for g, found in groups(joints).items()}
        for side in ("left", "right")
    }
    feet: list[tuple[int, int]] = []
    for side in ("left", "right"):
        own = sided[side].get("foot", ())
        toes = [i for i in own if places[i].toe] or [i for i in own if not places[i].ankle]
        ankles = [i for i in own if places[i].ankle] or [i for i in own if i not in toes]
        feet += [(toe, ankle) for toe in toes[:1] for ankle in ankles[:1]]
    return _Named({g: tuple(v) for g, v in groups(joints).items()}, sided["left"], sided["right"], tuple(feet))


def _mean(known: np.ndarray, joints: tuple[int, ...]) -> np.ndarray:
    """`(N, C)` middle of some joints; NaN where one of them is not there."""
    return known[:, list(joints)].mean(1) if joints else np.full(known[:, 0].shape, np.nan)


def _units(vectors: np.ndarray) -> np.ndarray:
    """Vectors `(N, C)` of length 1, those that are known and not of no length."""
    length = np.linalg.norm(vectors, axis=-1)
    good = np.isfinite(length) & (length > 0)
    return vectors[good] / length[good, None]


def _up(known: np.ndarray, skeleton: Skeleton) -> np.ndarray | None:
    named = _named(skeleton.joints).groups
    for upper, lower in UPRIGHT:
        if upper in named and lower in named:
            directions = _units(_some(known, named[upper]) - _some(known, named[lower]))
            if 2 * len(directions) >= len(known):
                return directions.mean(0)
    return None


def _some(known: np.ndarray, joints: tuple[int, ...]) -> np.ndarray:
    """`(N, C)` median of those of some joints that are there; NaN where none is."""
    chosen = known[:, list(joints)]
    result = np.full(chosen[:, 0].shape, np.nan)
    there = np.isfinite(chosen[..., 0]).any(1)
    result[there] = np.nanmedian(chosen[there], axis=1)
    return result


def _mirrored(known: np.ndarray, skeleton: Skeleton) -> float | None:
    """Right, up and backwards are three axes of a right-handed world, whichever way somebody stands in it."""
    named = _named(skeleton.joints)
    side = next((g for g in ("hip", "shoulder") if named.left.get(g) and named.right.get(g)), None)
    if known.shape[-1] != 3 or side is None or not named.feet or not named.groups.get("hip"):
        return None
    right = _mean(known, named.right[side]) - _mean(known, named.left[side])
    toes, ankles = (_mean(known, tuple(foot[i] for foot in named.feet)) for i in (0, 1))
    up = _some(known, named.groups["hip"]) - ankles
    three = np.stack([right, up, ankles - toes], 1)
    length = np.linalg.norm(three, axis=-1, keepdims=True)
    good = np.isfinite(length).all((1, 2)) & (length > 0).all((1, 2))
    volume = np.linalg.det(three[good] / length[good])
    sure = np.abs(volume) > 0.3
    return float((volume[sure] < 0).mean()) if 2 * sure.sum() >= len(known) else None


def _lengths(known: np.ndarray, skeleton: Skeleton) -> np.ndarray | None:
    """`(N, bones)`, NaN where an end is not there."""
    edges = skeleton.edges()
    if not edges:
        return None
    child, parent = (list(side) for side in zip(*edges, strict=True))
    lengths = np.linalg.norm(known[:, child] - known[:, parent], axis=-1)
    return lengths if np.isfinite(lengths).any() else None


def _origin(joints: np.ndarray, clip: Clip) -> int | None:
    """The joint at 0 of `(N, J, C)`; None if none is, or several are, which may be those that the data does not have."""
    gone = np.flatnonzero((joints == 0).all((0, 2)))
    return int(gone[0]) if len(gone) == 1 and clip.skeleton.parents[gone[0]] < 0 else None


def _apart(known: np.ndarray, skeleton: Skeleton, group: str) -> float | None:
    named = _named(skeleton.joints)
    if not (named.left.get(group) and named.right.get(group)):
        return None
    apart = np.linalg.norm(_mean(known, named.left[group]) - _mean(known, named.right[group]), axis=-1)
    return float(np.nanmedian(apart)) if np.isfinite(apart).any() else None
