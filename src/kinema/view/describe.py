"""What is in a clip, told in words and numbers."""

from __future__ import annotations

import numpy as np

from ..motion.clip import Clip
from .scene import visible

_UNIT = {"metres": "m", "pixels": "px", "normalised": "(normalised)"}


def describe(clip: Clip) -> str:
    """Aligned plain text, one fact a line: duration, people, joints, extent, what is missing, and what is known about it.

    People are the tracks of the clip; `extent` is the box that holds all visible joints, x by y (by z); `dropped` is the share of
    joints of present people that are absent or have confidence 0.
    """
    present, shown = clip.present(), visible(clip.positions, clip.confidence)
    count = present.sum(1)
    rows = [
        ("source", clip.source),
        ("label", " ".join(str(v) for v in (clip.label, clip.label_name) if v is not None)),
        ("subject", clip.subject or ""),
        ("view", clip.view or ""),
        ("frames", f"{clip.frames} ({clip.seconds:.2f} s at {clip.fps:g} frames a second)"),
        ("people", _people(clip, present, count)),
        ("joints", f"{len(clip.skeleton)} ({clip.skeleton.name}), {clip.positions.shape[-1]}-D"),
        ("extent", _extent(clip, shown)),
        ("dropped", _dropped(clip, present, shown)),
        (
            "also has",
            ", ".join(n for n in ("confidence", "body_ids", "rotations", "offsets", "contacts") if getattr(clip, n) is not None),
        ),
        ("image", f"{clip.image_size[0]} x {clip.image_size[1]} px" if clip.image_size else ""),
        *((f"meta {key}", str(value)) for key, value in clip.meta.items()),
        *(("caption", _caption(c.text, c.start, c.end)) for c in clip.captions),
    ]
    rows = [(name, " ".join(value.split())) for name, value in rows if value]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _people(clip: Clip, present: np.ndarray, count: np.ndarray) -> str:
    if not count.any():
        return f"nobody in any frame (of {clip.people} tracks)"
    often = ", ".join(f"{n}: {(count == n).sum()} frames" for n in np.unique(count))
    tracks = f"{clip.people} track{'s' * (clip.people > 1)}"
    if count.min() == count.max():
        return f"{count[0]} in every frame" + (f" ({tracks})" if clip.people != count[0] else "")
    return f"{count.min()} to {count.max()} in a frame ({often}; {tracks}, seen in {', '.join(str(n) for n in present.sum(0))})"


def _extent(clip: Clip, shown: np.ndarray) -> str:
    seen = clip.positions[shown]
    if not len(seen):
        return ""
    low, high = seen.min(0), seen.max(0)
    ranges = ", ".join(f"{axis} {a:.3g} to {b:.3g}" for axis, a, b in zip("xyz", low, high, strict=False))
    return " x ".join(f"{s:.3g}" for s in high - low) + f" {_UNIT[clip.units]} ({ranges})"


def _dropped(clip: Clip, present: np.ndarray, shown: np.ndarray) -> str:
    here = shown[present]  # (people present in a frame, J)
    if not here.size or here.all():
        return "none"
    worst = (~here).mean(0)
    names = [f"{clip.skeleton.joints[j]} {worst[j]:.0%}" for j in np.argsort(-worst, kind="stable")[:3] if worst[j] > 0]
    return f"{(~here).mean():.1%} of joints (most: {', '.join(names)})"


def _caption(text: str, start: float, end: float | None) -> str:
    return f"{text} [{start:g} s to {'the end' if end is None else f'{end:g} s'}]"
