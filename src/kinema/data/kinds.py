"""What all clips of a store must have in common: joints, units, and the number of coordinates. Otherwise numbers of different meaning
would be trained on as one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..motion.clip import Clip
from ..motion.convert import common
from ..motion.skeleton import Skeleton


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
        return f"{self.skeleton.name} ({len(self.skeleton)} joints), {self.coordinates}-D, {self.units}"


class Kinds:
    """How many clips of each kind there are, and one of them by name."""

    def __init__(self, clips: Iterable[tuple[str, Kind]] = ()):
        self.count: dict[Kind, int] = {}
        self.example: dict[Kind, str] = {}
        for name, kind in clips:
            self.add(name, kind)

    def add(self, name: str, kind: Kind) -> None:
        """Counts a clip."""
        self.count[kind] = self.count.get(kind, 0) + 1
        self.example.setdefault(kind, name)

    def problem(self) -> str | None:
        """That there are several kinds, which, and what to do; None for one."""
        if len(self.count) < 2:
            return None
        kinds = sorted(self.count, key=lambda k: -self.count[k])
        # skeletons of users may share a name
        alike = len({str(k) for k in kinds}) < len(kinds)
        names = {k: f"{k} ({', '.join(k.skeleton.joints[:3])}, ...)" if alike else str(k) for k in kinds}
        found = "; ".join(
            f"{self.count[k]} {'is' if self.count[k] == 1 else 'are'} {names[k]}, such as {self.example[k]}" for k in kinds[:6]
        )
        more = f"; and {len(kinds) - 6} kinds more" if len(kinds) > 6 else ""
        return f"its clips are of {len(kinds)} kinds, and a store holds one: {found}{more}. {self._advice(kinds)}"

    def _advice(self, kinds: list[Kind]) -> str:
        advice: list[str] = []
        skeletons = list(dict.fromkeys(k.skeleton for k in kinds))
        to = common(skeletons) if len(skeletons) > 1 else None
        if to is not None:
            advice.append(f"--skeleton {to.name} takes from each the joints of that skeleton, by their names")
        if len({k.units for k in kinds}) > 1:
            advice.append("--units px or --units none says what all are in, where that was taken wrongly")
        return "; ".join(["Build each kind as a store of its own, from a folder of its own", *advice])
