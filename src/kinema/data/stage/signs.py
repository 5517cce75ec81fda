"""The signs: handshape, palm, place and movement of each, as sign linguistics parts them.

Directions and places are seen from the working arm: outwards, up, forward. In a group of signs all but the movement is shared, and
what a movement does to handshape and palm (opening, turning) passes through the same poses as the other movements of its group, so
that no still frame tells the signs of a group apart. The names are descriptions, not words of any sign language.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .curves import ease, pulse

Vector = tuple[float, float, float]
_EVENLY = np.linspace(0.0, 1.0, 101)

PLACES: dict[str, Vector] = {
    "front": (0.13, -0.14, 0.33),
    "breast": (0.05, -0.12, 0.21),
    "temple": (0.16, 0.24, 0.17),
    "forehead": (0.07, 0.31, 0.19),
    "mouth": (0.05, 0.14, 0.21),
    "chin": (0.04, 0.09, 0.20),
    "side": (0.25, 0.08, 0.28),
    "belly": (0.07, -0.30, 0.27),
    "over_base": (0.00, -0.17, 0.32),
    "base": (0.00, -0.26, 0.31),
}
"""Where the middle of the hand is, metres from between the shoulders, for a person of average size: outwards, up, forward."""

PALMS: dict[str, tuple[Vector, Vector]] = {
    "down": ((-0.35, 0.1, 0.95), (0.0, -1.0, 0.1)),
    "out": ((-0.05, 0.95, 0.3), (-0.1, -0.3, 0.95)),
    "in": ((-0.9, 0.35, 0.35), (-0.3, 0.0, -1.0)),
    "across": ((-0.15, 0.5, 0.85), (-1.0, 0.0, -0.1)),
    "side": ((-0.25, 0.85, 0.5), (-1.0, -0.2, -0.1)),
    "face": ((-0.35, 0.95, -0.1), (-0.5, 0.0, -0.9)),
    "up": ((-0.85, 0.05, 0.5), (0.0, 1.0, 0.1)),
}
"""Where the fingers and the palm point to: outwards, up, forward (made orthonormal where they are used)."""


@dataclass(frozen=True)
class Movement:
    """What the hand does during the stroke of a sign.

    Attributes:
        path: from progress `(T,)` in [0, 1] and the number of repetitions to `(T, 2)`, outwards and up, about 1 in size.
        inner: from the same to `(T,)` in [0, 1]: how far the hand has gone from its first handshape, or turn of the palm, to the
            second.
        size: metres for a path of 1.
        repeats: the two numbers of repetitions that people choose from.
    """

    path: Callable[[np.ndarray, int], np.ndarray] | None = None
    inner: Callable[[np.ndarray, int], np.ndarray] | None = None
    size: float = 0.0
    repeats: tuple[int, int] = (1, 1)

    def offset(self, u: np.ndarray, repeats: int) -> np.ndarray:
        """`(T, 2)` metres outwards and up from the place of the sign, at progress `(T,)`; its mean over the stroke is zero."""
        if self.path is None:
            return np.zeros((len(u), 2))
        return self.size * (self.path(u, repeats) - self.path(_EVENLY, repeats).mean(0))


def _line(out: float, up: float) -> Callable[[np.ndarray, int], np.ndarray]:
    def path(u: np.ndarray, _: int) -> np.ndarray:
        return (2 * ease(u, 0.0, 1.0) - 1)[:, None] * np.array([out, up])

    return path


def _arc(up: float) -> Callable[[np.ndarray, int], np.ndarray]:
    def path(u: np.ndarray, _: int) -> np.ndarray:
        angle = np.pi * ease(u, 0.0, 1.0)
        return np.stack([-np.cos(angle), up * np.sin(angle)], -1)

    return path


def _circle(direction: float) -> Callable[[np.ndarray, int], np.ndarray]:
    def path(u: np.ndarray, repeats: int) -> np.ndarray:
        angle = 2 * np.pi * repeats * ease(u, 0.0, 1.0)
        return np.stack([direction * np.sin(angle), np.cos(angle)], -1)

    return path


def _zigzag(u: np.ndarray, repeats: int) -> np.ndarray:
    e = ease(u, 0.0, 1.0)
    return np.stack([2 * e - 1, 0.45 * np.sin(2 * np.pi * repeats * e)], -1)


def _swing(out: float, up: float) -> Callable[[np.ndarray, int], np.ndarray]:
    def path(u: np.ndarray, repeats: int) -> np.ndarray:
        wave = np.sin(2 * np.pi * repeats * u) * pulse(u, 0.0, 0.12, 0.88, 1.0)
        return wave[:, None] * np.array([out, up])

    return path


def _there(u: np.ndarray, repeats: int) -> np.ndarray:
    """From 0 to 1, and for more than one repetition back and there again: always from 0 to 1 in the end.

    However often, it is near each value for the same share of the time.
    """
    folded = (2 * repeats - 1) * u % 2.0
    at = ease(np.minimum(folded, 2.0 - folded), 0.0, 1.0)
    return np.where(u >= 1.0, 1.0, at)


def _back(u: np.ndarray, repeats: int) -> np.ndarray:
    return 1.0 - _there(u, repeats)


MOVEMENTS: dict[str, Movement] = {
    "hold": Movement(),
    "outward": Movement(_line(1, 0), size=0.10),
    "inward": Movement(_line(-1, 0), size=0.10),
    "rise": Movement(_line(0, 1), size=0.10),
    "sink": Movement(_line(0, -1), size=0.10),
    "arc_over": Movement(_arc(1.0), size=0.10),
    "arc_under": Movement(_arc(-1.0), size=0.10),
    "circle_in": Movement(_circle(-1), size=0.065, repeats=(1, 2)),
    "circle_out": Movement(_circle(1), size=0.065, repeats=(1, 2)),
    "zigzag": Movement(_zigzag, size=0.10, repeats=(2, 3)),
    "nod": Movement(_swing(0, 1), size=0.045, repeats=(2, 3)),
    "shake": Movement(_swing(1, 0), size=0.045, repeats=(2, 3)),
    "open": Movement(inner=_there),
    "close": Movement(inner=_back),
    "open_again": Movement(inner=_there, repeats=(2, 3)),
    "close_again": Movement(inner=_back, repeats=(2, 3)),
    "turn_in": Movement(inner=_there),
    "turn_out": Movement(inner=_back),
    "turn_in_again": Movement(inner=_there, repeats=(2, 3)),
    "turn_out_again": Movement(inner=_back, repeats=(2, 3)),
}
"""Movements by name."""
TURN = 50.0
"""Turning goes from this many degrees to one side of the sign's palm to as many to the other."""


