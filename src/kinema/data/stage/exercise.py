"""Exercise: squat, jumping jack, lunge, press forward, kick, punch, arm circles, side bend."""

from __future__ import annotations

import math

import numpy as np

from .action import Action, Words
from .curves import bump, ease, pulse, rise_and_fall
from .take import Take, Via, held, reach


def squat(take: Take) -> None:
    """Down on both feet, arms ahead or folded."""
    s = take.style
    period = 1.7 / s.speed
    take.seconds = s.repeats * period
    w = rise_and_fall(take.t, 0.0, period, s.repeats)
    deep = 0.40 * min(s.amplitude, 1.15)
    take.add(shift_y=-deep * w, shift_z=-0.38 * deep * w, pitch=28 * w, bend=10 * w)
    if s.variant > 0.35:
        take.arm("both", w, (88, 6, 5, 10))
    else:
        take.arm("both", held(take.t, take.seconds, 0.5), (50, -22, 60, 110))


def jumping_jack(take: Take) -> None:
    """Feet apart and arms up, then back."""
    s = take.style
    period = 1.15 / s.speed**0.7
    n = s.repeats + 1
    take.seconds = n * period
    w = rise_and_fall(take.t, 0.0, period, n)
    take.arm("both", w * min(1.0, 0.8 + 0.2 * s.amplitude), (8, 165, 0, 14))
    for k in range(n):
        a, b = k * period, (k + 0.5) * period
        for off, side in ((a + 0.06 * period, 0.24 * s.amplitude), (b + 0.06 * period, 0.0)):
            on = off + 0.36 * period
            take.add(shift_y=0.035 * bump(take.t, off - 0.05, on + 0.05) - 0.03 * bump(take.t, on - 0.1, on + 0.2))
            for foot in (0, 1):
                take.step(foot, off, on, side=side, turn=6 if side else 0, lift=0.10, heel=12)


def lunge(take: Take) -> None:
    """A long step forward, down, and back again."""
    s = take.style
    go, low = 0.75 / s.speed, 0.85 / s.speed
    take.seconds = 2 * go + low
    far = 0.72 * min(s.amplitude, 1.15)
    take.step(0, 0.05, go, forward=far, lift=0.14)
    take.step(0, go + low, 2 * go + low, lift=0.14)
    w = pulse(take.t, 0.1, go + 0.25, go + low - 0.2, take.seconds)
    take.add(shift_z=0.52 * far * w, shift_y=-0.30 * min(s.amplitude, 1.1) * w)
    take.heels[:, 1] = 42 * pulse(take.t, 0.25, go + 0.1, go + low - 0.1, take.seconds - 0.15)
    if s.variant > 0.4:
        take.arm("both", w, (10, 32, 40, 100))


def press_forward(take: Take) -> None:
    """Both hands from the chest straight ahead and back."""
    s = take.style
    period, rise = 1.05 / s.speed, 0.5
    take.seconds = 2 * rise + s.repeats * period
    near, far = reach(-0.05, -0.12, 0.32, 0.8), reach(-0.08, 0.0, 0.90, 0.8)
    take.arm("both", held(take.t, take.seconds, rise), near)
    out = rise_and_fall(take.t, rise, period, s.repeats) * min(1.0, 0.78 + 0.22 * s.amplitude)
    take.arm("both", out, far)
    take.add(bend=6 * out, shift_z=0.03 * out)


