"""Signs, version 1: what is yielded for an index is frozen. The stage gains hands; `stage1` knows nothing of it.

clip(17)                 one sign, 49 key points in pixels, as a pose estimator found them
clip(17, sensor=False)   the same, exact
perform(17)              the same in three dimensions, metres
split("signer")          (train, test) indices of the `SIZE` clips
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...errors import UserError
from ...motion.clip import Clip
from ...motion.keypoints import SIGN49
from . import estimator
from .curves import ease
from .hands import PALM_CENTRE, SHAPES, local_hand, place_hand
from .parts import parts
from .signer import SIGNERS, Signer, signer
from .signs import MOVEMENTS, PALMS, PLACES, SIGNS, TURN, Movement, Sign
from .streams import stream

SIGNS1_SEED = 20262
CLASSES: tuple[str, ...] = tuple(sign.name for sign in SIGNS)
SIZE = 3456
"""Clips of the world that `split` speaks of; every class has 72, three by each signer."""
FPS = 25.0
MIN_FRAMES, MAX_FRAMES = 25, 100

_REST_FINGERS, _REST_PALM = np.array([-0.40, -0.55, 0.60]), np.array([-0.75, -0.30, -0.75])
_REACH = 0.985  # of the straight arm
_POLE_UP, _POLE_FORWARD = -1.0, -0.25
_HALF_A_WAY = 0.05  # metres further forward that a hand passes between rest and sign


@dataclass(frozen=True)
class Draw:
    """Everything about clip `index` that is decided before any movement is computed.

    Attributes:
        index, label, signer: which clip, class and signer.
        lead, rise, stroke, fall, tail: seconds at rest, up to the sign, of the sign, back, and at rest again.
        amplitude: of the movement, signer and clip together. tilt: of the movement in the frontal plane, degrees. repeats: of it.
    """

    index: int
    label: int
    signer: int
    lead: float
    rise: float
    stroke: float
    fall: float
    tail: float
    amplitude: float
    tilt: float
    repeats: int

    @property
    def sign(self) -> Sign:
        """What is signed."""
        return SIGNS[self.label]

    @property
    def frames(self) -> int:
        """`T`."""
        seconds = self.lead + self.rise + self.stroke + self.fall + self.tail
        return min(max(round(FPS * seconds), MIN_FRAMES), MAX_FRAMES)


def draw(index: int, *, seed: int = SIGNS1_SEED) -> Draw:
    """The decisions of clip `index`.

    Raises:
        UserError: a negative index.
    """
    if index < 0:
        raise UserError(f"signs-1 index {index}; expected 0 or more")
    label, number = index % len(CLASSES), index // len(CLASSES) % SIGNERS
    who, movement = signer(number, seed), MOVEMENTS[SIGNS[label].movement]
    u = [float(x) for x in stream(seed, index, "sign draw").random(8)]
    # the stroke lasts equally long whatever the movement: what is repeated is done faster, and no pose of the hand is seen for longer
    return Draw(
        index=index,
        label=label,
        signer=number,
        lead=0.35 * u[0],
        rise=who.raise_seconds * (0.85 + 0.3 * u[1]),
        stroke=(0.85 + 0.65 * u[2]) / who.tempo,
        fall=who.raise_seconds * (0.85 + 0.3 * u[3]),
        tail=0.35 * u[4],
        amplitude=who.amplitude * (0.75 + 0.5 * u[5]),
        tilt=who.tilt + 12.0 * (2 * u[6] - 1),
        repeats=movement.repeats[int(u[7] < who.repeats)],
    )


@dataclass(frozen=True, eq=False)
class Performance:
    """A signer in motion, exact.

    Attributes:
        positions: `(T, 49, 3)` metres from between the shoulders: to the signer's left, up, towards the camera; joints of `SIGN49`.
        idle: `(T, 2)` bool: the left, the right hand is at rest.
    """

    positions: np.ndarray
    idle: np.ndarray


def perform(index: int, *, seed: int = SIGNS1_SEED) -> Performance:
    """What `clip` shows, in three dimensions. Raises as `clip` does."""
    d = draw(index, seed=seed)
    return _perform(d, signer(d.signer, seed), stream(seed, index, "signing"))


def _perform(d: Draw, who: Signer, rng: np.random.Generator) -> Performance:
    """Both arms are computed as if each were the working one, outwards, up, forward; the left one is the mirrored right one."""
    t = np.arange(d.frames) / FPS
    arms = [_arm(t, d, who, rng, other) for other in (False, True)]
    left = 0 if who.left_handed else 1
    positions = np.empty((d.frames, len(SIGN49), 3))
    for side, (points, _) in ((1.0, arms[left]), (-1.0, arms[1 - left])):
        hand = estimator.HANDS[0 if side > 0 else 1]
        limb = slice(43, 46) if side > 0 else slice(46, 49)
        mirror = np.array([side, 1.0, 1.0])
        positions[:, hand], positions[:, limb] = points[:, :21] * mirror, points[:, 21:] * mirror
    positions[:, 42] = who.nose + np.array([0.018, 0.010, 0.004]) * _drift(rng, t, 3, 0.9)
    positions += np.array([0.010, 0.004, 0.008]) * _drift(rng, t, 3, 0.5)[:, None]
    return Performance(positions, np.stack([arms[left][1], arms[1 - left][1]], 1))


def _arm(t: np.ndarray, d: Draw, who: Signer, rng: np.random.Generator, other: bool) -> tuple[np.ndarray, np.ndarray]:
    """`(T, 24, 3)` hand, shoulder, elbow and wrist of the working or the other arm, outwards, up, forward; `(T,)` at rest."""
    sign = d.sign
    t = t - (who.lag if other else 0.0)
    begin, end = d.lead + d.rise, d.lead + d.rise + d.stroke
    up = ease(t, d.lead, begin) - ease(t, end, end + d.fall)
    if other and sign.other == "rest":
        up = np.zeros_like(up)
    u = np.clip((t - begin) / d.stroke, 0.0, 1.0)
    base = other and sign.other == "base"
    movement = MOVEMENTS["hold" if base else sign.movement]
    inner = movement.inner(u, d.repeats) if movement.inner else np.zeros_like(u)

    fingers, palm = _orthonormal(*map(np.array, PALMS["up" if base else sign.palm]))
    turned = _rotation(np.radians(who.turn + 6.0 * rng.standard_normal(3)))
    fingers, palm = turned @ fingers, turned @ palm
    centre = who.space * np.array(PLACES["base" if base else sign.place]) + who.shift + 0.012 * rng.standard_normal(3)
    middle = centre - who.hand * PALM_CENTRE * fingers
    there = middle + _moved(movement, u, d, opposite=other and sign.other == "alternate")
    rest = who.rest[int(other)]
    wrist = rest + up[:, None] * (there - rest)
    wrist[:, 2] += 4 * _HALF_A_WAY * up * (1 - up)
    wrist += who.tremor * _drift(rng, t, 3, 4.5) + 0.006 * _drift(rng, t, 3, 0.6)

    if not base and sign.turns:
        angle = np.radians(TURN) * (2 * inner - 1)[:, None]
        palm = np.cos(angle) * palm + np.sin(angle) * np.cross(fingers, palm)
    pointing = _REST_FINGERS + up[:, None] * (fingers - _REST_FINGERS) + 0.06 * _drift(rng, t, 3, 0.8)
    facing = _REST_PALM + up[:, None] * (palm - _REST_PALM) + 0.06 * _drift(rng, t, 3, 0.8)
    pointing, facing = _orthonormal(pointing, facing)

    wrist, elbow, shoulder = _solve(wrist, who)
    shape = _handshape(sign, base, up, inner, t, who, rng)
    hand = place_hand(who.hand * local_hand(shape), wrist, pointing, facing)
    limb = np.stack([np.broadcast_to(shoulder, wrist.shape), elbow, wrist], 1)
    return np.concatenate([hand, limb], 1), up < 0.05


def _moved(movement: Movement, u: np.ndarray, d: Draw, *, opposite: bool) -> np.ndarray:
    """`(T, 3)` metres from the place of the sign."""
    tilt, size = np.radians(d.tilt), -d.amplitude if opposite else d.amplitude
    frontal = np.array([[np.cos(tilt), np.sin(tilt), 0.0], [-np.sin(tilt), np.cos(tilt), 0.0]])
    return size * movement.offset(u, d.repeats) @ frontal


def _handshape(
    sign: Sign, base: bool, up: np.ndarray, inner: np.ndarray, t: np.ndarray, who: Signer, rng: np.random.Generator
) -> np.ndarray:
    """`(T, 16)` degrees."""
    relaxed, first = SHAPES["relaxed"], SHAPES["flat" if base else sign.shape]
    shape = np.broadcast_to(first, (len(t), len(first)))
    if sign.second_shape is not None and not base:
        shape = first + inner[:, None] * (SHAPES[sign.second_shape] - first)
    formed = (1 - who.laxity) * ease(up, 0.05, 0.9)[:, None]
    habit = who.fingers + 4.0 * rng.standard_normal(len(first))
    return relaxed + formed * (shape - relaxed) + habit + 2.5 * _drift(rng, t, len(first), 0.7)


def _solve(wrist: np.ndarray, who: Signer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two-bone inverse kinematics: `(T, 3)` wrists, brought within reach, `(T, 3)` elbows and the `(3,)` shoulder."""
    shoulder = np.array([who.shoulder, 0.0, 0.0])
    rel = wrist - shoulder
    far = np.linalg.norm(rel, axis=1, keepdims=True)
    dist = np.minimum(far, _REACH * (who.upper + who.lower))
    v = rel / far
    pole = np.array([who.elbow_out, _POLE_UP, _POLE_FORWARD])
    side = pole - (v @ pole)[:, None] * v
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    along = (who.upper**2 + dist**2 - who.lower**2) / (2 * dist)
    elbow = shoulder + along * v + np.sqrt(np.maximum(who.upper**2 - along**2, 0.0)) * side
    return shoulder + dist * v, elbow, shoulder


