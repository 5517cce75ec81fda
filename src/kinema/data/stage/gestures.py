"""Gestures: wave, point, clap, bow, salute, cross arms."""

from __future__ import annotations

import math

import numpy as np

from .action import Action, Words
from .curves import pulse
from .take import Take, held, reach


def wave(take: Take) -> None:
    """The hand beside the head, the forearm swinging."""
    s = take.style
    period = 0.62 / s.speed
    rise = 0.6 / s.speed
    take.seconds = 2 * rise + s.repeats * period + 0.3
    w = held(take.t, take.seconds, rise)
    high = 75 + 45 * s.variant
    take.arm("left", w, (high, 35, -35, 85 - 35 * s.variant))
    go = pulse(take.t, 0.7 * rise, rise + 0.1, take.seconds - rise - 0.1, take.seconds - 0.7 * rise)
    beat = np.sin(2 * math.pi * (take.t - rise) / period) * go * s.amplitude
    take.add(left_twist=26 * beat, left_elbow=10 * beat, left_abd=9 * beat, side=2 * beat)


def point(take: Take) -> None:
    """The arm stretched out ahead or aside, the gaze following."""
    s = take.style
    rise = 0.6 / s.speed
    take.seconds = 2 * rise + 0.5 + 0.7 * s.repeats
    w = held(take.t, take.seconds, rise)
    away = -20 + 75 * s.variant
    take.arm("left", w, (78 + 14 * s.amplitude, away, 10, 8))
    take.add(look=0.5 * away * w, turn=0.25 * away * w)


def clap(take: Take) -> None:
    """Both hands meet before the chest."""
    s = take.style
    period = 0.5 / s.speed
    rise = 0.5
    take.seconds = 2 * rise + (2 + s.repeats) * period
    w = held(take.t, take.seconds, rise)
    inner = (0.02 - take.body.shoulder) / take.body.arm  # a little outside the midline
    near = reach(inner, -0.22 + 0.2 * s.variant, 0.60, 0.6)
    apart = reach(inner + 0.28 * s.amplitude, -0.22 + 0.2 * s.variant, 0.56, 0.8)
    take.arm("both", w, apart)
    together = (0.5 - 0.5 * np.cos(2 * math.pi * (take.t - rise) / period)) * w
    take.add(**{f"{a}_{n}": together * (x - y) for a in ("left", "right") for n, x, y in zip(_ARM, near, apart, strict=True)})


_ARM = ("flex", "abd", "twist", "elbow")


def bow(take: Take) -> None:
    """Bends from the hips and the back."""
    s = take.style
    rise = 0.95 / s.speed
    take.seconds = 2 * rise + 0.3 + 0.4 * s.variant
    w = held(take.t, take.seconds, rise)
    deep = s.amplitude * (0.8 + 0.4 * s.variant)
    take.add(pitch=30 * deep * w, bend=28 * deep * w, nod=14 * deep * w, shift_z=-0.13 * deep * w)
    take.add(left_flex=34 * deep * w, right_flex=34 * deep * w)


def salute(take: Take) -> None:
    """The hand at the temple."""
    s = take.style
    rise = 0.55 / s.speed
    take.seconds = 2 * rise + 0.6 + 0.5 * s.repeats
    w = held(take.t, take.seconds, rise)
    take.arm("left", w, reach(*take.body.from_shoulder(0.09, 0.08, 0.13), out=1.0))
    take.to(w, bend=-4, side=0)


def cross_arms(take: Take) -> None:
    """Both forearms folded on the chest."""
    s = take.style
    rise = 0.75 / s.speed
    take.seconds = 2 * rise + 0.5 + 0.7 * s.repeats
    w = held(take.t, take.seconds, rise)
    width = take.body.shoulder / take.body.arm
    take.arm("left", w, reach(-1.15 * width, -0.38, 0.36, 0.5))
    take.arm("right", w, reach(-1.0 * width, -0.30, 0.44, 0.5))
    take.add(bend=-4 * s.amplitude * w, shift_x=0.03 * s.amplitude * w)


ACTIONS = (
    Action("wave", "gesture", wave, Words("waves", "waving", "wave", "with the {side} hand")),
    Action("point", "gesture", point, Words("points", "pointing", "point", "ahead with the {side} hand")),
    Action("clap", "gesture", clap, Words("claps", "clapping", "clap", "both hands")),
    Action("bow", "gesture", bow, Words("bows", "bowing", "bow")),
    Action("salute", "gesture", salute, Words("salutes", "saluting", "salute", "with the {side} hand")),
    Action("cross_arms", "gesture", cross_arms, Words("crosses", "crossing", "cross", "the arms in front of the chest")),
)