def kick(take: Take) -> None:
    """One leg swings back and then forward."""
    s = take.style
    go, pause = 1.25 / s.speed**0.6, 0.3
    n = max(1, s.repeats - 1)
    for k in range(n):
        off = 0.25 + k * (go + pause)
        on = off + go
        high = s.amplitude * (0.36 + 0.26 * s.variant)
        vias = (Via(0.0, 0.5, up=0.10, forward=-0.24, pitch=35), Via(0.24, 0.96, up=high, forward=0.66 * s.amplitude, pitch=-8))
        take.step(0, off, on, lift=0.08, vias=vias)
        w, forth = pulse(take.t, off - 0.3, off + 0.1, on - 0.15, on + 0.3), bump(take.t, off + 0.24 * go, off + 0.96 * go)
        take.add(
            shift_x=-0.09 * w, roll=4 * w, pitch=-12 * forth, bend=-6 * forth + 4 * w, right_flex=28 * forth, left_flex=-22 * forth
        )
        take.add(left_abd=14 * w, right_abd=14 * w, right_elbow=20 * w, left_elbow=20 * w, shift_y=-0.02 * w)
    take.seconds = 0.55 + n * (go + pause)


def punch(take: Take) -> None:
    """From a guard, with one arm or both in turn."""
    s = take.style
    period, rise = 0.95 / s.speed**0.6, 0.5
    n = s.repeats + 1
    take.seconds = 2 * rise + n * period
    guard = held(take.t, take.seconds, rise)
    take.arm("both", guard, reach(-0.18, 0.06, 0.36, 0.3))
    take.add(turn=-9 * guard, yaw=-4 * guard, shift_y=-0.035 * guard, bend=6 * guard)
    for k in range(n):
        start = rise + k * period
        hit = pulse(take.t, start + 0.05, start + 0.34, start + 0.42, start + 0.34 + 0.5 * period)
        first = k % 2 == 0 or s.variant < 0.5
        take.arm("left" if first else "right", hit * min(1.0, 0.8 + 0.2 * s.amplitude), reach(-0.22, 0.04, 0.92, 0.9))
        sign = -1.0 if first else 0.8
        take.add(turn=22 * sign * hit, yaw=8 * sign * hit, shift_z=0.05 * hit)


def arm_circles(take: Take) -> None:
    """Both arms draw circles."""
    s = take.style
    period, rise = 1.2 / s.speed, 0.6
    take.seconds = 2 * rise + s.repeats * period
    w = held(take.t, take.seconds, rise)
    take.arm("both", w, (70, 58, 0, 10))
    turn = 2 * math.pi * (take.t - rise) / period * (1 if s.variant > 0.5 else -1)
    wide = s.amplitude * w
    for side in ("left", "right"):
        take.add(**{f"{side}_flex": 48 * np.cos(turn) * wide, f"{side}_abd": 20 * np.sin(turn) * wide})


def side_bend(take: Take) -> None:
    """The trunk bends sideways, one arm overhead."""
    s = take.style
    down = 0.95 / s.speed
    n = s.repeats
    take.seconds = n * 2 * down
    for k in range(n):
        start = 2 * k * down
        w = ease(take.t, start, start + down) - ease(take.t, start + down, start + 2 * down)
        sign, arm = (1.0, "left") if k % 2 == 0 or s.variant < 0.5 else (-1.0, "right")
        take.add(side=30 * sign * s.amplitude * w, tilt=10 * sign * w, roll=-4 * sign * w, shift_x=0.06 * sign * w)
        take.arm(arm, w, (15, 158, 0, 20))


ACTIONS = (
    Action("squat", "exercise", squat, Words("squats", "squatting", "squat", "down")),
    Action("jumping_jack", "exercise", jumping_jack, Words("does", "doing", "do", "jumping jacks")),
    Action("lunge", "exercise", lunge, Words("lunges", "lunging", "lunge", "forward with the {side} leg")),
    Action("press_forward", "exercise", press_forward, Words("pushes", "pushing", "push", "both arms forward")),
    Action("kick", "exercise", kick, Words("kicks", "kicking", "kick", "with the {side} foot")),
    Action("punch", "exercise", punch, Words("punches", "punching", "punch", "the air")),
    Action("arm_circles", "exercise", arm_circles, Words("makes", "making", "make", "circles with both arms")),
    Action("side_bend", "exercise", side_bend, Words("bends", "bending", "bend", "sideways at the waist")),
)
