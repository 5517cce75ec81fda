"""Where the feet are: planned plants, and the swings between them.

A foot is described by its foot joint (the ball of the foot), its heading and its pitch; while it is planted the ball does not move
at all, and while its pitch is zero neither does the ankle. A heel rises by pitching about the ball.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .body import JOINT, TOE_HEIGHT, Body
from .curves import bump, ease
from .take import Step

CONTACTS = ("left_ankle", "left_foot", "right_ankle", "right_foot")
"""The joints of a clip's contact columns."""


@dataclass(frozen=True, eq=False)
class Path:
    """Where a person stands: `t` `(T,)` seconds, `place` `(T, 2)` x and z in metres, `heading` `(T,)` radians to the left."""

    t: np.ndarray
    place: np.ndarray
    heading: np.ndarray

    def at(self, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(x, z, heading) at some moments."""
        return (
            np.interp(seconds, self.t, self.place[:, 0]),
            np.interp(seconds, self.t, self.place[:, 1]),
            np.interp(seconds, self.t, self.heading),
        )


@dataclass(frozen=True, eq=False)
class Feet:
    """Both feet: `ball` `(3, T, 2)` metres, `heading`, `pitch` `(T, 2)` radians, `contacts` `(T, 4)` bool as `CONTACTS`."""

    ball: np.ndarray
    heading: np.ndarray
    pitch: np.ndarray
    contacts: np.ndarray


def follow(
    path: Path, steps: Sequence[Step], heels: np.ndarray, body: Body, stagger: float, frames: slice, clear: float = 0.0
) -> Feet:
    """The feet of a person who starts in the neutral stance at the path's first moment and takes these steps.

    Args:
        path: of the person, all frames.
        steps: in any order, in seconds of the path; those of one foot must not overlap.
        heels: `(T, 2)` extra heel rise while planted, degrees.
        body: stance and leg length. stagger: how far the left foot stands in front, leg lengths.
        frames: which frames of the path are wanted.
        clear: the least height of a swing, leg lengths.
    """
    t = path.t[frames]
    ball, heading = np.empty((3, len(t), 2)), np.empty((len(t), 2))
    pitch, moving = np.radians(heels[frames]), np.empty((len(t), 2), bool)
    for foot in (0, 1):
        own = sorted((s for s in steps if s.foot == foot), key=lambda s: s.off)
        sign = 1.0 - 2.0 * foot
        moments = np.array([path.t[0], *(s.at for s in own)])
        x, z, facing = path.at(moments)
        side = sign * body.leg * (body.stance + np.array([0.0, *(s.side for s in own)]))
        # the ankle, not the ball, stands below the hip
        front = body.leg * (0.5 * sign * stagger + np.array([0.0, *(s.forward for s in own)])) + body.offsets[JOINT["left_foot"], 2]
        plant_x = x + side * np.cos(facing) + front * np.sin(facing)
        plant_z = z - side * np.sin(facing) + front * np.cos(facing)
        plant_turn = facing + sign * np.radians(body.toe_out + np.array([0.0, *(s.turn for s in own)]))
        ball[0, :, foot], ball[2, :, foot], heading[:, foot] = plant_x[0], plant_z[0], plant_turn[0]
        ball[1, :, foot], moving[:, foot] = TOE_HEIGHT, False
        if not own:
            continue
        off, on, lift, heel = np.array([(s.off, s.on, max(s.lift, clear), s.heel) for s in own]).T
        u = ease(t[:, None], off, on)
        moving[:, foot] = ((u > 0) & (u < 1)).any(1)
        ball[0, :, foot] += (u * np.diff(plant_x)).sum(1)
        ball[2, :, foot] += (u * np.diff(plant_z)).sum(1)
        heading[:, foot] += (u * np.diff(plant_turn)).sum(1)
        ball[1, :, foot] += (bump(t[:, None], off, on) * lift * body.leg).sum(1)
        rising, falling = (
            ease(t[:, None], off - 0.5 * (on - off), off + 0.1 * (on - off)),
            ease(t[:, None], off, off + 0.75 * (on - off)),
        )
        pitch[:, foot] += np.radians((rising * (1 - falling) * heel).sum(1))
        for step, faces in zip(own, facing[1:], strict=True):
            for via in step.vias:
                span = step.on - step.off
                w = bump(t, step.off + via.start * span, step.off + via.end * span)
                across, along = sign * via.side * body.leg, via.forward * body.leg
                ball[0, :, foot] += w * (across * np.cos(faces) + along * np.sin(faces))
                ball[1, :, foot] += w * via.up * body.leg
                ball[2, :, foot] += w * (along * np.cos(faces) - across * np.sin(faces))
                pitch[:, foot] += w * np.radians(via.pitch)
    planted = ~moving
    contacts = np.stack([planted & (pitch == 0), planted], -1).reshape(len(t), 4)
    return Feet(ball, heading, pitch, contacts)
