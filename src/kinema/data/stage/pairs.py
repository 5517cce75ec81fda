"""Two people: shake hands, high five, push, hug, give. They start and end facing each other at `APART`."""

from __future__ import annotations

import math

import numpy as np

from .action import Action, Words
from .curves import bump, pulse
from .take import Take, reach

APART = 1.45
"""Metres between two people before and after what they do together."""


def _meet(a: Take, b: Take, distance: float, middle: float) -> tuple[float, float]:
    """Both walk up to `distance` metres, spend `middle` seconds there and step back; returns when the middle begins and ends."""
    go = 0.95 / a.style.speed**0.5
    for take in (a, b):
        step = 0.5 * (APART - distance) / take.body.leg
        take.walk_over(step, 0.0, go)
        take.walk_over(-step, go + middle, 2 * go + middle)
        take.seconds = 2 * go + middle + 0.1
    return go, go + middle


def _touch(take: Take, other: Take, distance: float, height: float, across: float) -> tuple[float, float, float]:
    """A point halfway between the two, seen from the working shoulder in arm lengths: `across` metres outwards of the midline."""
    body = take.body
    level = 0.5 * (body.height_of("right_shoulder") + other.body.height_of("right_shoulder")) + height
    return (across - body.shoulder) / body.arm, (level - body.height_of("right_shoulder")) / body.arm, 0.5 * distance / body.arm


def shake_hands(a: Take, b: Take) -> None:
    """Hands meet between the two and go up and down."""
    s = a.style
    distance = 0.50 * (a.body.arm + b.body.arm) + 0.22
    period = 0.42 / s.speed
    start, end = _meet(a, b, distance, 0.7 + s.repeats * period)
    for take, other in ((a, b), (b, a)):
        w = pulse(take.t, start - 0.55, start + 0.15, end - 0.15, end + 0.5)
        take.arm("left", w, reach(*_touch(take, other, distance, -0.28, 0.04), out=0.3))
        shake = np.sin(2 * math.pi * (take.t - start) / period) * pulse(take.t, start + 0.1, start + 0.35, end - 0.35, end - 0.1)
        take.add(left_flex=9 * s.amplitude * shake, left_elbow=-6 * s.amplitude * shake, bend=4 * w, nod=3 * w)


def high_five(a: Take, b: Take) -> None:
    """Hands wind up and meet above the shoulders."""
    s = a.style
    distance = 0.42 * (a.body.arm + b.body.arm) + 0.2
    start, end = _meet(a, b, distance, 0.75)
    hit = 0.5 * (start + end)
    for take, other in ((a, b), (b, a)):
        wind = pulse(take.t, hit - 0.75, hit - 0.35, hit - 0.25, hit)
        take.arm("left", wind, reach(0.12, 0.35 + 0.1 * s.amplitude, 0.15, 1.2))
        slap = pulse(take.t, hit - 0.3, hit, hit + 0.12, hit + 0.65)
        take.arm("left", slap, reach(*_touch(take, other, distance, 0.20, 0.10), out=0.6))
        take.add(turn=-10 * s.amplitude * slap, nod=-6 * slap)


def push(a: Take, b: Take) -> None:
    """The first pushes the second with both arms, who stumbles back."""
    s = a.style
    distance = 0.30 + 0.62 * a.body.arm
    go = 0.95 / s.speed**0.5
    hit, back = go + 0.38, 0.38 * s.amplitude  # how far the other is pushed back, metres
    approach = APART - distance
    a.walk_over(approach / a.body.leg, 0.0, go)
    b.walk_over(-back / b.body.leg, hit - 0.02, hit + 0.75)
    a.walk_over((back - approach) / a.body.leg, hit + 0.85, hit + 0.85 + go)
    near, chest = reach(-0.05, -0.1, 0.32, 0.8), reach(-0.1, -0.06, 0.90, 0.8)
    a.arm("both", pulse(a.t, 0.4 * go, go, hit, hit + 0.3), near)
    out = pulse(a.t, hit - 0.32, hit, hit + 0.15, hit + 0.75)
    a.arm("both", out, chest)
    a.add(bend=10 * out, pitch=6 * out, shift_z=0.07 * out)
    hurt = pulse(b.t, hit - 0.06, hit + 0.3, hit + 0.45, hit + 1.2)
    b.add(bend=-16 * s.amplitude * hurt, pitch=-9 * s.amplitude * hurt, nod=16 * hurt, left_flex=38 * hurt, right_flex=34 * hurt)
    b.add(left_abd=24 * hurt, right_abd=20 * hurt, left_elbow=25 * hurt, right_elbow=20 * hurt)
    a.seconds = b.seconds = hit + 0.85 + go + 0.1


def hug(a: Take, b: Take) -> None:
    """Both arms around the other."""
    s = a.style
    distance = 0.36
    start, end = _meet(a, b, distance, 0.7 + 0.3 * s.repeats)
    for take, high in ((a, 0.02), (b, -0.14)):
        w = pulse(take.t, start - 0.75, start + 0.15, end - 0.1, end + 0.7)
        width = take.body.shoulder / take.body.arm
        take.arm("both", w, reach(0.03 - 0.6 * width, high, 0.78, 1.6))
        take.add(bend=8 * s.amplitude * w, tilt=9 * w, nod=4 * w)


def give(a: Take, b: Take) -> None:
    """The first holds something out, the second takes it."""
    s = a.style
    distance = 0.52 * (a.body.arm + b.body.arm) + 0.26
    start, end = _meet(a, b, distance, 1.1)
    swap = 0.5 * (start + end)
    carry = (18.0, 6.0, 25.0, 88.0)
    a.arm("left", pulse(a.t, -0.6, -0.1, swap, swap + 0.5), carry)
    a.arm("left", pulse(a.t, swap - 0.65, swap - 0.1, swap + 0.1, swap + 0.6), reach(*_touch(a, b, distance, -0.22, 0.0), out=0.3))
    b.arm("left", pulse(b.t, swap - 0.55, swap, swap + 0.1, b.seconds), reach(*_touch(b, a, distance, -0.22, 0.0), out=0.3))
    b.arm("left", pulse(b.t, swap + 0.1, swap + 0.6, b.seconds - 0.3, b.seconds + 0.3), carry)
    w = bump(a.t, swap - 0.7, swap + 0.7)
    for take in (a, b):
        take.add(bend=8 * s.amplitude * w, nod=8 * w)


ACTIONS = (
    Action(
        "shake_hands",
        "pair",
        shake_hands,
        Words("shakes", "shaking", "shake", "hands with another person", together="shake hands", together_gerund="shaking hands"),
    ),
    Action(
        "high_five",
        "pair",
        high_five,
        Words(
            "gives", "giving", "give", "another person a high five", together="do a high five", together_gerund="doing a high five"
        ),
    ),
    Action("push", "pair", push, Words("pushes", "pushing", "push", "another person away")),
    Action("hug", "pair", hug, Words("hugs", "hugging", "hug", "another person", together="hug", together_gerund="hugging")),
    Action(
        "give", "pair", give, Words("hands", "handing", "hand", "a {object} to another person", ("cup", "book", "box", "letter"))
    ),
)
