"""Where to look from: a clip turned to its front and measured, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..motion.clip import Clip
from ..motion.outline import outline
from ..motion.skeleton import Skeleton

YAW = np.deg2rad(20.0)
"""A front view turned by this much, so that arms stretched towards the viewer are seen."""
FOLLOW = 3.0
"""A view follows people who travel further than this many times their height."""


@dataclass(frozen=True)
class Scene:
    """A clip seen from its front, orthographically.

    Attributes:
        points: `(T, M, J, 3)` float32: right, up, towards the viewer from the middle of the frame's people; in the clip's units.
        visible: `(T, M, J)` bool.
        centre: `(T,)` where the people are, right.
        width: of the people in one frame. left, right: of the whole motion. bottom, top: of the whole motion.
        depth: half the depth range that shading spans.
        head: radius of a head, for people of this size.
        ground: whether `bottom` is a floor (3-D) rather than the lowest pixel.
    """

    points: np.ndarray
    visible: np.ndarray
    centre: np.ndarray
    width: float
    left: float
    right: float
    bottom: float
    top: float
    depth: float
    head: float
    ground: bool

    @property
    def travels(self) -> bool:
        """Whether the motion covers so much ground that a fixed view would show tiny people."""
        return self.right - self.left > FOLLOW * max(self.top - self.bottom, self.width)


def visible(positions: np.ndarray, confidence: np.ndarray | None = None) -> np.ndarray:
    """Which joints can be shown.

    Args:
        positions: `(T, M, J, C)`. confidence: `(T, M, J)` or None.

    Returns:
        `(T, M, J)` bool. Absent people are hidden and so are joints of confidence 0. Without a confidence a joint at zero counts
        as absent, unless zero lies within the person's other joints: then the clip is centred and the joint is really there.
    """
    some = np.any(positions != 0, axis=-1)
    present = np.any(some, axis=-1, keepdims=True)
    if confidence is not None:
        return present & (confidence > 0)
    low = np.where(some[..., None], positions, np.inf).min(-2)
    high = np.where(some[..., None], positions, -np.inf).max(-2)
    inside = np.all((low <= 0) & (high >= 0), axis=-1, keepdims=True)
    return present & (some | inside)


def plausible(positions: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """`(T, M, J)` bool: the shown joints without those that a sensor threw far off, by which no view should be measured.

    Far is more than 8 times the distance from the middle of a person that one joint in five exceeds: of people with the points of a
    face and of hands most joints are close together, and the feet are far from them.
    """
    nobody = ~np.any(shown, axis=-1, keepdims=True)
    known = np.where((shown | nobody)[..., None], positions, np.nan)
    off = np.linalg.norm(positions - np.nanmedian(known, axis=2, keepdims=True), axis=-1)
    return shown & (off <= 8 * np.percentile(off[shown], 80)) if shown.any() else shown


def upright(positions: np.ndarray, units: str) -> np.ndarray:
    """`(..., 3)` with y up: image coordinates (2-D, or pixels with depth) run down and away, everything else is up already."""
    if positions.shape[-1] == 2:
        positions = np.concatenate([positions, np.zeros_like(positions[..., :1])], -1)
        return positions * np.array([1, -1, 1], np.float32)
    return positions * np.array([1, -1, -1], np.float32) if units == "pixels" else positions


def front(positions: np.ndarray, shown: np.ndarray, skeleton: Skeleton) -> float:
    """The yaw, radians, of the direction that a viewer in front of the people sees as right; 0 is +x, pi/2 is +z.

    One person is seen facing the viewer. Several are seen side by side, from the side that more of them face.

    Args:
        positions: `(T, M, J, 3)`, y up. shown: `(T, M, J)` bool.
    """
    torso = [p for p in skeleton.pairs if any(word in p[0].lower() for word in ("shoulder", "hip"))] or list(skeleton.pairs)
    to_left = np.zeros(2)  # from the right to the left side of the bodies: what a viewer in front sees as right
    for left, right in torso:
        a, b = skeleton.index(left), skeleton.index(right)
        both = shown[:, :, a] & shown[:, :, b]
        to_left += (positions[:, :, a] - positions[:, :, b])[both][:, [0, 2]].sum(0)
    centres = [positions[:, m][shown[:, m]].mean(0)[[0, 2]] for m in range(positions.shape[1]) if shown[:, m].any()]
    if len(centres) > 1:
        apart = centres[1] - centres[0]
        if np.linalg.norm(apart) > 1e-6:
            to_left = apart if apart @ to_left >= 0 else -apart
    return float(np.arctan2(to_left[1], to_left[0])) if np.linalg.norm(to_left) > 1e-9 else 0.0


def turn(positions: np.ndarray, yaw: float) -> np.ndarray:
    """`(..., 3)` world, y up, to right, up, towards the viewer, for a view whose right is at `yaw` (see `front`)."""
    c, s = np.cos(yaw), np.sin(yaw)
    matrix = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
    return positions @ matrix.T


def look(clip: Clip) -> Scene:
    """The scene of a clip: 3-D clips from their front, slightly turned; 2-D clips and pixels as the camera saw them."""
    shown = visible(clip.positions, clip.confidence)
    points = upright(clip.positions, clip.units)
    flat = clip.positions.shape[-1] == 2 or clip.units == "pixels"
    if not flat:
        points = turn(points, front(points, shown, clip.skeleton) - YAW)
    if not shown.any():
        nowhere = np.zeros(clip.frames)
        return Scene(points, shown, nowhere, 1.0, -0.5, 0.5, 0.0, 1.0, 1.0, 0.06, not flat)

    trusted = plausible(points, shown)
    known = trusted.any((1, 2))
    low = np.where(trusted[..., None], points, np.inf).min((1, 2))[known]  # (frames with people, 3)
    high = np.where(trusted[..., None], points, -np.inf).max((1, 2))[known]
    left, right = np.percentile(low[:, 0], 0.5), np.percentile(high[:, 0], 99.5)
    bottom, top = np.percentile(low[:, 1], 5), np.percentile(high[:, 1], 99.5)
    width = np.percentile((high - low)[:, 0], 98)
    centre = np.interp(np.arange(clip.frames), np.flatnonzero(known), (low + high)[:, 0] / 2)
    # depth is told within a frame, so that someone who walks towards the viewer keeps their colour
    middle = np.zeros((clip.frames, 1, 1, 3), np.float32)
    middle[known, 0, 0, 2] = (low + high)[:, 2] / 2
    points = points - middle
    depth = max(np.percentile((high - low)[:, 2], 90) / 2, 0.2 * (top - bottom), 1e-6)
    size = max(top - bottom, width, 1e-3)
    if top - bottom < 0.05 * size:  # a line of joints, or a single one
        top, bottom = top + size / 2, bottom - size / 2
    return Scene(
        points=points,
        visible=shown,
        centre=_smooth(centre, clip.fps),
        width=float(max(width, 0.2 * size)),
        left=float(min(left, right - 0.1 * size)),
        right=float(max(right, left + 0.1 * size)),
        bottom=float(bottom),
        top=float(top),
        depth=float(depth),
        head=head_radius(points, trusted, clip.skeleton),
        ground=not flat,
    )


def head_radius(points: np.ndarray, shown: np.ndarray, skeleton: Skeleton) -> float:
    """Radius of a head in the units of `points` `(T, M, J, 3)`: a fifth of the shoulders' width or, if they are seen from their
    side, of half a trunk; of people without shoulders a part of their height. `shown`: `(T, M, J)` bool.
    """
    plan = outline(skeleton)

    def apart(a: int, b: int) -> float:
        both = shown[:, :, a] & shown[:, :, b]
        return float(np.percentile(np.linalg.norm((points[:, :, a] - points[:, :, b])[both], axis=-1), 75)) if both.any() else 0.0

    widths = [apart(*plan.shoulders)] if plan.shoulders else []
    widths += [0.75 * apart(a, b) for a, b in zip(plan.shoulders or (), plan.hips or (), strict=False)]
    if max(widths, default=0.0) > 0:
        return 0.22 * max(widths)
    heights = points[..., 1][shown]
    return 0.06 * float(np.percentile(heights, 99) - np.percentile(heights, 1)) if heights.size else 0.06


def _smooth(values: np.ndarray, fps: float) -> np.ndarray:
    """`(T,)` averaged over about half a second, so that a view that follows does not shake."""
    reach = min(int(fps / 4), (len(values) - 1) // 2)
    if reach < 1:
        return values
    padded = np.pad(values, reach, mode="edge")
    total = np.concatenate([[0.0], np.cumsum(padded)])
    return (total[2 * reach + 1 :] - total[: -2 * reach - 1]) / (2 * reach + 1)


def nice(span: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is at most `span`: the length of a scale bar."""
    power = 10.0 ** np.floor(np.log10(max(span, 1e-12)))
    return float(max(step * power for step in (1, 2, 5) if step * power <= span * (1 + 1e-9)))
