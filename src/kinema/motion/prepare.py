"""What happens to a clip before a method sees it: saved with the checkpoint, the same in training and prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import UserError
from ..words import plural
from .align import centre_every, centre_first, unit_scale, yaw_align
from .clip import Clip
from .ntu_pipelines import cmd_actors, cmd_centre, mamp_actors, mamp_centre, mamp_duplicate


@dataclass(frozen=True)
class Preparation:
    """Steps in the order they are applied. The defaults leave a clip as it was read, but for `people`.

    Attributes:
        actors: ``as-read``: the people of the file; ``mamp``: denoised and assigned to two actors as MAMP does for NTU RGB+D; ``cmd``: the
            two of the first four slots that move most, as CMD does.
        empty: frames without anybody. ``keep``; ``drop``; ``prefix``: keep as many first frames as there are frames with somebody,
            which is how the published loader reads a zero-padded array.
        longest: frames beyond this many are cut off (None: none are).
        centre: ``none``; ``first``: the root of the first person in the first frame becomes the origin (keeps the path);
            ``every``: in every frame (removes the path); ``mamp``: as MAMP does for NTU RGB+D; ``cmd``: as CMD does, who also fills
            gaps at the end and turns the first frame's spine to z and its shoulders to x.
        yaw: turn the clip about the vertical axis so that shoulders and hips of the first frames lie along x.
        scale: divide by body size.
        people: `M`. Fewer are filled with zeros; of more, those that move most are kept.
        absent: the second person of a one-person clip is ``zero`` or a ``copy`` of the first (MAMP on NTU-120).
    """

    actors: Literal["as-read", "mamp", "cmd"] = "as-read"
    empty: Literal["keep", "drop", "prefix"] = "keep"
    longest: int | None = None
    centre: Literal["none", "first", "every", "mamp", "cmd"] = "none"
    yaw: bool = False
    scale: bool = False
    people: int = 1
    absent: Literal["zero", "copy"] = "zero"

    def __post_init__(self) -> None:
        if self.people < 1 or (self.longest is not None and self.longest < 1):
            raise UserError(f"people {self.people}, longest {self.longest}: expected 1 or more")
        if self.absent == "copy" and self.people != 2:
            raise UserError(f"absent copy: it copies the first of two people; set people to 2, not {self.people}")


def prepare(clip: Clip, preparation: Preparation) -> Clip:
    """`(T, any M, J, C)` -> `(T', people, J, C)`.

    Raises:
        UserError: the clip has no person at all, or lacks what a step needs (joints to align by, tracker ids for ``mamp``).
    """
    p = preparation
    if not clip.present().any():
        raise UserError(f"{clip.source or 'clip'}: nobody is in any of its {plural(clip.frames, 'frame')}")
    if p.actors == "mamp":
        clip = mamp_actors(clip)
    elif p.actors == "cmd":
        clip = cmd_actors(clip)
    if p.empty != "keep":
        clip = _without_empty(clip, p.empty)
    if p.longest is not None and clip.frames > p.longest:
        clip = take_frames(clip, slice(0, p.longest))
    if p.centre == "mamp":
        clip = mamp_centre(clip)
    elif p.centre == "cmd":
        clip = cmd_centre(clip)
    elif p.centre == "first":
        clip = centre_first(clip)
    elif p.centre == "every":
        clip = centre_every(clip)
    if p.yaw:
        clip = yaw_align(clip)
    if p.scale:
        clip = unit_scale(clip)
    clip = _with_people(clip, p.people)
    return mamp_duplicate(clip) if p.absent == "copy" else clip


def _without_empty(clip: Clip, rule: str) -> Clip:
    somebody: np.ndarray = np.asarray(clip.present().any(1))
    if somebody.all():
        return clip
    return take_frames(clip, somebody if rule == "drop" else slice(0, int(somebody.sum())))


def take_frames(clip: Clip, frames: slice | np.ndarray) -> Clip:
    """A clip of some of its frames, everything that has a time axis cut alike."""
    per_frame = ("positions", "confidence", "body_ids", "rotations", "contacts")
    return clip.with_(**{k: v[frames] for k in per_frame if (v := getattr(clip, k)) is not None})


def take_people(clip: Clip, people: list[int]) -> Clip:
    """A clip of some of its people, in this order."""
    changes = {
        k: v[:, people]
        for k in ("positions", "confidence", "body_ids", "rotations", "contacts")
        if (v := getattr(clip, k)) is not None
    }
    if clip.offsets is not None:
        changes["offsets"] = clip.offsets[people]
    return clip.with_(**changes)


def _with_people(clip: Clip, people: int) -> Clip:
    if clip.people > people:
        present = clip.present()
        energy = [clip.positions[present[:, m], m].var(axis=0).sum() if present[:, m].any() else -1.0 for m in range(clip.people)]
        kept = np.argsort(np.asarray(energy), kind="stable")[::-1][:people]
        return take_people(clip, sorted(int(m) for m in kept))
    if clip.people == people:
        return clip
    missing = people - clip.people

    def pad(value: np.ndarray) -> np.ndarray:
        return np.pad(value, [(0, 0), (0, missing)] + [(0, 0)] * (value.ndim - 2))

    positions = pad(clip.positions)
    others = {k: pad(v) for k in ("confidence", "body_ids") if (v := getattr(clip, k)) is not None}
    # a filled-in person has no pose: what describes poses of people that exist is left behind
    return clip.with_(positions=positions, **others, rotations=None, offsets=None, contacts=None)
