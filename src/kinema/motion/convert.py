"""From one skeleton to another by the names of joints, with what is missing left missing.

Nothing is estimated: a joint that the source does not have is absent in the result (zero, with confidence 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..errors import UserError
from .clip import Clip
from .keypoints import HAND, HAND21
from .skeleton import Skeleton
from .skeletons import SKELETONS

SAME = (
    ("left_foot_index", "left_big_toe"),
    ("right_foot_index", "right_big_toe"),
    ("left_mouth", "face_54"),
    ("right_mouth", "face_48"),
)
"""Joints that two pose estimators name differently and that lie at the same place."""
_ALIAS = {a: b for pair in SAME for a, b in (pair, pair[::-1])}


def convert(clip: Clip, to: Skeleton) -> Clip:
    """`(T, M, J, C)` -> `(T, M, J of to, C)`: every joint of `to` that the clip has, by name or as `SAME` says.

    All else stays, but for rotations and offsets, which belong to the old tree and are dropped. A clip of one hand (`HAND21`) becomes
    the hand that its `meta` names.

    Args:
        clip: any.
        to: the skeleton wanted; for one hand see `hand`.

    Raises:
        UserError: no joint in common, or one hand of unknown side.
    """
    if clip.skeleton == to:
        return clip
    if to == HAND21:
        raise UserError(f"{clip.source or 'clip'}: {to.name} is one hand; choose it with kinema.motion.convert.hand(clip, 'left')")
    return _chosen(clip, [_source(joint, _names(clip)) for joint in to.joints], to)


def hand(clip: Clip, side: Literal["left", "right"]) -> Clip:
    """One hand of a clip, `(T, M, 21, C)` of `HAND21`; `meta` then says which. Absent where the hand was not found.

    Raises:
        UserError: the clip's skeleton has no such hand, or `side` is neither.
    """
    if side not in ("left", "right"):
        raise UserError(f"hand {side!r}; expected left or right")
    chosen = _chosen(clip, [_source(f"{side}_{joint}", _names(clip)) for joint in HAND], HAND21)
    return chosen.with_(meta={**clip.meta, "hand": side})


def common(skeletons: Sequence[Skeleton]) -> Skeleton | None:
    """The known skeleton with the most joints of which each of these has all; None if there is none, as with one hand alone."""
    names = [{joint: i for i, joint in enumerate(s.joints)} for s in skeletons]
    fitting = [s for s in SKELETONS.values() if s != HAND21 and all(_source(j, n) is not None for n in names for j in s.joints)]
    return max(fitting, key=len, default=None)


def _names(clip: Clip) -> dict[str, int]:
    """The clip's joints by their names within a whole person."""
    joints = clip.skeleton.joints
    if clip.skeleton == HAND21:
        side = clip.meta.get("hand")
        if side not in ("left", "right"):
            raise UserError(f"{clip.source or 'clip'}: which hand is it? Its meta must say hand: left or right")
        joints = tuple(f"{side}_{joint}" for joint in joints)
    return {joint: i for i, joint in enumerate(joints)}


def _source(joint: str, names: dict[str, int]) -> int | None:
    """The index of a joint, or of the one that is the same."""
    return names.get(joint, names.get(_ALIAS.get(joint, "")))


def _chosen(clip: Clip, sources: list[int | None], to: Skeleton) -> Clip:
    """The clip with other joints: for each joint of `to` the index it comes from."""
    targets = [i for i, source in enumerate(sources) if source is not None]
    taken = [source for source in sources if source is not None]
    if not taken:
        raise UserError(
            f"{clip.source or 'clip'}: {clip.skeleton.name} has no joint of {to.name}, so it cannot be converted; "
            f"it has {', '.join(clip.skeleton.joints[:4])}, ..., and {to.joints[0]}, ... is wanted"
        )
    frames, people, _, coordinates = clip.positions.shape
    positions = np.zeros((frames, people, len(to), coordinates), np.float32)
    positions[:, :, targets] = clip.positions[:, :, taken]
    confidence = clip.confidence
    if confidence is not None or len(taken) < len(to):
        known = np.any(clip.positions != 0, axis=-1).astype(np.float32) if confidence is None else confidence
        confidence = np.zeros((frames, people, len(to)), np.float32)
        confidence[:, :, targets] = known[:, :, taken]
    return clip.with_(positions=positions, confidence=confidence, skeleton=to, rotations=None, offsets=None)
