"""Composition: actions one after the other on a timeline, for one person or for two who meet.

Every action starts and ends standing on the neutral stance (its channels may end elsewhere: seated), so composing is blending
channels between the end of one action and the start of the next, and putting their planned steps one after the other. No foot
moves in between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import UserError
from . import rig
from .body import Body
from .curves import ease
from .feet import Path, follow
from .pairs import APART
from .table import ACTIONS
from .take import CHANNEL, CHANNELS, Step, Style, Take, within_limits

FPS = 20.0
_OVERLAP = 0.15  # seconds that a blend reaches into its two actions


@dataclass(frozen=True)
class Part:
    """An action on a timeline: what, how, and from when to when (seconds)."""

    action: str
    style: Style
    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Person:
    """Who acts: the body, the channels `(D,)` at rest, the stagger of the stance and the small movements `(T, D)` on top of all."""

    body: Body
    rest: np.ndarray
    stagger: float
    sway: np.ndarray


@dataclass(frozen=True, eq=False)
class Performance:
    """People in motion, exact.

    Attributes:
        positions: `(T, M, J, 3)` metres. rotations: `(T, M, J, 4)` local, wxyz. contacts: `(T, M, 4)` bool as `feet.CONTACTS`.
        channels: `(T, M, D)`, degrees and leg lengths, as `take.CHANNELS`. parts: what was done when, in seconds of the
        performance.
    """

    positions: np.ndarray
    rotations: np.ndarray
    contacts: np.ndarray
    channels: np.ndarray
    parts: tuple[Part, ...]


def playable(names: Sequence[str]) -> bool:
    """Whether these actions can follow one another.

    After two people have met, nobody walks off or turns before they meet again, and nobody walks forward through the other.
    """
    met = [i for i, name in enumerate(names) if ACTIONS[name].people == 2]
    if not met:
        return True
    first, last = met[0], met[-1]
    moved = [i for i, name in enumerate(names) if ACTIONS[name].kind == "locomotion"]
    ahead = [i for i, name in enumerate(names) if name in ("walk", "run", "jump", "march")]
    return not any(first < i < last for i in moved) and not any(i > first for i in ahead)


class Timeline:
    """Takes of all people, being put one after the other."""

    def __init__(self, frames: int, people: Sequence[Person], lead: float):
        self.t = np.arange(frames) / FPS
        self.people, self.end = people, lead
        self.takes: list[list[tuple[float, Take]]] = [[] for _ in people]
        self.parts: list[Part] = []

    def add(self, name: str, style: Style) -> None:
        """Appends an action; the second person waits where it is done by one.

        Raises:
            UserError: two are needed and there is one.
        """
        action = ACTIONS[name]
        if action.people > len(self.people):
            raise UserError(f"action {name!r} needs two people; give two")
        settle = max(action.settle, ACTIONS[self.parts[-1].action].settle) if self.parts else 0.0
        start = float(self.end + settle)
        bodies = [p.body for p in self.people]
        takes = [
            Take(self.t - start, style, p.body, p.rest, bodies[1 - i] if len(bodies) == 2 else None)
            for i, p in enumerate(self.people)
        ]
        action.write(*takes[: action.people])
        for take, mine in zip(takes, self.takes, strict=True):
            take.finish()
            mine.append((start, take))
        self.end = float(start + takes[0].seconds)
        self.parts.append(Part(name, style, start, self.end))

    def channels(self, person: int) -> tuple[np.ndarray, np.ndarray]:
        """`(T, D)` blended channels and `(T, 2)` heel rises of a person."""
        (_, first), *rest = self.takes[person]
        c, heels = first.c + 0.0, first.heels + 0.0
        for before, (start, take) in zip(self.parts, rest, strict=False):
            w = ease(self.t, before.end - _OVERLAP, start + _OVERLAP)[:, None]
            c += w * (take.c - c)
            heels += take.heels
        return within_limits(c + self.people[person].sway[: len(c)]), heels

    def path(self, person: int, heading: float, place: np.ndarray) -> Path:
        """The person's path from a place `(2,)` (x, z in metres) and a heading in radians."""
        takes = [take for _, take in self.takes[person]]
        facing = heading + np.radians(np.sum([take.heading for take in takes], 0))
        forward, left = (
            self.people[person].body.leg * np.sum([getattr(take, n) for take in takes], 0) for n in ("forward", "left")
        )
        speed = np.stack([forward * np.sin(facing) + left * np.cos(facing), forward * np.cos(facing) - left * np.sin(facing)], 1)
        trapezoids = 0.5 * (speed[1:] + speed[:-1]) / FPS
        return Path(self.t, place + np.concatenate([np.zeros((1, 2)), np.cumsum(trapezoids, 0)]), facing)

    def steps(self, person: int) -> list[Step]:
        """All planned steps in seconds of the timeline."""
        return [
            Step(s.foot, s.off + start, s.on + start, s.at + start, s.side, s.forward, s.turn, s.lift, s.heel, s.vias)
            for start, take in self.takes[person]
            for s in take.steps
        ]

    def perform(self, frames: slice, heading: float, place: np.ndarray) -> Performance:
        """Solves every person for some frames. The first one starts at `place` facing `heading` (radians from +z to +x)."""
        paths = [self.path(0, heading, place)]
        if len(self.people) == 2:
            paths.append(self._other(paths[0]))
        solved, shown, grounded = [], [], []
        for i, (person, path) in enumerate(zip(self.people, paths, strict=True)):
            c, heels = self.channels(i)
            feet = follow(path, self.steps(i), heels, person.body, person.stagger, frames)
            solved.append(rig.pose(c[frames], path.place[frames], path.heading[frames], feet, person.body))
            shown.append(c[frames])
            grounded.append(feet.contacts)
        offset = self.t[frames][0]
        parts = tuple(Part(p.action, p.style, p.start - offset, p.end - offset) for p in self.parts)
        rotations, positions = (np.stack(x, 1) for x in zip(*solved, strict=True))
        return Performance(positions, rotations, np.stack(grounded, 1), np.stack(shown, 1), parts)

    def _other(self, first: Path) -> Path:
        """The second person's path: opposite the first one, `APART`, at the moment they first meet."""
        met = next((p.start for p in self.parts if ACTIONS[p.action].people == 2), self.parts[0].start)
        x, z, heading = (float(v) for v in first.at(np.array(met)))
        place = np.array([x + APART * math.sin(heading), z + APART * math.cos(heading)])
        return self.path(1, heading + math.pi, place)


def rest_posture(body: Body, slump: float, arms: Sequence[Sequence[float] | None]) -> np.ndarray:
    """`(D,)` channels of somebody who stands and does nothing.

    Args:
        body: its manner. slump: further forward bend, degrees.
        arms: for the left and the right arm what it does, (flex, abd, twist, elbow), or None to let it hang.
    """
    c = np.zeros(len(CHANNELS))
    c[CHANNEL["shift_y"]] = -0.014
    c[CHANNEL["bend"]], c[CHANNEL["nod"]] = body.slump + slump, -0.4 * (body.slump + slump)
    for side, angles in zip(("left", "right"), arms, strict=True):
        first = CHANNEL[f"{side}_flex"]
        c[first : first + 4] = (2.0, body.carriage, 8.0, body.bend) if angles is None else angles
    return c