@dataclass(frozen=True)
class Sign:
    """One sign.

    Attributes:
        group: signs of the same group share everything but the movement. name: ``group-movement``.
        shape, second_shape: from `hands.SHAPES`; the second one where the movement opens or closes.
        palm: from `PALMS`. place: from `PLACES`. movement: from `MOVEMENTS`.
        other: what the other hand does: ``rest``, ``mirror`` the working hand, ``alternate`` (mirror it the opposite way) or be its
            ``base``.
    """

    group: str
    shape: str
    palm: str
    place: str
    movement: str
    other: str = "rest"
    second_shape: str | None = None

    @property
    def name(self) -> str:
        """The class name."""
        return f"{self.group}-{self.movement}"

    @property
    def turns(self) -> bool:
        """Whether the movement turns the palm (as against opening or closing the hand)."""
        return self.movement.startswith("turn_")


def _group(
    group: str, shape: str, palm: str, place: str, movements: str, other: str = "rest", second: str | None = None
) -> list[Sign]:
    return [Sign(group, shape, palm, place, movement, other, second) for movement in movements.split()]


GROUPS: dict[str, list[Sign]] = {
    signs[0].group: signs
    for signs in (
        _group("flat_front", "flat", "down", "front", "outward inward circle_in circle_out zigzag hold"),
        _group("point_temple", "point", "face", "temple", "nod shake circle_in circle_out arc_over hold"),
        _group("fist_breast", "fist", "in", "breast", "rise sink circle_in circle_out nod"),
        _group("v_side", "v", "out", "side", "outward inward rise sink arc_over arc_under zigzag"),
        _group("hands_front", "flat", "across", "front", "rise sink outward inward circle_in nod", "mirror"),
        _group("claw_base", "claw", "down", "over_base", "nod outward inward circle_in shake", "base"),
        _group("o_mouth", "o", "out", "mouth", "open close open_again close_again", second="spread"),
        _group("l_side", "l", "side", "side", "turn_in turn_out turn_in_again turn_out_again"),
    )
}
"""Groups of signs that only movement tells apart."""
SINGLES: list[Sign] = [
    *_group("pinky_chin", "pinky", "face", "chin", "shake"),
    *_group("c_chin", "c", "side", "chin", "rise"),
    *_group("thumbs_front", "thumb", "across", "front", "nod", "alternate"),
    *_group("pinch_forehead", "pinch", "out", "forehead", "outward"),
    *_group("bent_belly", "bent", "in", "belly", "circle_out"),
]
"""Signs that their handshape tells apart."""
SIGNS: tuple[Sign, ...] = (*(s for signs in GROUPS.values() for s in signs), *SINGLES)
"""All signs, in the order of their classes."""
