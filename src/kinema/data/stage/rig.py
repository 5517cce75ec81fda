"""The rig: from channels, a path and planned feet to local rotations, and from rotations to positions.

The pelvis is lowered, smoothly and ahead of time, wherever a leg would not reach its planted foot; then each leg is solved by
analytic two-bone inverse kinematics. So planted feet stay exactly where they were planted, whatever the body above them does.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...motion.skeletons import SMPL22
from . import quaternions as quat
from .body import JOINT, TOE_HEIGHT, Body
from .feet import Feet
from .take import CHANNEL

_SIDES = ("left", "right")
_HIPS, _KNEES, _ANKLES, _FEET = ([JOINT[f"{s}_{j}"] for s in _SIDES] for j in ("hip", "knee", "ankle", "foot"))
_COLLARS, _SHOULDERS, _ELBOWS = ([JOINT[f"{s}_{j}"] for s in _SIDES] for j in ("collar", "shoulder", "elbow"))
_LEVELS: list[tuple[list[int], list[int]]] = []
_depth = [0]
for _j in range(1, len(SMPL22)):
    _depth.append(_depth[SMPL22.parents[_j]] + 1)
for _d in range(1, max(_depth) + 1):
    _own = [j for j in range(len(SMPL22)) if _depth[j] == _d]
    _LEVELS.append((_own, [SMPL22.parents[j] for j in _own]))

_REACH = 0.992  # of the straight leg: a leg that is never quite straight has no singular knee
_FOLD = 0.30
_LOOKAHEAD = 4  # frames over which a needed lowering of the pelvis is spread
_MIRROR = np.array([1.0, -1.0])  # left, right


def forward_kinematics(rotations: np.ndarray, root: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Joint positions.

    Args:
        rotations: `(T, J, 4)` local rotations, wxyz. root: `(T, 3)` pelvis. offsets: `(J, 3)` rest offsets from the parent.

    Returns:
        `(T, J, 3)`, in the units of `root` and `offsets`.
    """
    return _chain(np.moveaxis(rotations, -1, 0).astype(np.float64), root, offsets)


