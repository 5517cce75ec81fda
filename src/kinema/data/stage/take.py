"""A take: one person performing one action, written as joint-angle curves, a path and planned steps.

Actions write a take as if the working side were the left one; `finish` mirrors it where the style says right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from .body import Body
from .curves import ease

_ARM = ("flex", "abd", "twist", "elbow")
CHANNELS = (
    *("shift_x", "shift_y", "shift_z", "pitch", "roll", "yaw"),
    *("bend", "side", "turn", "nod", "tilt", "look"),
    *(f"left_{a}" for a in _ARM),
    *(f"right_{a}" for a in _ARM),
)
"""The degrees of freedom above the legs (the legs follow from the planned feet), for each frame:

shift_x/y/z of the pelvis to the left, up and forward from its place on the path, in leg lengths; pitch (forward), roll (left hip
up) and yaw (to the left) of the pelvis; bend (forward), side (to the right) and turn (to the left) of the spine; nod, tilt and
look of the head, signed like the spine; for each arm flex (forward and up), abd (outwards and up), twist (inwards) of the shoulder
and the bend of the elbow. Degrees.
"""
CHANNEL = {name: i for i, name in enumerate(CHANNELS)}
LIMITS: dict[str, tuple[float, float]] = {
    **{"pitch": (-35, 80), "roll": (-25, 25), "yaw": (-40, 40)},
    **{"bend": (-40, 85), "side": (-45, 45), "turn": (-60, 60), "nod": (-45, 45), "tilt": (-35, 35), "look": (-70, 70)},
    **{f"{s}_flex": (-75, 190) for s in ("left", "right")},
    **{f"{s}_abd": (-50, 185) for s in ("left", "right")},
    **{f"{s}_twist": (-100, 110) for s in ("left", "right")},
    **{f"{s}_elbow": (0, 150) for s in ("left", "right")},
}
"""Joint limits of the channels, degrees. Tested for every action and transition."""

_ODD = ("shift_x", "roll", "yaw", "side", "turn", "tilt", "look")
_SWAP = [CHANNEL[n.replace("left_", "*").replace("right_", "left_").replace("*", "right_")] for n in CHANNELS]
_SIGN = np.array([-1.0 if n in _ODD else 1.0 for n in CHANNELS])


_LIMITED = [CHANNEL[n] for n in LIMITS]
_MARGIN = 8.0  # degrees before a limit from which a joint yields
_LOW, _HIGH = np.array(list(LIMITS.values()), float).T + np.array([[_MARGIN], [-_MARGIN]])


def within_limits(channels: np.ndarray) -> np.ndarray:
    """`(..., D)` channels, bent smoothly (two continuous derivatives) near a joint limit, so that they never pass it."""
    bent, c = channels.copy(), channels[..., _LIMITED]
    over, under = np.maximum(c - _HIGH, 0.0), np.maximum(_LOW - c, 0.0)
    bent[..., _LIMITED] = c - over + under + _MARGIN * (np.tanh(over / _MARGIN) - np.tanh(under / _MARGIN))
    return bent


def mirror(channels: np.ndarray) -> np.ndarray:
    """`(..., D)` channels of the mirrored movement."""
    return channels[..., _SWAP] * _SIGN


@dataclass(frozen=True)
class Style:
    """How an action is done; everything that a caption or a split may ask for. JSON-safe by `dataclasses.asdict`.

    Attributes:
        side: the working side, ``left`` or ``right``.
        speed: 1 is ordinary; about 0.7 to 1.4. amplitude: 1 is ordinary; about 0.75 to 1.25.
        curve: how much a path bends to the left, degrees per second.
        repeats: how often a repeatable action is done. variant: 0 to 1, what else an action may vary.
        slump: forward bend on top of the subject's own, degrees. stagger: how far the left foot stands in front, leg lengths.
    """

    side: str = "left"
    speed: float = 1.0
    amplitude: float = 1.0
    curve: float = 0.0
    repeats: int = 2
    variant: float = 0.5
    slump: float = 0.0
    stagger: float = 0.0


@dataclass(frozen=True)
class Via:
    """A detour of a swinging foot: over the share (start, end) of its swing, in leg lengths; pitch lowers the toes, degrees."""

    start: float
    end: float
    up: float = 0.0
    forward: float = 0.0
    side: float = 0.0
    pitch: float = 0.0


@dataclass(frozen=True)
class Step:
    """One foot is lifted and planted again.

    Attributes:
        foot: 0 left, 1 right. off, on: seconds at which it leaves and meets the floor.
        at: the second of the path whose place and heading it is planted for.
        side, forward, turn: the plant's distance from the neutral stance, outwards and forward in leg lengths; turned out, degrees.
        lift: height of the swing, leg lengths. heel: how far the heel has risen when the toe leaves, degrees. vias: detours.
    """

    foot: int
    off: float
    on: float
    at: float
    side: float = 0.0
    forward: float = 0.0
    turn: float = 0.0
    lift: float = 0.08
    heel: float = 0.0
    vias: tuple[Via, ...] = ()


class Take:
    """What an action fills in.

    Attributes:
        t: `(T,)` seconds since the action began (negative before it). seconds: how long the action lasts; the action sets it.
        style, body, partner: who does it and how; the partner's body in two-person actions.
        c: `(T, D)` channels, starting from the person's rest posture.
        forward, left: `(T,)` speed along and across the heading, leg lengths a second. heading: `(T,)` turned to the left, degrees.
        heels: `(T, 2)` extra heel rise of each planted foot, degrees. steps: planned steps.
    """

    def __init__(self, t: np.ndarray, style: Style, body: Body, rest: np.ndarray, partner: Body | None = None):
        self.t, self.style, self.body, self.partner = t, style, body, partner
        self.mirrored = style.side == "right"
        base = mirror(rest) if self.mirrored else rest
        self.c = np.repeat(base[None], len(t), 0)
        self.forward, self.left, self.heading = np.zeros(len(t)), np.zeros(len(t)), np.zeros(len(t))
        self.heels = np.zeros((len(t), 2))
        self.steps: list[Step] = []
        self.seconds = 0.0

    def to(self, weight: np.ndarray, **targets: float) -> None:
        """Moves channels towards target values by a weight curve (1: all the way)."""
        for name, target in targets.items():
            column = self.c[:, CHANNEL[name]]
            column += weight * (target - column)

    def add(self, **curves: np.ndarray) -> None:
        """Adds curves to channels."""
        for name, curve in curves.items():
            self.c[:, CHANNEL[name]] += curve

    def arm(self, arm: str, weight: np.ndarray, angles: Sequence[float]) -> None:
        """Moves the `left` (working), `right` or `both` arms towards (flex, abd, twist, elbow)."""
        for side in ("left", "right") if arm == "both" else (arm,):
            first = CHANNEL[f"{side}_flex"]
            part = self.c[:, first : first + 4]
            part += weight[:, None] * (np.array(angles) - part)

    def travel(self, distance: float, start: float, end: float) -> None:
        """Moves the path forward by `distance` leg lengths between two seconds."""
        u = np.clip((self.t - start) / (end - start), 0.0, 1.0)
        self.forward += distance * 30.0 * (u * (1.0 - u)) ** 2 / (end - start)

    def step(self, foot: int, off: float, on: float, at: float | None = None, **how: object) -> None:
        """Plans a step; `at` is by default where the path is when the foot lands."""
        self.steps.append(Step(foot, off, on, on if at is None else at, **how))  # type: ignore[arg-type]

    def walk_over(self, distance: float, start: float, end: float) -> None:
        """Two steps, or four where it is far, working foot first, that carry the stance `distance` leg lengths forward."""
        self.travel(distance, start, end)
        count = 2 if abs(distance) < 0.5 else 4
        edges = [start + k * (end + 0.04 - start) / count for k in range(count + 1)]
        for k, (off, on) in enumerate(pairwise(edges)):
            # the first steps of four are planted ahead of the body, where it will be when the other foot lands
            self.step(k % 2, off, on, at=end if k >= count - 2 else edges[k + 2] - 0.1, lift=0.07)

    def finish(self) -> None:
        """Mirrors what was written where the working side is the right one."""
        if not self.mirrored:
            return
        self.c = mirror(self.c)
        self.left, self.heading = -self.left, -self.heading
        self.heels = self.heels[:, ::-1]
        self.steps = [replace(s, foot=1 - s.foot, vias=s.vias) for s in self.steps]


def reach(x: float, y: float, z: float, out: float = 0.4, upper: float = 0.52) -> tuple[float, float, float, float]:
    """Arm angles (flex, abd, twist, elbow) in degrees that bring the wrist to a point.

    Args:
        x, y, z: the point from the shoulder in the upright chest's frame, arm lengths: outwards, up, forward.
        out: where the elbow goes: 0 straight down, 1 as much outwards as down.
        upper: the upper arm's share of the arm.
    """
    lower, far = 1.0 - upper, math.sqrt(x * x + y * y + z * z)
    dist = min(max(far, 0.28), 0.985)
    v = (x / far, y / far, z / far)
    hint = (out, -1.0, -0.25)
    along = sum(h * c for h, c in zip(hint, v, strict=True))
    e = [h - along * c for h, c in zip(hint, v, strict=True)]
    norm = math.sqrt(sum(c * c for c in e))
    cos_a = (upper * upper + dist * dist - lower * lower) / (2 * upper * dist)
    sin_a = math.sqrt(max(0.0, 1 - cos_a * cos_a))
    d = [cos_a * c + sin_a * w / norm for c, w in zip(v, e, strict=True)]
    f = [(dist * c - upper * w) / lower for c, w in zip(v, d, strict=True)]
    elbow = math.acos(min(1.0, max(-1.0, sum(a * b for a, b in zip(d, f, strict=True)))))
    abd, flex = math.asin(min(1.0, max(-1.0, d[0]))), math.atan2(d[2], -d[1])
    # the forearm seen from the upper arm before it twists: undo flex (about x), then abd (about z)
    gy, gz = f[1] * math.cos(flex) - f[2] * math.sin(flex), f[1] * math.sin(flex) + f[2] * math.cos(flex)
    gx = f[0] * math.cos(abd) + gy * math.sin(abd)
    twist = math.atan2(-gx, gz)
    return math.degrees(flex), math.degrees(abd), math.degrees(twist), math.degrees(elbow)


def held(t: np.ndarray, seconds: float, rise: float = 0.55) -> np.ndarray:
    """The weight of a pose that is taken, held and given up again within an action."""
    rise = min(rise, 0.45 * seconds)
    return ease(t, 0.0, rise) - ease(t, seconds - rise, seconds)
