"""What all clips of a store must have in common: joints, units, and the number of coordinates. Otherwise numbers of different meaning
would be trained on as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..files import read_json, write_json
from ..motion.clip import Clip
from ..motion.convert import common
from ..motion.skeleton import Skeleton
from ..schema import fits


@dataclass(frozen=True)
class Kind:
    """Of a clip: its skeleton, units and number of coordinates `C`."""

    skeleton: Skeleton
    units: str
    coordinates: int

    @classmethod
    def of(cls, clip: Clip) -> Kind:
        """The kind of a clip."""
        return cls(clip.skeleton, clip.units, clip.positions.shape[-1])

    def __str__(self) -> str:
        return f"{self.skeleton.name} ({len(self.skeleton)} joints, {self.coordinates}-D, {self.units})"


class Kinds:
    """How many clips of each kind there are, and one of them by name."""

    def __init__(self) -> None:
        self.count: dict[Kind, int] = {}
        self.example: dict[Kind, str] = {}

    def add(self, name: str, kind: Kind) -> None:
        """Counts a clip."""
        self.count[kind] = self.count.get(kind, 0) + 1
        self.example.setdefault(kind, name)

    def first(self, clips: Iterable[tuple[str, Clip]]) -> Iterator[tuple[str, Clip]]:
        """Counts clips, and passes on those of the kind of the first one."""
        for name, clip in clips:
            kind = Kind.of(clip)
            self.add(name, kind)
            if kind == next(iter(self.count)):
                yield name, clip

    def join(self, others: Kinds) -> None:
        """Counts what others counted."""
        for kind, count in others.count.items():
            self.count[kind] = self.count.get(kind, 0) + count
            self.example.setdefault(kind, others.example[kind])

    def write(self, path: Path) -> None:
        """Writes them as JSON."""
        write_json(
            path,
            [[k.skeleton.to_json(), k.units, k.coordinates, count, self.example[k]] for k, count in self.count.items()],
        )

    @classmethod
    def read(cls, path: Path) -> Kinds:
        """What `write` wrote. Raises FormatError."""
        rows = read_json(path)
        if not fits(rows, list[tuple[dict[str, Any], str, int, int, str]]):
            raise FormatError(path, "not the kinds of a part; remove it and build again")
        kinds = cls()
        for skeleton, units, coordinates, count, example in rows:
            kind = Kind(Skeleton.from_json(skeleton, path), units, coordinates)
            kinds.count[kind], kinds.example[kind] = count, example
        return kinds

    def problem(self) -> str | None:
        """That there are several kinds, which, and what to do; None for one."""
        if len(self.count) < 2:
            return None
        kinds = sorted(self.count, key=lambda k: -self.count[k])
        # skeletons of users may share a name
        alike = len({str(k) for k in kinds}) < len(kinds)
        said = {k: f"{k} with {', '.join(k.skeleton.joints[:3])}, ..." if alike else str(k) for k in kinds}
        found = "; ".join(f"{self.count[k]} of {said[k]}, such as {self.example[k]}" for k in kinds[:6])
        more = f"; and {len(kinds) - 6} more" if len(kinds) > 6 else ""
        return f"clips of {len(kinds)} kinds, and a store holds one: {found}{more}. {_advice(kinds)}"


def _advice(kinds: Sequence[Kind]) -> str:
    advice = ["Build each from a folder of its own"]
    skeletons = list(dict.fromkeys(k.skeleton for k in kinds))
    to = common(skeletons) if len(skeletons) > 1 else None
    if to is not None:
        advice.append(f"convert all by the names of joints: --skeleton {to.name}")
    if len({k.units for k in kinds}) > 1:
        advice.append("say the units if they were mistaken: --units px or none")
    return ", or ".join(advice)