def _chain(local: np.ndarray, root: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    world = quat.matrices(local)
    positions = np.empty((*local.shape[1:], 3))
    positions[:, 0] = root
    for own, parents in _LEVELS:
        turned = world[:, parents]
        positions[:, own] = positions[:, parents] + (turned * offsets[own][:, None]).sum(-1)
        if own[-1] < JOINT["left_wrist"]:  # the rotations of the last level move nothing
            world[:, own] = turned @ world[:, own]
    return positions


def pose(channels: np.ndarray, place: np.ndarray, heading: np.ndarray, feet: Feet, body: Body) -> tuple[np.ndarray, np.ndarray]:
    """Solves a person.

    Args:
        channels: `(T, D)`, as `take.CHANNELS`. place, heading: `(T, 2)` metres and `(T,)` radians of the path. feet, body: the
        person's.

    Returns:
        Local rotations `(T, J, 4)` wxyz and positions `(T, J, 3)` metres, float64.
    """
    c = np.radians(channels.T)
    col = CHANNEL
    local = np.zeros((4, len(channels), len(SMPL22)))
    local[0] = 1.0
    pelvis = quat.yxz(heading + c[col["yaw"]], c[col["pitch"]], c[col["roll"]])
    local[:, :, 0] = pelvis
    _torso(local, c)
    _arms(local, c)

    shift = channels.T[: col["shift_z"] + 1] * body.leg
    sin, cos = np.sin(heading), np.cos(heading)
    root = np.stack(
        [
            place[:, 0] + shift[0] * cos + shift[2] * sin,
            body.pelvis_height + shift[1],
            place[:, 1] - shift[0] * sin + shift[2] * cos,
        ]
    )
    foot_world = quat.yxz(feet.heading, feet.pitch, np.zeros_like(feet.pitch))
    ankle = feet.ball - quat.rotate(foot_world, body.offsets[_FEET].T[:, None])
    hip = quat.rotate(pelvis[:, :, None], body.offsets[_HIPS].T[:, None])
    root[1] -= _lowering(root, hip, ankle, body.leg)
    _legs(local, pelvis, ankle - hip - root[:, :, None], foot_world, feet.heading, heading, body)
    return np.moveaxis(local, 0, -1), _chain(local, root.T, body.offsets)


def _torso(local: np.ndarray, c: np.ndarray) -> None:
    spine = quat.yxz(c[CHANNEL["turn"]] / 3, c[CHANNEL["bend"]] / 3, c[CHANNEL["side"]] / 3)
    for name in ("spine1", "spine2", "spine3"):
        local[:, :, JOINT[name]] = spine
    head = quat.yxz(c[CHANNEL["look"]] / 2, c[CHANNEL["nod"]] / 2, c[CHANNEL["tilt"]] / 2)
    for name in ("neck", "head"):
        local[:, :, JOINT[name]] = head


def _arms(local: np.ndarray, c: np.ndarray) -> None:
    angles = c[CHANNEL["left_flex"] :].reshape(2, 4, -1)
    flex, abd, twist, elbow = (angles[:, k].T for k in range(4))
    raised = 0.5 - 0.5 * np.cos(abd) * np.cos(flex)
    collar = quat.about(2, 0.45 * raised * raised * _MIRROR)
    hang = quat.about(2, np.broadcast_to(-0.5 * np.pi * _MIRROR, flex.shape))
    shoulder = quat.multiply(quat.xzy(-flex, abd * _MIRROR, -twist * _MIRROR), hang)
    local[:, :, _COLLARS] = collar
    # undone again at the shoulder: the arm's angles are those against the chest
    local[:, :, _SHOULDERS] = quat.multiply(quat.conjugate(collar), shoulder)
    local[:, :, _ELBOWS] = quat.about(1, -elbow * _MIRROR)


def _lowering(root: np.ndarray, hip: np.ndarray, ankle: np.ndarray, leg: float) -> np.ndarray:
    """How far the pelvis must come down, `(T,)` metres: at least as far as the legs need, and smooth."""
    to = ankle - hip - root[:, :, None]
    longest = (_REACH * leg) ** 2
    allowed = to[1] + np.sqrt(np.maximum(longest - to[0] ** 2 - to[2] ** 2, 0.01 * longest))
    need = np.maximum(-allowed.min(1), 0.0)
    # a moving maximum followed by a moving average of the same width never falls below its input
    w = _LOOKAHEAD
    highest = sliding_window_view(np.pad(need, 2 * w, mode="edge"), 2 * w + 1).max(1)
    kernel = 0.5 + 0.5 * np.cos(np.pi * np.arange(-w, w + 1) / (w + 1))
    return (sliding_window_view(highest, 2 * w + 1) * (kernel / kernel.sum())).sum(1)


def _legs(
    local: np.ndarray,
    pelvis: np.ndarray,
    to: np.ndarray,
    foot_world: np.ndarray,
    foot_heading: np.ndarray,
    heading: np.ndarray,
    body: Body,
) -> None:
    """Two-bone inverse kinematics of both legs; `to` `(3, T, 2)` from hip to ankle in the world."""
    upper, lower = -body.offsets[_KNEES[0], 1], -body.offsets[_ANKLES[0], 1]
    far = np.sqrt((to * to).sum(0))
    dist = np.minimum(np.maximum(far, _FOLD * body.leg), _REACH * body.leg * 1.0005)
    cos_knee = (dist * dist - upper * upper - lower * lower) / (2 * upper * lower)
    knee = np.arccos(np.minimum(np.maximum(cos_knee, -1.0), 1.0))
    # knees point halfway between the foot and the body; the hinge axis stays defined when the leg is kicked forward
    aim = 0.5 * (foot_heading + heading[:, None])
    hinge = np.stack([np.cos(aim), np.zeros_like(aim), -np.sin(aim)])
    world = pelvis[:, :, None]
    inverse = quat.conjugate(world)
    hinge, along = quat.rotate(inverse, hinge), quat.rotate(inverse, to / far)
    hinge = hinge - (hinge * along).sum(0) * along
    hinge = hinge / np.sqrt((hinge * hinge).sum(0))
    # the bent leg at rest has its ankle in the plane x = 0, turned back from straight down by `lag`
    lag = np.arctan2(lower * np.sin(knee), upper + lower * np.cos(knee))
    third = np.stack([hinge[a] * along[b] - hinge[b] * along[a] for a, b in ((1, 2), (2, 0), (0, 1))])
    down, back = np.cos(lag), np.sin(lag)  # the ankle's direction at rest is (0, -down, -back)
    thigh, shin = quat.from_axes(hinge, -down * along + back * third, -back * along - down * third), quat.about(0, knee)
    local[:, :, _HIPS], local[:, :, _KNEES] = thigh, shin
    local[:, :, _ANKLES] = quat.multiply(quat.conjugate(quat.multiply(world, quat.multiply(thigh, shin))), foot_world)


FLOOR = TOE_HEIGHT
"""No foot joint is ever lower than this, metres."""
