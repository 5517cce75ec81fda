"""The skeletons of 2-D pose estimators: body, hands and face as COCO, COCO-WholeBody, MediaPipe and OpenPose order them.

The same joint has the same name in all of them, which is what `convert` goes by. A hand has 21 joints: its root at the wrist, then
thumb, index, middle, ring and little finger with four joints each, base to tip. The wrist of the body (``left_wrist``) and the root
of the hand (``left_hand_root``) are found by different networks and are two joints.

Face points ``face_0`` to ``face_67`` are the 68 of the iBUG scheme, from the person's right ear along the jaw; OpenPose adds the
pupils, ``face_68`` (right) and ``face_69``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from .skeleton import Skeleton

Rows = list[tuple[str, str]]
"""(joint, parent) in storage order; the parent of a root is ``-``."""

FINGERS = ("thumb", "index", "middle", "ring", "little")
HAND = ("hand_root", *(f"{finger}{i}" for finger in FINGERS for i in range(1, 5)))
"""Joints of a hand; within a person each has ``left_`` or ``right_`` before it."""

_ARM = ("shoulder", "elbow", "wrist", "pinky_knuckle", "index_knuckle", "thumb_knuckle")
_LEG = ("hip", "knee", "ankle", "heel", "foot_index", "big_toe", "small_toe")
_LIMBS = {"arm": _ARM, "leg": _LEG, "hand": HAND}


def _hand(prefix: str = "", root_parent: str = "-") -> Rows:
    rows = [(prefix + HAND[0], root_parent)]
    for finger in FINGERS:
        chain = [HAND[0], *(f"{finger}{i}" for i in range(1, 5))]
        rows += [(prefix + child, prefix + parent) for parent, child in pairwise(chain)]
    return rows


_HANDS: Rows = _hand("left_", "left_wrist") + _hand("right_", "right_wrist")


def _rows(table: str) -> Rows:
    pairs = (line.split() for line in table.strip().splitlines())
    return [(joint, parent) for joint, parent in pairs]


def _face_parents(pupils: bool) -> Rows:
    """The face as a tree that can be drawn: from the nose to brows, eyes and lips, and from the lower lip to the jaw."""
    chains = (
        ("nose", (30, 29, 28, 27)),  # bridge
        (30, (33, 32, 31)),
        (33, (34, 35)),
        (27, (21, 20, 19, 18, 17)),  # brows
        (27, (22, 23, 24, 25, 26)),
        (27, (39, 38, 37, 36)),  # eyes, from the inner corner along the upper lid, then along the lower one
        (27, (42, 43, 44, 45)),
        (39, (40, 41)),
        (42, (47, 46)),
        (33, (51, 50, 49, 48)),  # lips, outside and inside
        (51, (52, 53, 54)),
        (48, (59, 58, 57)),
        (54, (55, 56)),
        (51, (62, 61, 60)),
        (62, (63, 64)),
        (60, (67, 66)),
        (64, (65,)),
        (57, (8, 7, 6, 5, 4, 3, 2, 1, 0)),  # jaw
        (8, (9, 10, 11, 12, 13, 14, 15, 16)),
        *((((39, (68,)), (42, (69,)))) if pupils else ()),
    )
    parent: dict[int, str] = {}
    for start, chain in chains:
        before = start if isinstance(start, str) else f"face_{start}"
        for point in chain:
            parent[point] = before
            before = f"face_{point}"
    return [(f"face_{point}", parent[point]) for point in sorted(parent)]


# right -> left: jaw, brows, nostrils, eyes, outer and inner lips, pupils
_FACE_MIRROR: dict[int, int] = {
    **{i: 16 - i for i in range(8)},
    **{17 + i: 26 - i for i in range(5)},
    **{31: 35, 32: 34, 36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46},
    **{48: 54, 49: 53, 50: 52, 58: 56, 59: 55, 60: 64, 61: 63, 67: 65, 68: 69},
}


def _pairs(joints: Sequence[str]) -> tuple[tuple[str, str], ...]:
    named = [(j, "right_" + j[5:]) for j in joints if j.startswith("left_") and "right_" + j[5:] in joints]
    face = [(f"face_{left}", f"face_{right}") for right, left in _FACE_MIRROR.items() if f"face_{left}" in joints]
    return (*named, *face)


def _parts(joints: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Torso with the head, limbs, hands and face by joint name; what a layout does not have is left out."""
    if joints[0] == HAND[0]:
        return {"hand": tuple(joints)}
    parts = {
        f"{side}_{limb}": tuple(j for j in joints if j.startswith(side + "_") and j.removeprefix(side + "_") in own)
        for limb, own in _LIMBS.items()
        for side in ("left", "right")
    }
    parts["face"] = tuple(j for j in joints if j.startswith("face_"))
    taken = {j for part in parts.values() for j in part}
    return {k: v for k, v in {"torso": tuple(j for j in joints if j not in taken), **parts}.items() if v}