def _orthonormal(fingers: np.ndarray, palm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    fingers = fingers / np.linalg.norm(fingers, axis=-1, keepdims=True)
    palm = palm - (palm * fingers).sum(-1, keepdims=True) * fingers
    return fingers, palm / np.linalg.norm(palm, axis=-1, keepdims=True)


def _rotation(vector: np.ndarray) -> np.ndarray:
    """The `(3, 3)` matrix of a `(3,)` rotation vector, radians."""
    angle = float(np.linalg.norm(vector)) + 1e-12
    x, y, z = vector / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def _drift(rng: np.random.Generator, t: np.ndarray, columns: int, rate: float) -> np.ndarray:
    """`(T, columns)` small movement nobody intends, about 1 in size at about `rate` cycles a second."""
    rates, phases = 2 * np.pi * rate * (0.6 + 0.8 * rng.random((2, columns))), 2 * np.pi * rng.random((2, columns))
    return 0.7 * (np.sin(rates[0] * t[:, None] + phases[0]) + np.sin(1.6 * rates[1] * t[:, None] + phases[1]))


def clip(index: int, *, seed: int = SIGNS1_SEED, sensor: bool = True) -> Clip:
    """One sign: a pure function of `(seed, index)`.

    Args:
        index: from 0; the world of the splits has `SIZE`, more may be asked for. seed: another world.
        sensor: jitter, confidence, and hands and joints that are not found; without it, where the joints really are (also where that
            is outside the picture), and no confidence.

    Returns:
        A clip of one person, `SIGN49`, `MIN_FRAMES` to `MAX_FRAMES` frames at 25 fps, pixels of a picture of 512 x 512, y down, with
        label and subject; `meta` has the group and the movement of the sign, the hand that works and the seconds of the stroke.

    Raises:
        UserError: a negative index.
    """
    d = draw(index, seed=seed)
    who = signer(d.signer, seed)
    shown = _perform(d, who, stream(seed, index, "signing"))
    camera = stream(seed, index, "camera").standard_normal(6)
    angles = (who.yaw + 4 * float(camera[0]), who.pitch + 1.5 * float(camera[1]), who.roll + float(camera[2]))
    distance = who.distance * (1 + 0.03 * float(camera[3]))
    pixels = estimator.project(shown.positions, distance, angles, (10 * float(camera[4]), 8 * float(camera[5])))
    found, confidence = pixels.astype(np.float32), None
    if sensor:
        found, confidence = estimator.estimate(pixels, FPS, shown.idle, stream(seed, index, "estimator"))
    return Clip(
        positions=found[:, None],
        skeleton=SIGN49,
        fps=FPS,
        confidence=None if confidence is None else confidence[:, None],
        units="pixels",
        image_size=estimator.IMAGE_SIZE,
        label=d.label,
        label_name=d.sign.name,
        subject=who.name,
        source=f"signs-1/{index:06d}",
        meta={
            "group": d.sign.group,
            "movement": d.sign.movement,
            "works": "left" if who.left_handed else "right",
            "stroke": [round(d.lead + d.rise, 3), round(d.lead + d.rise + d.stroke, 3)],
        },
    )


SPLITS: dict[str, Callable[[Draw], bool]] = {"signer": lambda d: d.signer % 3 == 2}
"""For each split, which clips are its test clips: every third signer, 8 of 24, two of whom are left-handed."""


@lru_cache(maxsize=4)
def split(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(train, test) indices of a split of the `SIZE` clips of the world of `SIGNS1_SEED`, ascending, int64, read-only.

    Raises:
        UserError: no split of this name.
    """
    return parts(name, SPLITS, draw, SIZE)
