"""Units and axes of files that do not say them, told by whoever knows the files and converted at the door.

Kinema's own are metres, y up, right-handed; of 2-D, the image's y down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from .clip import Clip

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254, "ft": 0.3048}
"""Units of length, in metres."""
PLAIN = {"px": "pixels", "none": "normalised"}
"""What is no length -> the units of the clip. Its numbers stay as they are."""
UNITS = (*METRES, *PLAIN)
AXES = ("x", "y", "z", "-x", "-y", "-z")
# rows: where the clip's x, y and z come from. Each is a turn, so that what was right-handed stays so.
_TURNS = {
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
}
_FLAT = {"-y": ((1, 0), (0, 1)), "y": ((1, 0), (0, -1)), "x": ((0, 1), (-1, 0)), "-x": ((0, -1), (1, 0))}


@dataclass(frozen=True)
class Conventions:
    """How the numbers of a file are meant. None: as the reader of its format says.

    Attributes:
        units: one of `UNITS`.
        up: the axis of the file that points up, one of `AXES`.
        left_handed: whether the file's axes are left-handed, as in Unity and Unreal; x is turned round when y is up.
    """

    units: str | None = None
    up: str | None = None
    left_handed: bool = False

    def __post_init__(self) -> None:
        if self.units is not None and self.units not in UNITS:
            raise UserError(f"units {self.units!r}; expected one of {', '.join(UNITS)}")
        if self.up is not None and self.up not in AXES:
            raise UserError(f"up {self.up!r}; expected one of {', '.join(AXES)}")

    def __bool__(self) -> bool:
        return self != Conventions()

    def to_json(self) -> dict[str, object]:
        """What is said."""
        facts = {"units": self.units, "up": self.up, "left_handed": self.left_handed or None}
        return {name: value for name, value in facts.items() if value is not None}

    def applied(self, clip: Clip) -> Clip:
        """The clip `(T, M, J, C)` in Kinema's conventions. Absent joints stay zero.

        A turned or mirrored clip loses `rotations`, `offsets` and `image_size`, which are of the old axes.

        Raises:
            UserError: `up` along z, or `left_handed`, for a clip of 2 coordinates.
        """
        changes: dict[str, object] = {}
        positions = clip.positions
        if self.units in PLAIN:
            changes["units"] = PLAIN[self.units]
        elif self.units is not None:
            scale = np.float32(METRES[self.units])
            positions = positions * scale
            changes["units"] = "metres"
            changes["offsets"] = None if clip.offsets is None else clip.offsets * scale
        if changes.get("units", "pixels") != "pixels":
            changes["image_size"] = None
        matrix = self._matrix(clip)
        if matrix is not None:
            positions = np.ascontiguousarray(positions @ matrix.T)
            changes |= {"rotations": None, "offsets": None, "image_size": None}
        return clip.with_(positions=positions, **changes)

    def _matrix(self, clip: Clip) -> np.ndarray | None:
        """`(C, C)`: the turn and the mirror; None where there is nothing to do."""
        if self.up is None and not self.left_handed:
            return None
        flat = clip.positions.shape[-1] == 2
        turns = _FLAT if flat else _TURNS
        if flat and (self.left_handed or self.up not in turns):
            said = "left-handed axes" if self.left_handed else f"up {self.up}"
            raise UserError(f"{clip.source or 'clip'}: {said} for 2-D positions; they have up {', '.join(turns)} alone")
        matrix = np.array(turns[self.up or "y"], np.float32)
        matrix = np.diag(np.array([-1, 1, 1], np.float32)) @ matrix if self.left_handed else matrix
        return None if np.array_equal(matrix, np.eye(len(matrix))) else matrix
