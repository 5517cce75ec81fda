"""Skeletons: which joints there are, how they hang together, which is left and which is right."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ..errors import FormatError, UserError

MAX_JOINTS = 1024


@dataclass(frozen=True)
class Skeleton:
    """A tree of named joints.

    Attributes:
        name: short name; two skeletons with the same name must be equal.
        joints: `J` joint names, in storage order.
        parents: for each joint its parent's index, -1 for a root. Acyclic.
        pairs: (left, right) names of mirrored joints.
        parts: name of a body part -> its joints.
        bones: (child, parent) names whose difference is the bone modality; one per joint where a paper
            prescribes it. Default: each joint and its parent, a root with itself (bone zero).
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    pairs: tuple[tuple[str, str], ...] = ()
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]], hash=False)
    bones: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.joints) <= MAX_JOINTS or len(set(self.joints)) != len(self.joints):
            raise UserError(f"skeleton {self.name!r}: joints must be 1 to {MAX_JOINTS} different names")
        if len(self.parents) != len(self.joints):
            raise UserError(f"skeleton {self.name!r}: {len(self.parents)} parents for {len(self.joints)} joints")
        for joint, parent in enumerate(self.parents):
            seen = {joint}
            while parent != -1:
                if not 0 <= parent < len(self.joints) or parent in seen:
                    raise UserError(f"skeleton {self.name!r}: the parents of {self.joints[joint]!r} do not end at a root (-1)")
                seen.add(parent)
                parent = self.parents[parent]
        named = [n for pair in (*self.pairs, *self.bones) for n in pair] + [n for p in self.parts.values() for n in p]
        for name in named:
            self.index(name)
        if not self.bones:
            own = tuple((j, self.joints[p] if p >= 0 else j) for j, p in zip(self.joints, self.parents, strict=True))
            object.__setattr__(self, "bones", own)

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, name: str) -> int:
        """Index of a joint.

        Raises:
            UserError: no joint of this name.
        """
        try:
            return self.joints.index(name)
        except ValueError:
            raise UserError(f"skeleton {self.name!r} has no joint {name!r}; it has {', '.join(self.joints)}") from None

    def has(self, *names: str) -> bool:
        """Whether all these joints exist."""
        return all(n in self.joints for n in names)

    def edges(self) -> list[tuple[int, int]]:
        """(child, parent) index pairs of the tree, roots left out: what is drawn."""
        return [(j, p) for j, p in enumerate(self.parents) if p >= 0]

    def bone_pairs(self) -> list[tuple[int, int]]:
        """(child, parent) index pairs of the bone modality."""
        return [(self.index(a), self.index(b)) for a, b in self.bones]

    def mirror(self) -> list[int]:
        """For each joint the index of its mirrored one (itself on the midline)."""
        order = list(range(len(self.joints)))
        for left, right in self.pairs:
            a, b = self.index(left), self.index(right)
            order[a], order[b] = b, a
        return order

    def to_json(self) -> dict[str, object]:
        """A JSON-safe description that `from_json` reads back."""
        return {
            "name": self.name,
            "joints": list(self.joints),
            "parents": list(self.parents),
            "pairs": [list(p) for p in self.pairs],
            "parts": {k: list(v) for k, v in self.parts.items()},
            "bones": [list(b) for b in self.bones],
        }

    @classmethod
    def from_json(cls, value: object, origin: object = "skeleton") -> Skeleton:
        """The skeleton that a JSON object describes. `joints` is required; `parents` may be names or indices (null = root).

        Raises:
            FormatError: anything missing or of the wrong type, naming `origin`.
        """
        if not isinstance(value, dict):
            raise FormatError(origin, "a skeleton is a JSON object with joints and parents")
        given = cast("dict[str, Any]", value)
        extra = set(given) - {"name", "joints", "parents", "pairs", "parts", "bones"}
        if extra:
            raise FormatError(origin, f"unknown keys {sorted(extra)}; known: name, joints, parents, pairs, parts, bones")
        try:
            joints = tuple(str(j) for j in given["joints"])
            raw: list[Any] = given.get("parents", [-1] * len(joints))
            parents = tuple(-1 if p is None else joints.index(p) if isinstance(p, str) else int(p) for p in raw)
            return cls(
                name=str(given.get("name", "custom")),
                joints=joints,
                parents=parents,
                pairs=tuple((str(a), str(b)) for a, b in given.get("pairs", [])),
                parts={str(k): tuple(str(j) for j in v) for k, v in given.get("parts", {}).items()},
                bones=tuple((str(a), str(b)) for a, b in given.get("bones", [])),
            )
        except UserError as error:
            raise FormatError(origin, str(error)) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(origin, f"not a skeleton ({type(error).__name__}: {error}); see docs/formats.md") from error

    @classmethod
    def load(cls, path: Path) -> Skeleton:
        """Reads a user's own skeleton from JSON."""
        try:
            value = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file") from None
        except (OSError, ValueError, RecursionError) as error:
            raise FormatError(path, f"not readable JSON ({error})") from error
        return cls.from_json(value, path)


def tree(name: str, table: str, pairs: Sequence[tuple[str, str]] = (), **more: object) -> Skeleton:
    """A skeleton from lines ``joint parent`` (``-`` for a root), pairing every ``left_x`` with ``right_x``."""
    rows = [line.split() for line in table.strip().splitlines()]
    joints = tuple(r[0] for r in rows)
    parents = tuple(-1 if r[1] == "-" else joints.index(r[1]) for r in rows)
    found = tuple((j, "right_" + j[5:]) for j in joints if j.startswith("left_") and "right_" + j[5:] in joints)
    return Skeleton(name, joints, parents, tuple(pairs) or found, **more)  # type: ignore[arg-type]
