"""What the clips of a store seem to be that they should not: other units than metres, another axis up, a mirrored world, no positions.

Each is asked of all clips together, by medians, and told only where most of them agree: one clip of somebody who sits, lies or crawls,
and one joint that is lost, say nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..motion.conventions import METRES
from ..motion.landmarks import groups
from ..motion.plausible import Measures, measures
from ..motion.skeleton import Skeleton
from .store import Store

MOST_CLIPS = 128
"""Clips that are looked at, evenly spaced."""
USUAL = {"person": 1.7, "upper body": 0.8, "hand": 0.2}
"""Span of what a skeleton is of, metres, as `Measures` has it."""
PLAUSIBLE = {"person": (0.3, 3.0), "upper body": (0.1, 3.0), "hand": (0.04, 0.7), "unknown": (0.04, 3.0)}
"""Spans, metres, that are believed: of small children who sit, and of tall people who stretch."""
WHO = {"person": "people", "upper body": "upper bodies", "hand": "hands", "unknown": "people"}
UNLIKE = (0.35, 0.5)
"""How far lengths of a bone spread (between their quartiles, as a part of the median) in a quarter, and in a tenth, of the bones: of
sensors up to 0.25 and 0.31, of angles 0.43 and 0.81 (measured: docs/data.md)."""
TURN = 360.0
"""Most degrees of an angle."""
UNITS = {"cm": "centimeters", "mm": "millimeters", "in": "inches", "ft": "feet"}
AGREE = 0.6
"""Share of the clips whose people must point along another axis."""


def doubts(store: Store) -> list[str]:
    """A line for each doubt, with the option of `kinema data build` that mends it; none for what cannot be told.

    Reads up to `MOST_CLIPS` clips.
    """
    if not len(store):
        return []
    clips = [store.clip(int(i)) for i in np.unique(np.linspace(0, len(store) - 1, min(len(store), MOST_CLIPS)).astype(np.int64))]
    found = [measures(clip) for clip in clips]
    crowds = [clip.people > max(8, clip.frames) for clip in clips]
    lines: list[str] = []
    if sum(crowds) > AGREE * len(clips):
        people, frames = (int(np.median([c.positions.shape[axis] for c in clips])) for axis in (1, 0))
        lines.append(
            f"clips seem to have {people} people and {frames} frames; expected are arrays (frames, people, joints, coordinates)"
        )
    if clips[0].positions.shape[-1] == 3:
        third = _third(found)
        if third is not None:
            return [*lines, third]
        if clips[0].units == "metres":
            axis = _axis(found)
            size = _size(found, store.skeleton, axis == "-y")
            angles = _angles(found) if axis != "y" or size is not None else None
            if angles is not None:
                return [*lines, angles]
            lines += [line for line in (size, _centred(found, store.skeleton)) if line is not None]
    for line in (_up(found, clips[0].positions.shape[-1]), _mirrored(found)):
        lines += [line] if line is not None else []
    return lines


def _known(values: Sequence[float | None]) -> list[float]:
    return [v for v in values if v is not None]


def _third(found: Sequence[Measures]) -> str | None:
    """x and y of a picture, and a third number that is no coordinate."""
    thirds = [m.third for m in found if m.third is not None]
    if not thirds:
        return None
    low, high, others = (float(np.median([t[i] for t in thirds])) for i in range(3))
    if low == high == 0 and others > 0:
        return "the third coordinate is 0 throughout, as in poses of the image; write two coordinates, x and y"
    if others > 8 and low >= 0 and high <= 1:
        return (
            f"the third number of a joint lies from {low:.2g} to {high:.2g}, where the others are about {others:.3g}: is it a score? "
            "Write x and y as positions and the scores as confidence (.npz)"
        )
    return None


def _angles(found: Sequence[Measures]) -> str | None:
    """Bones keep their length, whatever the units; of each clip as parts of its usual bone, so that people may be of any size."""
    lengths = [m.bones for m in found if m.bones is not None]
    if not lengths:
        return None
    pooled = np.concatenate(lengths)
    pooled = pooled[:, np.isfinite(pooled).sum(0) >= 8]
    if not pooled.shape[1]:
        return None
    low, middle, high = np.nanquantile(pooled, (0.25, 0.5, 0.75), axis=0)
    there = middle > 0
    spread = (high - low)[there] / middle[there]
    farthest = float(np.median(_known([m.farthest for m in found])))
    if not len(spread) or farthest > TURN or any(np.quantile(spread, q) < s for q, s in zip((0.75, 0.9), UNLIKE, strict=True)):
        return None
    return (
        f"bones do not keep their length (a tenth of them differ by {np.quantile(spread, 0.9):.0%} and more): are these angles, in "
        "degrees or radians? Kinema reads positions: compute them from the angles and the bones first"
    )


def _size(found: Sequence[Measures], skeleton: Skeleton, down: bool) -> str | None:
    """Whether people are of a size in metres, and if not, in what."""
    span = float(np.median(_known([m.span for m in found]) or [math.nan]))
    body = _body(skeleton)
    low, high = PLAUSIBLE[body]
    if not span > 0 or low <= span <= high:
        return None
    bones = _known([m.bone for m in found])
    said = f"{WHO[body]} seem to be {_number(span)} m large" + (
        f", with bones of {_number(float(np.median(bones)))} m" if bones else ""
    )
    off = {u: abs(math.log(span * METRES[u] / USUAL.get(body, USUAL["person"]))) for u in UNITS}
    near = sorted((u for u in UNITS if low <= span * METRES[u] <= high and off[u] < 0.95), key=lambda u: off[u])
    near = [u for u in near if off[u] < off[near[0]] + (0.35 if body == "person" else 2.5)]
    guesses = [f"{UNITS[u]}: `--units {u}`" for u in near]
    shoulders = _known([m.shoulders for m in found])
    if shoulders and np.mean(np.abs(np.array(shoulders) - 1) < 0.02) > AGREE:
        guesses.append("normalised (the shoulders are 1 apart): `--units none`")
    if down and span > high:
        guesses.append("pixels: `--units px`")
    if not guesses:
        guesses = ["no unit of length: `--units none`"]
    return f"{said}; is this in {', or '.join(guesses)}?"


def _number(value: float) -> str:
    """Three digits, and no power of ten."""
    return f"{float(f'{value:.3g}'):.12g}"


def _centred(found: Sequence[Measures], skeleton: Skeleton) -> str | None:
    """A joint that is the origin of every frame."""
    joint, most = Counter(m.origin for m in found).most_common(1)[0]
    if joint is None or most <= AGREE * len(found):
        return None
    return (
        f"{skeleton.joints[joint]} is at 0 in every frame: positions are relative to it, so where people go is lost, and a joint at 0 counts "
        "as absent; give positions in the room if you have them"
    )


def _body(skeleton: Skeleton) -> str:
    """What a skeleton is of, by the names of its joints."""
    there = groups(skeleton.joints)
    if "foot" in there:
        return "person"
    if {"head", "neck", "shoulder", "hip"} & set(there):
        return "upper body"
    return "hand" if "hand" in there else "unknown"


def _axis(found: Sequence[Measures]) -> str | None:
    """The axis along which most people are upright; None: they differ, or their joints do not tell."""
    count, total = _axes(found)
    axis, most = count.most_common(1)[0] if count else ("", 0)
    return axis if most > AGREE * total else None


def _axes(found: Sequence[Measures]) -> tuple[Counter[str], int]:
    """Of how many clips people are along which axis, and how many tell it or could."""
    ups = [m.up for m in found if m.up is not None]
    count: Counter[str] = Counter()
    for up in ups:
        axis = int(np.abs(up).argmax())
        if abs(up[axis]) >= 0.75:
            count[("-" if up[axis] < 0 else "") + "xyz"[axis]] += 1
    return count, len(ups)


def _up(found: Sequence[Measures], coordinates: int) -> str | None:
    expected = "y" if coordinates == 3 else "-y"
    count, total = _axes(found)
    axis = _axis(found)
    if axis is not None and axis != expected and count[expected] <= 0.1 * total:
        where = "expected is y" if coordinates == 3 else "expected is -y, as in an image"
        return f"heads seem to be above feet along {axis} (in {count[axis]} of {total} clips looked at); {where}: `--up {axis}`"
    if total or coordinates != 3:
        return None
    # no names to go by: people are longest along the vertical axis while they stand
    longest = Counter(m.longest[0] for m in found if m.longest is not None and m.longest[1] >= 1.5)
    if not longest:
        return None
    along, most = longest.most_common(1)[0]
    if along == 1 or most < 0.8 * len(found) or longest[1]:
        return None
    name = "xyz"[along]
    return (
        f"people seem to be longest along {name}, and the joints' names do not say which end is up; if it is along {name}: "
        f"`--up {name}` or `--up -{name}`"
    )


def _mirrored(found: Sequence[Measures]) -> str | None:
    known = _known([m.mirrored for m in found])
    if len(known) < 0.5 * len(found) or sum(m > 0.9 for m in known) < 0.8 * len(known):
        return None
    return (
        "toes point backwards by the names of left and right: the axes are left-handed (`--left-handed`), or the names of left and "
        "right are exchanged"
    )