def _skeleton(name: str, rows: Rows) -> Skeleton:
    joints = tuple(joint for joint, _ in rows)
    parents = tuple(-1 if parent == "-" else joints.index(parent) for _, parent in rows)
    return Skeleton(name, joints, parents, _pairs(joints), _parts(joints))


_COCO = _rows("""
    nose           -
    left_eye       nose
    right_eye      nose
    left_ear       left_eye
    right_ear      right_eye
    left_shoulder  nose
    right_shoulder nose
    left_elbow     left_shoulder
    right_elbow    right_shoulder
    left_wrist     left_elbow
    right_wrist    right_elbow
    left_hip       left_shoulder
    right_hip      right_shoulder
    left_knee      left_hip
    right_knee     right_hip
    left_ankle     left_knee
    right_ankle    right_knee
""")
_FEET = _rows("""
    left_big_toe    left_ankle
    left_small_toe  left_ankle
    left_heel       left_ankle
    right_big_toe   right_ankle
    right_small_toe right_ankle
    right_heel      right_ankle
""")
_MEDIAPIPE = _rows("""
    nose                -
    left_eye_inner      nose
    left_eye            left_eye_inner
    left_eye_outer      left_eye
    right_eye_inner     nose
    right_eye           right_eye_inner
    right_eye_outer     right_eye
    left_ear            left_eye_outer
    right_ear           right_eye_outer
    left_mouth          nose
    right_mouth         nose
    left_shoulder       nose
    right_shoulder      nose
    left_elbow          left_shoulder
    right_elbow         right_shoulder
    left_wrist          left_elbow
    right_wrist         right_elbow
    left_pinky_knuckle  left_wrist
    right_pinky_knuckle right_wrist
    left_index_knuckle  left_wrist
    right_index_knuckle right_wrist
    left_thumb_knuckle  left_wrist
    right_thumb_knuckle right_wrist
    left_hip            left_shoulder
    right_hip           right_shoulder
    left_knee           left_hip
    right_knee          right_hip
    left_ankle          left_knee
    right_ankle         right_knee
    left_heel           left_ankle
    right_heel          right_ankle
    left_foot_index     left_ankle
    right_foot_index    right_ankle
""")
_BODY25 = _rows("""
    nose            neck
    neck            hip_centre
    right_shoulder  neck
    right_elbow     right_shoulder
    right_wrist     right_elbow
    left_shoulder   neck
    left_elbow      left_shoulder
    left_wrist      left_elbow
    hip_centre      -
    right_hip       hip_centre
    right_knee      right_hip
    right_ankle     right_knee
    left_hip        hip_centre
    left_knee       left_hip
    left_ankle      left_knee
    right_eye       nose
    left_eye        nose
    right_ear       right_eye
    left_ear        left_eye
    left_big_toe    left_ankle
    left_small_toe  left_big_toe
    left_heel       left_ankle
    right_big_toe   right_ankle
    right_small_toe right_big_toe
    right_heel      right_ankle
""")
_ARMS = _rows("""
    nose           -
    left_shoulder  nose
    left_elbow     left_shoulder
    left_wrist     left_elbow
    right_shoulder nose
    right_elbow    right_shoulder
    right_wrist    right_elbow
""")

COCO17 = _skeleton("coco17", _COCO)
"""COCO body keypoints."""
WHOLEBODY133 = _skeleton("wholebody133", _COCO + _FEET + _face_parents(False) + _HANDS)
"""COCO-WholeBody (MMPose, RTMPose, AlphaPose): body 17, feet 6, face 68, left hand 21, right hand 21."""
MEDIAPIPE33 = _skeleton("mediapipe33", _MEDIAPIPE)
"""The pose landmarks of MediaPipe. Its index, pinky and thumb are knuckles that the body network guesses, hence their names."""
HOLISTIC75 = _skeleton("holistic75", _MEDIAPIPE + _HANDS)
"""MediaPipe Holistic without the face: `MEDIAPIPE33`, left hand, right hand (also the 75 points of OpenHands)."""
OPENPOSE137 = _skeleton("openpose137", _BODY25 + _face_parents(True) + _HANDS)
"""OpenPose: BODY_25, face 70, left hand 21, right hand 21."""
HAND21 = _skeleton("hand21", _hand())
"""One hand, of a side that the clip's `meta` names under ``hand``."""
SIGN49 = _skeleton("sign49", _HANDS + _ARMS)
"""What sign recognition uses: left hand 21, right hand 21, nose, and shoulder, elbow, wrist of the left and the right arm."""
SIGN49_LEFT, SIGN49_RIGHT, SIGN49_BODY = slice(0, 21), slice(21, 42), slice(42, 49)
"""Its hands and the rest of it, where joints are an axis."""

KEYPOINTS = (COCO17, WHOLEBODY133, MEDIAPIPE33, HOLISTIC75, OPENPOSE137, HAND21, SIGN49)
"""All of them."""
