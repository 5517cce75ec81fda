"""Signers: their bodies, their habits, and where the camera stands before them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .hands import ANGLES
from .streams import stream

SIGNERS = 24
LEFT_HANDED = frozenset({3, 5, 10, 17, 19})
"""Who signs with the left hand: some of those that train, and some of those that are held out."""


@dataclass(frozen=True, eq=False)
class Signer:
    """One signer. Lengths in metres, angles in degrees; positions are outwards, up, forward from between the shoulders.

    Attributes:
        name: ``p00`` to ``p23``. left_handed: which hand works.
        shoulder: half the width of the shoulders. upper, lower: of the arm. hand: size, 1 is average. nose: `(3,)`.
        elbow_out: where the elbow goes: 0 straight down, 1 as much outwards as down.
        space: scale of the signing space. shift: `(3,)` of all places. amplitude: of movements, 1 is average.
        tilt: of movements in the frontal plane. turn: `(3,)` of the palm, a rotation vector.
        tempo: 1 is average. raise_seconds: that the hand takes from rest to the sign, and back. lag: seconds the other hand is late.
        repeats: the chance that repetition is the longer of the usual ones.
        fingers: `(16,)` habit of every handshape. laxity: share of the handshape that is left undone.
        tremor: of the wrist. rest: `(2, 3)` wrists of the working and the other hand before and after the sign.
        distance, yaw, pitch, roll: the camera's.
    """

    name: str
    left_handed: bool
    shoulder: float
    upper: float
    lower: float
    hand: float
    nose: np.ndarray
    elbow_out: float
    space: float
    shift: np.ndarray
    amplitude: float
    tilt: float
    turn: np.ndarray
    tempo: float
    raise_seconds: float
    lag: float
    repeats: float
    fingers: np.ndarray
    laxity: float
    tremor: float
    rest: np.ndarray
    distance: float
    yaw: float
    pitch: float
    roll: float


# wrists at rest: in the lap, hanging, one over the other before the belly, on the thighs
_RESTS = np.array(
    [
        [[0.06, -0.50, 0.22], [0.07, -0.51, 0.22]],
        [[0.25, -0.52, 0.06], [0.25, -0.52, 0.06]],
        [[0.02, -0.38, 0.20], [0.03, -0.41, 0.17]],
        [[0.16, -0.50, 0.24], [0.16, -0.50, 0.24]],
    ]
)


@lru_cache(maxsize=4 * SIGNERS)
def signer(number: int, seed: int) -> Signer:
    """Signer 0 to `SIGNERS` - 1, a pure function of its arguments."""
    rng = stream(seed, number, "signer")
    u = [float(x) for x in 2 * rng.random(16) - 1]
    size = 1 + 0.08 * u[0]
    rest = _RESTS[int(rng.random() * len(_RESTS))] + 0.03 * (2 * rng.random((2, 3)) - 1)
    return Signer(
        name=f"p{number:02d}",
        left_handed=number in LEFT_HANDED,
        shoulder=0.175 * size * (1 + 0.09 * u[1]),
        upper=0.285 * size * (1 + 0.05 * u[2]),
        lower=0.255 * size * (1 + 0.05 * u[3]),
        hand=size * (1 + 0.08 * u[4]),
        nose=size * np.array([0.0, 0.215, 0.11]) * (1, 1 + 0.08 * u[5], 1),
        elbow_out=0.55 + 0.35 * u[6],
        space=size * (1 + 0.10 * u[7]),
        shift=np.array([0.025, 0.030, 0.020]) * (2 * rng.random(3) - 1),
        amplitude=1 + 0.30 * u[8],
        tilt=16.0 * u[9],
        turn=14.0 * (2 * rng.random(3) - 1),
        tempo=1.25 ** u[10],
        raise_seconds=0.44 + 0.10 * u[11],
        lag=0.03 + 0.03 * u[12],
        repeats=0.5 + 0.5 * u[13],
        fingers=7.0 * (2 * rng.random(len(ANGLES)) - 1),
        laxity=0.08 + 0.08 * u[14],
        tremor=0.0022 + 0.0014 * u[15],
        rest=size * rest,
        distance=float(1.45 + 0.5 * rng.random()),
        yaw=float(22 * (2 * rng.random() - 1)),
        pitch=float(-4 + 14 * rng.random()),
        roll=float(3 * (2 * rng.random() - 1)),
    )
