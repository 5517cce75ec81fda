"""Getting about: walk, run, walk backwards, sidestep, turn around, jump, march."""

from __future__ import annotations

import math

import numpy as np

from .action import Action, Words
from .curves import bump, ease, pulse
from .take import Step, Take, Via


def gait(
    take: Take,
    seconds: float,
    cycle: float,
    duty: float,
    forward: float = 0.0,
    left: float = 0.0,
    lift: float = 0.10,
    heel: float = 0.0,
    vias: tuple[Via, ...] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Alternating steps along the path, working foot first, from stand to stand.

    A foot's stance lasts `duty` of a `cycle` (below one half there is flight) and it is planted where the body will be in its
    middle. The last step of each foot is planted after the body has come to rest, so the person ends in the neutral stance.

    Args:
        take: its path, steps and `seconds` are written.
        seconds: about how long. cycle: seconds of two steps. forward, left: speed, leg lengths a second.
        lift, heel, vias: of each step.

    Returns:
        The phase `(T,)` in radians, 0 in the middle of the working foot's stance, and the weight `(T,)` of being under way.
    """
    first = 0.05 + cycle * (1 - 0.5 * duty)  # middle of the first new stance
    count = max(4, round((seconds - first + 0.5 * duty * cycle) / (0.5 * cycle)) + 1)
    middles = first + 0.5 * cycle * np.arange(count)
    take.seconds = float(middles[-1] - 0.5 * duty * cycle) + 0.1
    going = pulse(take.t, 0.0, first + 0.2 * cycle, middles[-2] - 0.8 * cycle, middles[-2])
    take.forward += forward * going
    take.left += left * going
    for k, middle in enumerate(middles):
        on = float(middle) - 0.5 * duty * cycle
        off = on - (1 - duty) * cycle
        fade = 0.5 if k in (0, count - 2, count - 1) else 1.0
        take.steps.append(Step(k % 2, off, on, float(middle), lift=lift, heel=heel * fade, vias=vias))
    return 2 * math.pi * (take.t - first) / cycle, going


def _swing(take: Take, phase: np.ndarray, w: np.ndarray, arms: float, elbow: float, sway: float = 1.0) -> None:
    """Arms against legs, pelvis against shoulders."""
    wave = np.sin(phase) * w
    take.add(left_flex=arms * wave, right_flex=-arms * wave, yaw=6 * sway * wave, turn=-11 * sway * wave)
    take.add(left_elbow=elbow * w * (1 + 0.3 * np.sin(phase)), right_elbow=elbow * w * (1 - 0.3 * np.sin(phase)))
    take.add(shift_x=0.035 * sway * np.cos(phase) * w, roll=3 * sway * np.cos(phase) * w, side=2.5 * sway * np.cos(phase) * w)


def _seconds(take: Take, shortest: float, longest: float) -> float:
    return shortest + (longest - shortest) * take.style.variant


def _curve(take: Take, w: np.ndarray) -> None:
    """Bends the path while under way."""
    dt = take.t[1] - take.t[0]
    take.heading += np.cumsum(take.style.curve * w) * dt


def walk(take: Take) -> None:
    """Walks forward; amplitude lengthens the step, speed quickens it."""
    s = take.style
    stride, cycle = 1.30 * s.amplitude, 1.12 / s.speed
    phase, w = gait(take, _seconds(take, 2.2, 4.2), cycle, 0.62, stride / cycle * min(1.0, 0.75 + 0.25 * s.speed), heel=26)
    _curve(take, w)
    _swing(take, phase, w, 22 * s.amplitude * take.body.swing, 6)
    take.add(shift_y=w * (0.012 * np.cos(2 * phase) - 0.02), bend=3 * w)


def run(take: Take) -> None:
    """Runs, with flight between the steps."""
    s = take.style
    cycle = 0.80 / (0.65 + 0.35 * s.speed)
    vias = (Via(0.0, 0.75, up=0.20, pitch=50),)
    phase, w = gait(take, _seconds(take, 1.9, 3.2), cycle, 0.36, 2.1 * s.amplitude**0.5, lift=0.12, heel=30, vias=vias)
    _curve(take, w)
    _swing(take, phase, w, 30 * s.amplitude * take.body.swing**0.5, 62)
    take.add(shift_y=w * (-0.055 - 0.035 * np.cos(2 * phase)), bend=8 * w, pitch=6 * w)


def walk_backwards(take: Take) -> None:
    """Walks backwards, at times looking over the shoulder."""
    s = take.style
    cycle = 1.2 / s.speed
    phase, w = gait(take, _seconds(take, 2.2, 4.0), cycle, 0.64, -0.85 * s.amplitude / cycle, lift=0.09, heel=8)
    _curve(take, w)
    _swing(take, phase + math.pi, w, 12 * s.amplitude * take.body.swing, 5)
    take.add(shift_y=-0.03 * w, look=22 * w * (s.variant > 0.6))


def sidestep(take: Take) -> None:
    """Steps to the working side, feet never crossing."""
    s = take.style
    cycle = 0.95 / s.speed
    gap = 2 * take.body.stance
    _, w = gait(take, _seconds(take, 2.0, 3.6), cycle, 0.6, left=min(0.62 * s.amplitude, 1.9 * gap + 0.1) / cycle, lift=0.09)
    take.add(shift_y=-0.035 * w, left_abd=12 * w * s.variant, right_abd=12 * w * s.variant, look=18 * w * (s.variant > 0.5))


def turn_around(take: Take) -> None:
    """Turns on the spot, by 90 to 180 degrees, the head leading."""
    s = take.style
    angle = 90 + 90 * min(1.0, max(0.0, (s.amplitude - 0.75) * 2))
    phase, w = gait(take, (1.1 + angle / 160) / s.speed, 0.85 / s.speed, 0.62, lift=0.09)
    last = take.seconds - 0.1 - 0.4 / s.speed
    take.heading += angle * ease(take.t, 0.05, last)
    lead = bump(take.t, 0.0, 0.8 * last)
    take.add(look=30 * lead, turn=14 * lead, shift_y=-0.02 * w, left_flex=7 * np.sin(phase) * w, right_flex=-7 * np.sin(phase) * w)


def jump(take: Take) -> None:
    """Jumps from both feet, on the spot or forward."""
    s = take.style
    dip, air = 0.42 / s.speed**0.5, 0.42
    period = dip + air + 0.42 / s.speed**0.5
    for k in range(s.repeats):
        start = k * period
        off, on = start + dip, start + dip + air
        height = 0.26 * s.amplitude
        crouch = bump(take.t, start, off + 0.08) + 0.8 * bump(take.t, on - 0.06, start + period)
        flight = bump(take.t, off - 0.06, on + 0.06)
        take.add(shift_y=height * flight - 0.2 * crouch, shift_z=-0.07 * crouch, pitch=16 * crouch, bend=16 * crouch)
        take.arm("both", bump(take.t, start - 0.05, off), (-28, 12, 0, 15))
        take.arm("both", bump(take.t, off - 0.25, on + 0.3), (70 + 80 * s.variant, 20, 0, 25))
        if s.variant > 0.5:
            take.travel(0.55 * (s.variant - 0.4), off, on)
        for foot in (0, 1):
            take.step(foot, off, on, lift=1.05 * height, heel=25, vias=(Via(0.0, 0.9, pitch=25),))
    take.seconds = s.repeats * period


def march(take: Take) -> None:
    """Marches, knees high, on the spot or forward."""
    s = take.style
    cycle = 1.15 / s.speed
    up = 0.34 * s.amplitude
    vias = (Via(0.0, 1.0, up=up, forward=0.22 * s.amplitude, pitch=18),)
    phase, w = gait(take, _seconds(take, 2.0, 3.6), cycle, 0.58, 0.35 * max(0.0, s.variant - 0.4), lift=0.08, vias=vias)
    swing = 38 * s.amplitude * np.sin(phase) * w
    take.add(left_flex=swing + 12 * w, right_flex=12 * w - swing, left_elbow=45 * w, right_elbow=45 * w)
    take.add(shift_x=0.05 * np.cos(phase) * w, shift_y=-0.012 * w, bend=-3 * w)


ACTIONS = (
    Action("walk", "locomotion", walk, Words("walks", "walking", "walk", "forward"), crop=1.2),
    Action("run", "locomotion", run, Words("runs", "running", "run", "forward"), crop=0.8),
    Action("walk_backwards", "locomotion", walk_backwards, Words("walks", "walking", "walk", "backwards"), crop=1.2),
    Action("sidestep", "locomotion", sidestep, Words("steps", "stepping", "step", "sideways to the {side}"), crop=0.6),
    Action("turn_around", "locomotion", turn_around, Words("turns", "turning", "turn", "around to the {side}")),
    Action("jump", "locomotion", jump, Words("jumps", "jumping", "jump", "up with both feet")),
    Action("march", "locomotion", march, Words("marches", "marching", "march", "lifting the knees high"), crop=0.6),
)
