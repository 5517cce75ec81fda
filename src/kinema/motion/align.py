"""Where a clip stands: turned to face one way, centred, scaled. Clip -> Clip.

A clip is turned, moved and scaled as a whole, so that people keep their places relative to one another. The *lead* is the first
person to appear (the lower index when two appear together). Absent people, and joints with confidence 0 at zero, stay zero.
"""

from __future__ import annotations

import numpy as np

from ..errors import UserError
from .clip import Clip
from .skeletons import root_joint

_DEGENERATE = 1e-6


def yaw_align(clip: Clip, frames: int = 5) -> Clip:
    """Turns the clip about the vertical axis (y) so that its lead's left-to-right line lies along +x.

    The line runs from left to right shoulder plus left to right hip, averaged over the lead's first `frames` present frames.
    Someone who faces a Kinect (+x to his right) stays as he is. The turn is one for the whole clip. Nobody present, or a line
    that is vertical: the clip is returned as it is.

    Raises:
        UserError: a 2D clip, `frames` below 1, or a skeleton with neither shoulders nor hips.
    """
    _three(clip, "yaw_align")
    if frames < 1:
        raise UserError(f"yaw_align: {frames} frames; expected 1 or more")
    sides = [
        (f"left_{name}", f"right_{name}") for name in ("shoulder", "hip") if clip.skeleton.has(f"left_{name}", f"right_{name}")
    ]
    if not sides:
        raise UserError(
            f"skeleton {clip.skeleton.name!r} has no left_ and right_ shoulder or hip to turn by; leave yaw alignment out"
        )
    present = clip.present()
    lead = _lead(present)
    if lead is None:
        return clip
    seen = clip.positions[present[:, lead], lead][:frames].astype(np.float64)
    index = clip.skeleton.index
    line = sum((seen[:, index(right)] - seen[:, index(left)] for left, right in sides), np.zeros(3)).mean(0)
    length = float(np.hypot(line[0], line[2]))
    if length <= _DEGENERATE * max(1.0, float(np.abs(line).max())):
        return clip
    cos, sin = line[0] / length, line[2] / length
    turn = np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
    turned = (clip.positions.astype(np.float64) @ turn.T).astype(np.float32)
    return clip.with_(positions=turned, rotations=_turn_roots(clip, float(np.arctan2(line[2], line[0]))))


def centre_first(clip: Clip, joint: str | None = None) -> Clip:
    """Moves the whole clip so that `joint` (default: the root) of the lead is at zero in the first frame in which he is present.

    Raises:
        UserError: no such joint.
    """
    at = clip.skeleton.index(joint or root_joint(clip.skeleton))
    present = clip.present()
    lead = _lead(present)
    if lead is None:
        return clip
    return _moved(clip, clip.positions[int(present[:, lead].argmax()), lead, at])


def centre_every(clip: Clip, joint: str | None = None) -> Clip:
    """Moves each frame so that `joint` (default: the root) of its first present person is at zero; the others keep their places.

    Raises:
        UserError: no such joint.
    """
    at = clip.skeleton.index(joint or root_joint(clip.skeleton))
    first = clip.present().argmax(1)
    origins = clip.positions[np.arange(clip.frames), first, at]
    return _moved(clip, origins[:, None, None, :])


def unit_scale(clip: Clip) -> Clip:
    """Divides by the mean length of the lead's bones (the edges of the tree) over the frames in which he is present.

    The units become ``normalised``. A clip without anybody, or with bones of no length, is returned as it is.
    """
    edges = clip.skeleton.edges()
    lead = _lead(clip.present())
    if lead is None or not edges:
        return clip
    child, parent = (list(side) for side in zip(*edges, strict=True))
    body = clip.positions[:, lead]
    there = ~_absent(clip)[:, lead]
    lengths = np.linalg.norm(body[:, child] - body[:, parent], axis=-1)[there[:, child] & there[:, parent]]
    scale = float(lengths.mean()) if lengths.size else 0.0
    if scale <= _DEGENERATE:
        return clip
    offsets = None if clip.offsets is None else clip.offsets / np.float32(scale)
    return clip.with_(positions=clip.positions / np.float32(scale), offsets=offsets, units="normalised")


def _three(clip: Clip, who: str) -> None:
    if clip.positions.shape[3] != 3:
        raise UserError(f"{clip.source or 'clip'}: {who} turns about the vertical axis and needs 3D positions; this clip is 2D")


def _lead(present: np.ndarray) -> int | None:
    """The first person to appear, from `present` `(T, M)`."""
    frames = np.flatnonzero(present.any(1))
    return int(present[frames[0]].argmax()) if len(frames) else None


def _absent(clip: Clip) -> np.ndarray:
    """`(T, M, J)` bool: joints that must stay zero."""
    gone = np.broadcast_to(~clip.present()[:, :, None], clip.positions.shape[:3])
    if clip.confidence is None:
        return gone
    return gone | ((clip.confidence == 0) & (clip.positions == 0).all(-1))


def _moved(clip: Clip, origin: np.ndarray) -> Clip:
    return clip.with_(positions=np.where(_absent(clip)[..., None], np.float32(0), clip.positions - origin))


def _turn_roots(clip: Clip, angle: float) -> np.ndarray | None:
    """Local rotations after a turn by `angle` (radians, about y): those of the roots turn, all others are relative to them."""
    if clip.rotations is None:
        return None
    w, y = np.float32(np.cos(angle / 2)), np.float32(np.sin(angle / 2))
    result = clip.rotations.copy()
    for root in (j for j, parent in enumerate(clip.skeleton.parents) if parent < 0):
        a, b, c, d = np.moveaxis(clip.rotations[:, :, root], -1, 0)
        result[:, :, root] = np.stack([w * a - y * c, w * b + y * d, w * c + y * a, w * d - y * b], axis=-1)
    return result
