"""Everyday: sit down, stand up, pick up, drink, throw, phone call."""

from __future__ import annotations

import numpy as np

from .action import Action, Words
from .curves import bump, ease, pulse
from .take import Take, Via, held, reach

_LAP = (28.0, 4.0, 12.0, 62.0)


def _seated(take: Take, w: np.ndarray) -> None:
    take.add(shift_y=-0.44 * w, shift_z=-0.40 * w)
    if take.style.variant > 0.3:
        take.arm("both", w, _LAP)


def sit_down(take: Take) -> None:
    """Lowers the hips onto a seat and stays there."""
    s = take.style
    down = 1.3 / s.speed
    take.seconds = down + 0.4 + 0.5 * s.variant
    _seated(take, ease(take.t, 0.05, down))
    lean = bump(take.t, 0.0, 1.15 * down)
    take.add(pitch=26 * s.amplitude * lean, bend=16 * lean, left_flex=18 * lean, right_flex=18 * lean)
    take.add(pitch=-6 * ease(take.t, 0.6 * down, take.seconds))


def stand_up(take: Take) -> None:
    """From a seat to standing."""
    s = take.style
    wait = 0.15 + 0.5 * s.variant
    up = 1.3 / s.speed
    take.seconds = wait + up + 0.3
    _seated(take, 1 - ease(take.t, wait + 0.1 * up, wait + up))
    lean = bump(take.t, wait - 0.15, wait + 0.95 * up)
    take.add(pitch=28 * s.amplitude * lean, bend=18 * lean, left_flex=14 * lean, right_flex=14 * lean)
    take.add(pitch=-6 * (1 - ease(take.t, wait - 0.1, wait + 0.5 * up)))


def pick_up(take: Take) -> None:
    """Reaches to the floor and comes up with something in the hand."""
    s = take.style
    down = 1.05 / s.speed
    take.seconds = 2 * down + 0.7
    w = pulse(take.t, 0.0, down, down + 0.25, 2 * down + 0.3)
    knees = s.variant
    take.add(
        shift_y=-(0.14 + 0.26 * knees) * w, shift_z=-0.15 * w, pitch=(44 - 10 * knees) * w, bend=(38 - 8 * knees) * w, nod=8 * w
    )
    take.arm("left", w, (92 + 6 * s.amplitude, 2, 0, 8))
    take.add(right_flex=34 * w, right_elbow=12 * w)
    take.arm(
        "left",
        ease(take.t, down + 0.3, 2 * down + 0.2) * (1 - ease(take.t, take.seconds - 0.15, take.seconds + 0.4)),
        (20, 6, 25, 78),
    )
    if s.amplitude > 1.1:
        take.add(yaw=-6 * w, turn=-12 * w)


def drink(take: Take) -> None:
    """Lifts a cup and sips."""
    s = take.style
    rise = 0.75 / s.speed
    sip = 0.8 / s.speed
    n = max(1, s.repeats - 1)
    take.seconds = 2 * rise + n * (sip + 0.25)
    take.arm("left", held(take.t, take.seconds, rise), (22, 8, 20, 88))
    mouth = reach(*take.body.from_shoulder(0.02, 0.0, 0.14), out=0.55 + 0.5 * s.variant)
    for k in range(n):
        start = 0.7 * rise + k * (sip + 0.25)
        w = pulse(take.t, start, start + 0.45 * sip, start + 0.75 * sip, start + 0.75 * sip + 0.45)
        take.arm("left", w, mouth)
        take.add(nod=-20 * s.amplitude * w, bend=-5 * s.amplitude * w)


def throw(take: Take) -> None:
    """Winds up, steps and throws, overarm or underarm."""
    s = take.style
    back, forth = 0.65 / s.speed**0.7, 0.50 / s.speed**0.4
    release = back + forth
    take.seconds = release + 0.9
    w_back = pulse(take.t, 0.0, back, back + 0.05, release)
    w_forth = pulse(take.t, back + 0.05, release, release + 0.1, take.seconds)
    over = s.variant > 0.4
    take.arm("left", w_back, (60, 78, -70, 95) if over else (-48, 18, 0, 15))
    take.arm("left", w_forth, (82, -14, 15, 12) if over else (92, 2, 0, 12))
    a = s.amplitude
    take.add(turn=24 * a * w_back - 24 * a * w_forth, yaw=9 * w_back - 9 * w_forth, bend=-8 * w_back + 14 * w_forth)
    take.arm("right", w_back, (50, 15, 10, 30))
    take.step(1, back - 0.22, back + 0.24, forward=0.34 * a, lift=0.10)
    take.step(1, release + 0.45, take.seconds, lift=0.08, vias=(Via(0.1, 0.9, up=0.02),))
    shift = pulse(take.t, back - 0.15, release + 0.05, release + 0.2, take.seconds - 0.05)
    take.add(shift_z=0.20 * a * shift, shift_y=-0.05 * shift)


def phone_call(take: Take) -> None:
    """The hand at the ear, a weight shifting to and fro."""
    s = take.style
    rise = 0.8 / s.speed
    take.seconds = 2 * rise + 1.2 + 0.6 * s.repeats
    w = held(take.t, take.seconds, rise)
    take.arm("left", w, reach(*take.body.from_shoulder(0.11, 0.03, 0.05), out=0.5 + 0.6 * s.variant))
    take.add(tilt=-9 * w, nod=4 * w)
    beat = np.sin(2.2 * s.speed * take.t) * w * s.amplitude
    take.add(shift_x=0.04 * beat, look=10 * beat, turn=5 * beat)


ACTIONS = (
    Action("sit_down", "everyday", sit_down, Words("sits", "sitting", "sit", "down"), settle=1.2),
    Action("stand_up", "everyday", stand_up, Words("stands", "standing", "stand", "up from a seat"), settle=1.2),
    Action("pick_up", "everyday", pick_up, Words("picks", "picking", "pick", "something up with the {side} hand")),
    Action(
        "drink",
        "everyday",
        drink,
        Words("drinks", "drinking", "drink", "from a {object} in the {side} hand", ("cup", "bottle", "glass")),
    ),
    Action(
        "throw",
        "everyday",
        throw,
        Words("throws", "throwing", "throw", "a {object} with the {side} hand", ("ball", "stone", "stick")),
    ),
    Action("phone_call", "everyday", phone_call, Words("talks", "talking", "talk", "on the phone held in the {side} hand")),
)
