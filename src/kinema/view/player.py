"""Moving stick figures inside a web page: the data and the markup that `player.js` plays."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import UserError
from ..motion.clip import Clip
from ..motion.outline import outline
from ..motion.skeleton import Skeleton
from .scene import YAW, front, head_radius, nice, plausible, upright, visible

MAX_VALUES = 200_000
"""Coordinates a track may embed (about half a megabyte); longer motions show every n-th frame."""
MAX_GRID = 1_000_000
"""Coordinates that all motions of a grid may embed together."""
ABSENT = -32768
_FULL = 32_000


def player(
    skeleton: Skeleton,
    tracks: Mapping[str, np.ndarray],
    fps: float,
    mask: np.ndarray | Mapping[str, np.ndarray] | None = None,
    units: str = "metres",
) -> str:
    """The markup of a player; see `report.motion_section`, which checks and documents the arguments."""
    data, step, hollow = _pack(skeleton, tracks, fps, mask, units, MAX_VALUES)
    figures = "".join(f"<figure>{_canvas(name)}<figcaption><bdi>{html.escape(name)}</bdi></figcaption></figure>" for name in tracks)
    frames = len(next(iter(tracks.values())))
    notes = [f"one frame in {step} is shown"] if step > 1 else []
    return _markup([data], "tracks", figures, -(-frames // step), frames / fps, notes, hollow)


Kind = Literal["query", "same", "other", "unknown"]


@dataclass(frozen=True)
class Moving:
    """One motion of a grid.

    Attributes:
        kind: ``query``, or whether it is of the query's class: ``same``, ``other``; ``unknown``.
        lines: what stands under it, plain text; the first is strong. clip: as it was read.
    """

    kind: Kind
    lines: Sequence[str]
    clip: Clip


def grid(motions: Sequence[Moving]) -> str:
    """The markup of a player of several motions in step: each takes the same time from its beginning to its end.

    Raises:
        UserError: no motions.
    """
    if not motions:
        raise UserError("a grid of no motions: expected at least one")
    budget = min(MAX_VALUES, MAX_GRID // len(motions))
    packed = [_clip(m.clip, budget) for m in motions]
    cells: list[str] = []
    for m in motions:
        first, *more = (html.escape(line) for line in m.lines)
        said = f"<strong><bdi>{first}</bdi></strong>" + "".join(f"<span><bdi>{line}</bdi></span>" for line in more if line)
        cells.append(f'<figure class="{m.kind}">{_canvas(", ".join(m.lines))}<figcaption>{said}</figcaption></figure>')
    frames = max(-(-m.clip.frames // step) for m, (_, step, _) in zip(motions, packed, strict=True))
    seconds = max(1.0, float(np.median([m.clip.seconds for m in motions])))
    notes = ["all in step: each takes the same time from its beginning to its end"]
    return _markup([data for data, _, _ in packed], "tracks cells", "".join(cells), frames, seconds, notes, False)


def _clip(clip: Clip, budget: int) -> tuple[Mapping[str, object], int, bool]:
    there = {"": visible(clip.positions, clip.confidence)}
    return _pack(clip.skeleton, {"": clip.positions}, clip.fps, None, clip.units, budget, there, follow=True)


def _pack(
    skeleton: Skeleton,
    tracks: Mapping[str, np.ndarray],
    fps: float,
    mask: np.ndarray | Mapping[str, np.ndarray] | None,
    units: str,
    budget: int,
    there: Mapping[str, np.ndarray] | None = None,
    follow: bool = False,
) -> tuple[Mapping[str, object], int, bool]:
    """What the script needs of a motion, that it shows every n-th frame, and whether something in it is masked. `there`: joints to show.
    `follow`: the view goes along with the people, however far they travel.
    """
    arrays = {name: np.asarray(track, np.float32) for name, track in tracks.items()}
    shape = _same_shape(skeleton, arrays)
    if not (np.isfinite(fps) and fps > 0):
        raise UserError(f"motion at {fps} frames a second: expected a number above 0")
    masks = {name: _mask(name, value, shape) for name, value in _by_track(arrays, mask).items()}
    frames, people, joints, coords = shape
    step = max(1, -(-frames * people * joints * 3 // budget))

    there = there or {name: visible(track) for name, track in arrays.items()}
    shown = {name: there[name][::step] for name in arrays}
    for name, hidden in masks.items():  # a masked joint that the track leaves out (zero) is not drawn, hollow or otherwise
        shown[name] = shown[name] & ~(hidden & (arrays[name] == 0).all(-1))[::step]
    world = {name: upright(track, units)[::step] for name, track in arrays.items()}
    flat = coords == 2 or units == "pixels"
    first = next(iter(arrays))
    trusted = {name: plausible(world[name], shown[name]) for name in arrays}
    seen = np.concatenate([world[n][trusted[n]] for n in arrays])
    centre, middle, radius, ground = _frame_the_view(world[first], trusted[first], seen, follow)
    # 16 bits a coordinate: a joint thrown far off is cut short rather than letting it coarsen all others
    unit = max(2 * float(np.abs(seen).max()) / _FULL, 1e-9) if seen.size else 1.0

    def pack(name: str) -> dict[str, str]:
        whole = np.where(shown[name][..., None], np.clip(np.round(world[name] / unit), -_FULL, _FULL), ABSENT).astype("<i2")
        packed = {"name": name, "data": base64.b64encode(whole.tobytes()).decode()}
        if name in masks:
            packed["mask"] = base64.b64encode(masks[name][::step].astype(np.uint8).tobytes()).decode()
        return packed

    plan = outline(skeleton)
    value = {
        "frames": len(world[first]), "people": people, "joints": joints, "fps": round(fps / step, 4), "unit": unit,
        "edges": plan.lines, "middles": plan.middles, "sides": plan.sides, "head": plan.head,
        "skull": round(head_radius(world[first], trusted[first], skeleton), 4),
        "yaw": 0.0 if flat else round(front(world[first], shown[first], skeleton) - float(YAW), 4), "flat": flat,
        "centre": [round(float(v), 4) for v in centre.ravel()], "middle": middle, "radius": radius, "ground": ground,
        "grid": nice(radius / 2), "tracks": [pack(name) for name in arrays],
    }  # fmt: skip
    return value, step, bool(masks)


def _same_shape(skeleton: Skeleton, arrays: Mapping[str, np.ndarray]) -> tuple[int, int, int, int]:
    if not arrays:
        raise UserError("a motion section needs at least one track")
    shapes = {name: a.shape for name, a in arrays.items()}
    shape = next(iter(shapes.values()))
    if len(set(shapes.values())) > 1 or len(shape) != 4 or shape[2] != len(skeleton) or shape[3] not in (2, 3) or 0 in shape:
        raise UserError(f"motion tracks {shapes}: expected one shape (frames, people, {len(skeleton)} joints, 2 or 3) for all")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UserError(f"motion track {name!r} holds NaN or infinity: set absent joints to zero")
    return shape[0], shape[1], shape[2], shape[3]


def _by_track(arrays: Mapping[str, np.ndarray], mask: np.ndarray | Mapping[str, np.ndarray] | None) -> Mapping[str, np.ndarray]:
    if mask is None:
        return {}
    if not isinstance(mask, Mapping):
        return dict.fromkeys(arrays, np.asarray(mask))
    if strange := set(mask) - set(arrays):
        raise UserError(f"masks for {sorted(strange)}, but the tracks are {list(arrays)}")
    return mask


def _mask(name: str, mask: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
    """`(T, M, J)` bool from `(T, J)` or `(T, M, J)`."""
    frames, people, joints, _ = shape
    mask = np.asarray(mask).astype(bool)
    if mask.shape == (frames, joints):
        mask = np.repeat(mask[:, None], people, 1)
    if mask.shape != (frames, people, joints):
        raise UserError(f"mask of track {name!r} {mask.shape}: expected ({frames}, {joints}) or ({frames}, {people}, {joints})")
    return mask


def _frame_the_view(world: np.ndarray, shown: np.ndarray, seen: np.ndarray, follow: bool) -> tuple[np.ndarray, float, float, float]:
    """Where the view looks: `(T, 2)` x and z for each frame, middle height, radius of what is shown, ground height."""
    frames = len(world)
    if not len(seen) or not shown.any():
        return np.zeros((frames, 2)), 0.0, 1.0, -1.0
    low, high = np.percentile(seen, [0.2, 99.8], axis=0)
    still = np.tile((low + high)[[0, 2]] / 2, (frames, 1))
    known = shown.any((1, 2))
    count = np.maximum(shown.sum((1, 2)), 1)[:, None]
    at = np.flatnonzero(known)
    means = ((world * shown[..., None]).sum((1, 2)) / count)[:, [0, 2]]
    moving = np.stack([np.interp(np.arange(frames), at, means[at, i]) for i in (0, 1)], -1)
    height = high[1] - low[1]
    follow = follow or float(np.linalg.norm((high - low)[[0, 2]])) > 1.5 * height
    centre = moving if follow else still
    off = np.where(shown[..., None], world[..., [0, 2]] - centre[:, None, None], 0)
    sideways = float(np.percentile(np.linalg.norm(off[shown], axis=-1), 99.5))
    radius = max(float(np.hypot(sideways, height / 2)), 1e-3) if height > 1e-6 or sideways > 1e-6 else 1.0
    rounded = [round(float(v), 4) for v in ((low[1] + high[1]) / 2, radius, low[1])]
    return centre, rounded[0], max(rounded[1], 1e-3), rounded[2]


def _canvas(label: str) -> str:
    return f'<canvas role="img" aria-label="stick figure: {html.escape(label)}"></canvas>'


def _markup(
    data: Sequence[Mapping[str, object]],
    kind: str,
    figures: str,
    frames: int,
    seconds: float,
    notes: Sequence[str],
    hollow: bool,
) -> str:
    # inside <script> only "<" could end the element or open a comment
    texts = [json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c") for value in data]
    motions = "".join(f'<script type="application/json" class="data">{text}</script>\n' for text in texts)
    masked = '<span><i class="hollow"></i>masked</span>' if hollow else ""
    speeds = "".join(f'<option value="{s}"{" selected" * (s == 1)}>{s}×</option>' for s in (0.25, 0.5, 1, 2))
    return f"""<div class="motion" data-seconds="{seconds:.4f}">
{motions}<div class="{kind}">{figures}</div>
<div class="controls"><button type="button">Play</button>
<input type="range" min="0" max="{frames - 1}" value="0" aria-label="frame">
<select aria-label="speed">{speeds}</select><span class="clock"></span></div>
<div class="key"><span><i style="background:var(--left)"></i>left side of the body</span>
<span><i style="background:var(--right)"></i>right side</span>{masked}{"".join(f"<span>{note}</span>" for note in notes)}
<span>drag to turn, double click to turn back</span></div>
<noscript><p>The moving figure needs JavaScript, which this file carries with it.</p></noscript>
</div>"""
