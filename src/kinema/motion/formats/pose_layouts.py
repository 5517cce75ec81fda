"""What the components and points of a ``.pose`` file are called, by the tool that found them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..keypoints import HAND, HAND21, HOLISTIC75, MEDIAPIPE33, OPENPOSE137, WHOLEBODY133
from ..skeleton import Skeleton

Names = Mapping[str, str]


@dataclass(frozen=True)
class Layout:
    """The points of one tool.

    Attributes:
        name: of the tool. skeleton: of the whole layout.
        components: name of a component -> its points -> our joints.
        hands: the components that are a hand -> left or right.
        unread: components that are known and left out.
    """

    name: str
    skeleton: Skeleton
    components: Mapping[str, Names]
    hands: Mapping[str, str]
    unread: tuple[str, ...] = ()

    def part(self, present: Sequence[str]) -> tuple[Skeleton, str | None]:
        """The skeleton for a file with these components, and the side where it is one hand alone."""
        known = [c for c in present if c in self.components]
        if len(known) == 1 and known[0] in self.hands:
            return HAND21, self.hands[known[0]]
        if self.skeleton == HOLISTIC75 and not any(c in self.hands for c in known):
            return MEDIAPIPE33, None
        return self.skeleton, None


def _sided(points: Sequence[str], side: str) -> dict[str, str]:
    return {point: f"{side}_{joint}" for point, joint in zip(points, HAND, strict=True)}


def _mediapipe_point(joint: str) -> str:
    """``left_mouth`` -> MOUTH_LEFT, ``left_index_knuckle`` -> LEFT_INDEX."""
    side, _, name = joint.partition("_")
    return f"MOUTH_{side.upper()}" if name == "mouth" else joint.removesuffix("_knuckle").upper()


_MEDIAPIPE_HAND = (
    "WRIST",
    *(f"THUMB_{level}" for level in ("CMC", "MCP", "IP", "TIP")),
    *(f"{finger}_FINGER_{level}" for finger in ("INDEX", "MIDDLE", "RING") for level in ("MCP", "PIP", "DIP", "TIP")),
    *(f"PINKY_{level}" for level in ("MCP", "PIP", "DIP", "TIP")),
)
_OPENPOSE_BODY = (
    "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip LKnee LAnkle REye LEye REar LEar "
    "LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel"
).split()
# the letters of a face point tell its region: border, eyebrow, nose, eye, outer lip, inner lip, pupil
_OPENPOSE_REGIONS = (
    ("FB", 0, 17),
    ("FEB", 17, 27),
    ("FN", 27, 36),
    ("FE", 36, 48),
    ("FLO", 48, 60),
    ("FLI", 60, 68),
    ("FP", 68, 70),
)
_OPENPOSE_HAND = (
    "BASE",
    "T_STT",
    "T_BCMC",
    "T_MCP",
    "T_IP",
    *(f"{f}_{level}" for f in "IMRP" for level in ("CMC", "MCP", "PIP", "DIP")),
)
_COCO_HAND = tuple(f"hand_{i}" for i in range(21))


def _coco(suffix: str) -> Layout:
    """MMPose writes the components BODY, FACE, ...; AlphaPose BODY_133, FACE_133, ..."""
    return Layout(
        f"COCO-WholeBody{suffix}",
        WHOLEBODY133,
        {
            f"BODY{suffix}": {joint: joint for joint in WHOLEBODY133.joints[:23]},
            f"FACE{suffix}": {f"face-{i}": f"face_{i}" for i in range(68)},
            f"LEFT_HAND{suffix}": _sided(_COCO_HAND, "left"),
            f"RIGHT_HAND{suffix}": _sided(_COCO_HAND, "right"),
        },
        {f"LEFT_HAND{suffix}": "left", f"RIGHT_HAND{suffix}": "right"},
    )


HOLISTIC = Layout(
    "MediaPipe Holistic",
    HOLISTIC75,
    {
        "POSE_LANDMARKS": {_mediapipe_point(joint): joint for joint in MEDIAPIPE33.joints},
        "LEFT_HAND_LANDMARKS": _sided(_MEDIAPIPE_HAND, "left"),
        "RIGHT_HAND_LANDMARKS": _sided(_MEDIAPIPE_HAND, "right"),
    },
    {"LEFT_HAND_LANDMARKS": "left", "RIGHT_HAND_LANDMARKS": "right"},
    unread=("FACE_LANDMARKS", "POSE_WORLD_LANDMARKS"),
)
OPENPOSE = Layout(
    "OpenPose",
    OPENPOSE137,
    {
        "pose_keypoints_2d": dict(zip(_OPENPOSE_BODY, OPENPOSE137.joints[:25], strict=True)),
        "face_keypoints_2d": {f"{r}_{i}": f"face_{i}" for r, first, end in _OPENPOSE_REGIONS for i in range(first, end)},
        "hand_left_keypoints_2d": _sided(_OPENPOSE_HAND, "left"),
        "hand_right_keypoints_2d": _sided(_OPENPOSE_HAND, "right"),
    },
    {"hand_left_keypoints_2d": "left", "hand_right_keypoints_2d": "right"},
)
WHOLEBODY = _coco("")
LAYOUTS = (HOLISTIC, OPENPOSE, WHOLEBODY, _coco("_133"))
"""All layouts; no component belongs to two."""
WRITTEN = {HOLISTIC75: HOLISTIC, MEDIAPIPE33: HOLISTIC, HAND21: HOLISTIC, OPENPOSE137: OPENPOSE, WHOLEBODY133: WHOLEBODY}
"""The layout in which a clip of a skeleton is written."""
