"""Which lines draw a person: shoulders, hips and torso as a body has them, whatever tree the joints hang in.

The tree of a pose estimator's skeleton often hangs the shoulders from the nose. Drawn as it is, that is a tent over a head. So what is
drawn is the tree without lines between a face and a limb, and with the lines of the trunk that the tree does not have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .skeleton import Skeleton

_FACE = frozenset("head nose eye eyes ear ears mouth lip face jaw chin skull brow eyebrow forehead pupil".split())
"""Words of joints above the neck."""
_CHEST = frozenset("neck collar clavicle chest thorax sternum spine".split())
"""Words of joints that lie between the shoulders."""
_PELVIS = frozenset("pelvis hips root base waist sacrum".split())
"""Words of joints that lie between the hips."""
_LEFT, _RIGHT = ("left", "l"), ("right", "r")
_KNOWN = ("shoulder", "hip", *sorted(_FACE))


@dataclass(frozen=True)
class Outline:
    """How to draw the `J` joints of a skeleton, and `V` more points that stand between two joints.

    Attributes:
        middles: the two joints of each further point, which is number `J + i`.
        lines: (from, to, side): points, and 1 left, 2 right, 0 neither.
        sides: `J`, for each joint 1 left, 2 right, 0 neither.
        head: joints in whose middle the head is; empty where there is none.
        shoulders, hips: the left and the right one, if there are both.
    """

    middles: tuple[tuple[int, int], ...]
    lines: tuple[tuple[int, int, int], ...]
    sides: tuple[int, ...]
    head: tuple[int, ...]
    shoulders: tuple[int, int] | None
    hips: tuple[int, int] | None

    def points(self, joints: np.ndarray) -> np.ndarray:
        """`(..., J, C)` -> `(..., J + V, C)`, with the middles."""
        if not self.middles:
            return joints
        left, right = (list(side) for side in zip(*self.middles, strict=True))
        return np.concatenate([joints, (joints[..., left, :] + joints[..., right, :]) / 2], axis=-2)

    def seen(self, joints: np.ndarray) -> np.ndarray:
        """`(..., J)` how much of a joint is seen (bool, or a confidence) -> `(..., J + V)`: of a middle what is seen of both."""
        if not self.middles:
            return joints
        left, right = (list(side) for side in zip(*self.middles, strict=True))
        return np.concatenate([joints, np.minimum(joints[..., left], joints[..., right])], axis=-1)


@lru_cache(maxsize=64)
def outline(skeleton: Skeleton) -> Outline:
    """The outline of a skeleton. Shoulders, hips and face are known by their names; where there are none, the tree is drawn."""
    words = [_words(name) for name in skeleton.joints]
    sides = _sides(skeleton)
    shoulders, hips = (_both(skeleton, words, sides, part) for part in ("shoulder", "hip"))
    face = {j for j, w in enumerate(words) if w & _FACE and not w & _CHEST}
    trunk = {j for pair in (shoulders, hips) if pair for j in pair}
    cut = [line for line in skeleton.edges() if face & set(line) and trunk & set(line)]
    lines = [line for line in skeleton.edges() if line not in cut]
    middles: list[tuple[int, int]] = []
    if shoulders:
        midline = {j for j, side in enumerate(sides) if not side}
        if not _joined(shoulders, lines, {j for j, w in enumerate(words) if w & _CHEST or (j in midline and "shoulder" in w)}):
            lines.append(shoulders)
        if hips and not _joined(hips, lines, {j for j in midline if words[j] & {*_PELVIS, "hip"}}):
            lines.append(hips)
        if hips and hips[0] not in _reached(shoulders[0], lines):
            lines += zip(shoulders, hips, strict=True)
        top = next((j for word in ("nose", "head") for j in sorted(face) if word in words[j]), min(face, default=None))
        if top is not None and top not in _reached(shoulders[0], lines):
            middles.append(shoulders)  # where the neck begins
            lines.append((top, len(skeleton)))
        for j in (j for line in cut for j in line if j in face):  # ears that hung from the shoulders
            if top is not None and j not in _reached(top, lines) | _reached(shoulders[0], lines):
                lines.append((j, top))
    coloured = tuple((a, b, _side(sides, a, b)) for a, b in lines)
    return Outline(tuple(middles), coloured, sides, _head(words, face), shoulders, hips)


def _words(name: str) -> frozenset[str]:
    """The words of a joint's name: ``left_eye_inner``, ``LeftEyeInner`` and ``left eye (inner)`` have the same."""
    parted = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    found = {w for w in re.split(r"[^a-z]+", parted.lower()) if w}
    return frozenset(found | {_stem(w) for w in found})


def _stem(word: str) -> str:
    """``lshoulder`` and ``leftshoulder`` are shoulders."""
    for side in (*_LEFT, *_RIGHT):
        if word.startswith(side) and word[len(side) :] in _KNOWN:
            return word[len(side) :]
    return word


def _sides(skeleton: Skeleton) -> tuple[int, ...]:
    """Left and right as the skeleton says; where it says nothing, as the names do."""
    side = [0] * len(skeleton)
    for left, right in skeleton.pairs:
        side[skeleton.index(left)], side[skeleton.index(right)] = 1, 2
    if not skeleton.pairs:
        for j, name in enumerate(skeleton.joints):
            words = _words(name)
            own = {w[: -len(_stem(w))] for w in words if _stem(w) != w} | words
            side[j] = 1 if own & set(_LEFT) else 2 if own & set(_RIGHT) else 0
    return tuple(side)


def _both(skeleton: Skeleton, words: list[frozenset[str]], sides: tuple[int, ...], part: str) -> tuple[int, int] | None:
    """The left and the right joint of a part, if each side has one."""
    found = [[j for j, w in enumerate(words) if part in w and sides[j] == side] for side in (1, 2)]
    return (found[0][0], found[1][0]) if found[0] and found[1] else None


def _joined(pair: tuple[int, int], lines: Iterable[tuple[int, int]], through: set[int]) -> bool:
    """Whether the two are joined by a line, or over joints that lie between them."""
    inner = {*through, *pair}
    return pair[1] in _reached(pair[0], [line for line in lines if inner >= set(line)])


def _reached(start: int, lines: Iterable[tuple[int, int]]) -> set[int]:
    """All points that hang together with one."""
    lines, found = list(lines), {start}
    while more := {p for line in lines if found & set(line) for p in line} - found:
        found |= more
    return found


def _side(sides: tuple[int, ...], a: int, b: int) -> int:
    """Of a line: of what hangs from its end; a line across the body has none."""
    ends = {sides[j] if j < len(sides) else 0 for j in (a, b)}
    return 0 if {1, 2} <= ends else max(ends)


def _head(words: list[frozenset[str]], face: set[int]) -> tuple[int, ...]:
    """The joint called head, else nose and ears; none where the points of a face draw one."""
    if sum("face" in words[j] for j in face) > 3:
        return ()
    called = [[j for j in sorted(face) if word in words[j]] for word in ("head", "nose", "ear")]
    return tuple(called[0][:1] or called[1][:1] + called[2][:2])
