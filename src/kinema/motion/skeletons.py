"""The common skeletons. Joints are chosen by name, so sensors that share a joint share its name.

Every skeleton has parts that cover each joint once: torso (with the head), left_arm, right_arm, left_leg, right_leg; those of pose
estimators, which `keypoints` describes, also left_hand, right_hand and face, as far as
they have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import unknown
from .keypoints import COCO17, HAND21, HOLISTIC75, KEYPOINTS, MEDIAPIPE33, OPENPOSE137, SIGN49, WHOLEBODY133
from .skeleton import Skeleton, tree

__all__ = [
    "COCO17",
    "HAND21",
    "HOLISTIC75",
    "KINECT20",
    "MEDIAPIPE33",
    "MSR20",
    "NTU25",
    "OPENPOSE137",
    "ROOTS",
    "SBU15",
    "SIGN49",
    "SKELETONS",
    "SMPL22",
    "WHOLEBODY133",
    "root_joint",
]

_ARM = ("collar", "shoulder", "elbow", "wrist", "hand", "hand_tip", "thumb")
_LEG = ("hip", "knee", "ankle", "foot")


def _parts(joints: str) -> Mapping[str, tuple[str, ...]]:
    """Five parts by joint name: limbs by their side and name, all the rest is torso."""
    names = [line.split()[0] for line in joints.strip().splitlines()]
    limbs = {
        f"{side}_{limb}": tuple(n for n in names if n.removeprefix(side + "_") in own and n.startswith(side + "_"))
        for limb, own in (("arm", _ARM), ("leg", _LEG))
        for side in ("left", "right")
    }
    taken = {n for part in limbs.values() for n in part}
    return {"torso": tuple(n for n in names if n not in taken), **limbs}


_KINECT20 = """
    hip_centre      -
    spine           hip_centre
    shoulder_centre spine
    head            shoulder_centre
    left_shoulder   shoulder_centre
    left_elbow      left_shoulder
    left_wrist      left_elbow
    left_hand       left_wrist
    right_shoulder  shoulder_centre
    right_elbow     right_shoulder
    right_wrist     right_elbow
    right_hand      right_wrist
    left_hip        hip_centre
    left_knee       left_hip
    left_ankle      left_knee
    left_foot       left_ankle
    right_hip       hip_centre
    right_knee      right_hip
    right_ankle     right_knee
    right_foot      right_ankle
"""
KINECT20 = tree("kinect20", _KINECT20, parts=_parts(_KINECT20))
"""The Kinect v1 SDK, in its order (NW-UCLA, UTKinect; UTD-MHAD is read into it)."""

_NTU25 = """
    spine_base     -
    spine_mid      spine_base
    neck           spine_shoulder
    head           neck
    left_shoulder  spine_shoulder
    left_elbow     left_shoulder
    left_wrist     left_elbow
    left_hand      left_wrist
    right_shoulder spine_shoulder
    right_elbow    right_shoulder
    right_wrist    right_elbow
    right_hand     right_wrist
    left_hip       spine_base
    left_knee      left_hip
    left_ankle     left_knee
    left_foot      left_ankle
    right_hip      spine_base
    right_knee     right_hip
    right_ankle    right_knee
    right_foot     right_ankle
    spine_shoulder spine_mid
    left_hand_tip  left_hand
    left_thumb     left_hand
    right_hand_tip right_hand
    right_thumb    right_hand
"""
# (child, parent), counted from 1 as published: rooted at spine_shoulder (21), and a hand tip hangs from its thumb
_NTU_BONES = """
    1-2   2-21  3-21  4-3   5-21  6-5   7-6   8-7   9-21  10-9  11-10 12-11 13-1
    14-13 15-14 16-15 17-1  18-17 19-18 20-19 22-23 21-21 23-8  24-25 25-12
"""
_NTU_JOINTS = [line.split()[0] for line in _NTU25.strip().splitlines()]


def _published(bone: str) -> tuple[str, str]:
    child, parent = bone.split("-")
    return _NTU_JOINTS[int(child) - 1], _NTU_JOINTS[int(parent) - 1]


NTU25 = tree("ntu25", _NTU25, parts=_parts(_NTU25), bones=tuple(map(_published, _NTU_BONES.split())))
"""The Kinect v2 SDK, in its order (NTU RGB+D, PKU-MMD). `parents` is the body's tree; `bones` is the published list."""

_MSR20 = """
    left_shoulder   shoulder_centre
    right_shoulder  shoulder_centre
    shoulder_centre spine
    spine           hip_centre
    left_hip        hip_centre
    right_hip       hip_centre
    hip_centre      -
    left_elbow      left_shoulder
    right_elbow     right_shoulder
    left_wrist      left_elbow
    right_wrist     right_elbow
    left_hand       left_wrist
    right_hand      right_wrist
    left_knee       left_hip
    right_knee      right_hip
    left_ankle      left_knee
    right_ankle     right_knee
    left_foot       left_ankle
    right_foot      right_ankle
    head            shoulder_centre
"""
MSR20 = tree("msr20", _MSR20, parts=_parts(_MSR20))
"""The joints of `KINECT20` in the order of MSR-Action3D."""

_SBU15 = """
    head           neck
    neck           torso
    torso          -
    left_shoulder  neck
    left_elbow     left_shoulder
    left_hand      left_elbow
    right_shoulder neck
    right_elbow    right_shoulder
    right_hand     right_elbow
    left_hip       torso
    left_knee      left_hip
    left_foot      left_knee
    right_hip      torso
    right_knee     right_hip
    right_foot     right_knee
"""
SBU15 = tree("sbu15", _SBU15, parts=_parts(_SBU15))
"""OpenNI / NITE, as SBU Kinect Interaction stores it."""

_SMPL22 = """
    pelvis         -
    left_hip       pelvis
    right_hip      pelvis
    spine1         pelvis
    left_knee      left_hip
    right_knee     right_hip
    spine2         spine1
    left_ankle     left_knee
    right_ankle    right_knee
    spine3         spine2
    left_foot      left_ankle
    right_foot     right_ankle
    neck           spine3
    left_collar    spine3
    right_collar   spine3
    head           neck
    left_shoulder  left_collar
    right_shoulder right_collar
    left_elbow     left_shoulder
    right_elbow    right_shoulder
    left_wrist     left_elbow
    right_wrist    right_elbow
"""
SMPL22 = tree("smpl22", _SMPL22, parts=_parts(_SMPL22))
"""The body joints of SMPL without hands (HumanML3D)."""

SKELETONS: dict[str, Skeleton] = {s.name: s for s in (KINECT20, NTU25, MSR20, SBU15, SMPL22, *KEYPOINTS)}
"""The common skeletons by name."""

ROOTS = ("pelvis", "hip_centre", "spine_base", "torso")


def root_joint(skeleton: Skeleton) -> str:
    """The joint that a person is centred on: the first of `ROOTS` that exists, else the first root of the tree."""
    return next((name for name in ROOTS if skeleton.has(name)), skeleton.joints[skeleton.parents.index(-1)])


def skeleton_of(text: str | Path) -> Skeleton:
    """A skeleton by its registered name or from a JSON file.

    Raises:
        UserError: neither.
    """
    name = str(text)
    if name in SKELETONS:
        return SKELETONS[name]
    if name.lower().endswith(".json") or Path(name).exists():
        return Skeleton.load(Path(name))
    raise unknown("skeleton", name, SKELETONS)
