"""Bodies and manners: what distinguishes one subject from another.

Rest pose: y up, the person faces +z, the left side is at +x; arms stretched out sideways (T pose), legs straight down. Because a
leg is exactly vertical at rest, its inverse kinematics needs no calibration.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...motion.skeletons import SMPL22
from .streams import stream

JOINT = {name: i for i, name in enumerate(SMPL22.joints)}

SUBJECTS = 40

# Rest offsets from the parent in metres for a stature of 1.70 m; the left side, the right is mirrored.
_REST = {
    "left_hip": (0.088, -0.06, 0.0),
    "left_knee": (0.0, -0.41, 0.0),
    "left_ankle": (0.0, -0.40, 0.0),
    "left_foot": (0.0, -0.055, 0.13),
    "spine1": (0.0, 0.11, 0.0),
    "spine2": (0.0, 0.13, 0.0),
    "spine3": (0.0, 0.06, 0.0),
    "neck": (0.0, 0.21, 0.0),
    "head": (0.0, 0.09, 0.03),
    "left_collar": (0.07, 0.12, 0.0),
    "left_shoulder": (0.11, 0.04, 0.0),
    "left_elbow": (0.27, 0.0, 0.0),
    "left_wrist": (0.25, 0.0, 0.0),
}
TOE_HEIGHT = 0.02
"""Height of the foot joint above the floor when the foot is flat, metres."""


@dataclass(frozen=True, eq=False)
class Body:
    """One subject's bones and manner.

    Attributes:
        name: ``s00`` to ``s39``.
        offsets: `(J, 3)` rest offsets from the parent, metres; the root's is zero.
        leg, arm: hip to ankle and shoulder to wrist, metres: the units in which movements are written.
        slump: habitual forward bend of the spine, degrees. carriage: how far the arms hang from the body, degrees.
        bend: habitual elbow bend, degrees. swing: how much the arms swing, 1 is average.
        stance: half the distance between the feet, leg lengths. toe_out: degrees.
    """

    name: str
    offsets: np.ndarray
    leg: float
    arm: float
    slump: float
    carriage: float
    bend: float
    swing: float
    stance: float
    toe_out: float

    @property
    def shoulder(self) -> float:
        """Distance of a shoulder from the midline, metres."""
        return float(self.offsets[JOINT["left_collar"], 0] + self.offsets[JOINT["left_shoulder"], 0])

    def height_of(self, joint: str) -> float:
        """Height of a joint in the rest pose, feet flat on the floor, metres."""
        chain, j = 0.0, JOINT[joint]
        while j != 0:
            chain += float(self.offsets[j, 1])
            j = SMPL22.parents[j]
        return self.pelvis_height + chain

    @property
    def pelvis_height(self) -> float:
        """Height of the pelvis with straight legs and flat feet, metres."""
        return TOE_HEIGHT - float(self.offsets[JOINT["left_foot"], 1] + self.offsets[JOINT["left_hip"], 1]) + self.leg

    def from_shoulder(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """A point given from the head joint in metres, x outwards of the working arm, seen from its shoulder in arm lengths."""
        head = self.offsets[JOINT["neck"]] + self.offsets[JOINT["head"]]
        shoulder = self.offsets[JOINT["left_collar"]] + self.offsets[JOINT["left_shoulder"]]
        rel = (head - shoulder + np.array([x, y, z])) / self.arm
        return float(rel[0]), float(rel[1]), float(rel[2])


@lru_cache(maxsize=4 * SUBJECTS)
def body(subject: int, seed: int) -> Body:
    """The body of subject 0 to `SUBJECTS` - 1, a pure function of its arguments."""
    rng = stream(seed, subject, "body")
    u = dict(zip(("height", "leg", "arm", "hips", "shoulders", "torso", "shank"), rng.random(7) * 2 - 1, strict=True))
    scale = (1.70 + 0.17 * u["height"]) / 1.70
    stretch = {
        "left_hip": (1 + 0.12 * u["hips"], 1, 1),
        "left_knee": (1, (1 + 0.05 * u["leg"]) * (1 + 0.03 * u["shank"]), 1),
        "left_ankle": (1, (1 + 0.05 * u["leg"]) * (1 - 0.03 * u["shank"]), 1),
        "left_shoulder": (1 + 0.12 * u["shoulders"], 1, 1),
        "left_elbow": (1 + 0.06 * u["arm"], 1, 1),
        "left_wrist": (1 + 0.06 * u["arm"], 1, 1),
        **{name: (1, 1 + 0.06 * u["torso"], 1) for name in ("spine1", "spine2", "spine3")},
    }
    offsets = np.zeros((len(JOINT), 3))
    for name, rest in _REST.items():
        bone = scale * np.array(rest) * np.array(stretch.get(name, (1, 1, 1)))
        offsets[JOINT[name]] = bone
        if name.startswith("left_"):
            offsets[JOINT[name.replace("left_", "right_")]] = bone * (-1, 1, 1)
    offsets = offsets.astype(np.float32).astype(np.float64)  # what the clip stores is what the kinematics used
    offsets.flags.writeable = False
    leg = -float(offsets[JOINT["left_knee"], 1] + offsets[JOINT["left_ankle"], 1])
    arm = float(offsets[JOINT["left_elbow"], 0] + offsets[JOINT["left_wrist"], 0])
    m = rng.random(6)
    return Body(
        name=f"s{subject:02d}",
        offsets=offsets,
        leg=leg,
        arm=arm,
        slump=-4 + 18 * float(m[0]),
        carriage=5 + 12 * float(m[1]),
        bend=8 + 25 * float(m[2]),
        swing=0.6 + 0.8 * float(m[3]),
        stance=0.10 + 0.06 * float(m[4]),
        toe_out=16 * float(m[5]),
    )
