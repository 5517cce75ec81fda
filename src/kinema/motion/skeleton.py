"""Skeletons: which joints there are, how they hang together, which is left and which is right."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ..errors import FormatError, UserError
from ..files import read_json
from ..text import one_line
from ..words import plural
from .names import one_form

MAX_JOINTS = 1024
MAX_JSON = 2**20
"""Largest file that describes a skeleton, bytes."""


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
        def fail(problem: str) -> UserError:
            return UserError(f"skeleton {self.name!r}: {problem}")

        for name, value in _in_one_form(self).items():
            object.__setattr__(self, name, value)
        twice = [joint for joint, count in Counter(self.joints).items() if count > 1]
        if twice:
            raise fail(f"the joint {twice[0]!r} is there twice; joints must be 1 to {MAX_JOINTS} different names")
        if not 1 <= len(self.joints) <= MAX_JOINTS:
            raise fail(f"{plural(len(self.joints), 'joint')}; joints must be 1 to {MAX_JOINTS} different names")
        if len(self.parents) != len(self.joints):
            raise fail(
                f"{plural(len(self.parents), 'parent')} for {plural(len(self.joints), 'joint')}; "
                "expected one for each joint, in the order of joints, null for a root"
            )
        rooted: set[int] = set()
        for joint in range(len(self.joints)):
            rooted.update(self._way_to_root(joint, rooted, fail))
        for left, right in self.pairs:
            if left == right:
                raise fail(f"pairs: {left!r} is paired with itself; a joint of the middle stands in no pair")
        paired = Counter(name for pair in self.pairs for name in pair)
        if paired and paired.most_common(1)[0][1] > 1:
            raise fail(f"pairs: {paired.most_common(1)[0][0]!r} is in two pairs; expected each joint in at most one")
        named = [("pairs", n) for pair in self.pairs for n in pair] + [("bones", n) for bone in self.bones for n in bone]
        named += [(f"parts, {part}", n) for part, joints in self.parts.items() for n in joints]
        known = set(self.joints)
        for where, name in named:
            if name not in known:
                raise fail(f"{where}: {self._no_joint(name)}")
        if not self.bones:
            own = tuple((j, self.joints[p] if p >= 0 else j) for j, p in zip(self.joints, self.parents, strict=True))
            object.__setattr__(self, "bones", own)

    def _way_to_root(self, joint: int, rooted: set[int], fail: Callable[[str], UserError]) -> Iterable[int]:
        """The joint and its parents up to a root, or to one of `rooted`, of which that is known."""
        way = dict.fromkeys([joint])
        last = joint
        while last not in rooted and (parent := self.parents[last]) != -1:
            child = self.joints[last]
            if not 0 <= parent < len(self.joints):
                places = f"a place from 0 to {len(self.joints) - 1}, or -1 (null) for a root"
                raise fail(f"the joint {child!r} has the parent {parent}; expected {places}")
            if parent == last:
                raise fail(f"the joint {child!r} is its own parent; write null for a root")
            if parent in way:
                around = list(way)
                circle = " -> ".join(repr(self.joints[j]) for j in [*around[around.index(parent) :], parent][:8])
                raise fail(f"the parents go in a circle, {circle}; one of these joints must be a root (null)")
            way[parent] = None
            last = parent
        return way

    def _no_joint(self, name: str) -> str:
        close = difflib.get_close_matches(name, self.joints, 1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        return f"no joint {name!r}{hint}; joints are {_listed(self.joints)}"

    def __len__(self) -> int:
        return len(self.joints)

    def __repr__(self) -> str:
        """Its name and the first joints, in one line."""
        shown = ", ".join(self.joints[:4]) + (", ..." if len(self.joints) > 4 else "")
        return f"<Skeleton {one_line(self.name)}: {len(self)} joints: {one_line(shown)}>"

    def index(self, name: str) -> int:
        """Index of a joint.

        Raises:
            UserError: no joint of this name.
        """
        try:
            return self.joints.index(one_form(name))
        except ValueError:
            raise UserError(f"skeleton {self.name!r}: {self._no_joint(name)}") from None

    def has(self, *names: str) -> bool:
        """Whether all these joints exist."""
        return all(one_form(n) in self.joints for n in names)

    def edges(self) -> list[tuple[int, int]]:
        """(child, parent) index pairs of the tree, roots left out. What is drawn: see `outline`."""
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
        known = ("name", "joints", "parents", "pairs", "parts", "bones")
        extra = sorted(set(given) - set(known))
        if extra:
            close = difflib.get_close_matches(extra[0], known, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise FormatError(origin, f"unknown key {extra[0]!r}{hint}; known: {', '.join(known)}")
        if "joints" not in given:
            raise FormatError(origin, f"no joints; {_EXPECTED['joints']}")
        try:
            joints = _joint_names(given["joints"], "joints")
            return cls(
                name=_text(given.get("name", "custom"), "name"),
                joints=joints,
                parents=_parents(given.get("parents"), joints),
                pairs=_couples(given.get("pairs", []), "pairs"),
                parts=_parts(given.get("parts", {})),
                bones=_couples(given.get("bones", []), "bones"),
            )
        except UserError as error:
            raise FormatError(origin, str(error)) from error

    @classmethod
    def load(cls, path: Path) -> Skeleton:
        """Reads a user's own skeleton from JSON."""
        path = Path(path)
        if not path.exists():
            raise UserError(f"{path}: no such file")
        return cls.from_json(read_json(path, MAX_JSON), path)


_EXPECTED = {
    "name": "expected a name in quotes",
    "joints": "expected a list of names, as many as the arrays have joints",
    "parents": "expected a list, for each joint the name or place of its parent, null for a root",
    "pairs": "expected a list of pairs of joints, [left, right]",
    "bones": "expected a list of pairs of joints, [child, parent]",
    "parts": "expected an object of lists of joints, by name of the part",
}


def _in_one_form(skeleton: Skeleton) -> dict[str, Any]:
    """The fields that hold names of joints, their letters in one form."""
    return {
        "joints": tuple(map(one_form, skeleton.joints)),
        "pairs": tuple((one_form(a), one_form(b)) for a, b in skeleton.pairs),
        "parts": {k: tuple(map(one_form, v)) for k, v in skeleton.parts.items()},
        "bones": tuple((one_form(a), one_form(b)) for a, b in skeleton.bones),
    }


def _shown(value: object) -> str:
    """A value of a JSON file for a message: short."""
    text = json.dumps(value, ensure_ascii=False) if value is None or isinstance(value, str | int | float) else ""
    return (text if len(text) <= 40 else f"{text[:40]}...") if text else "an object" if isinstance(value, dict) else "a list"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")


def _list(value: object, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise UserError(f"{key} is {_shown(value)}; {_EXPECTED[key]}")
    return cast("list[Any]", value)


def _text(value: object, key: str, where: str = "") -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where or key}: {_shown(value)} is no name; {_EXPECTED[key]}")
    return one_form(value)


def _joint_names(value: object, key: str, where: str = "") -> tuple[str, ...]:
    if not isinstance(value, list):
        raise UserError(f"{where or key} is {_shown(value)}; {_EXPECTED[key]}")
    return tuple(_text(name, key, f"{where or key}, entry {i}") for i, name in enumerate(cast("list[Any]", value)))


def _parents(value: object, joints: tuple[str, ...]) -> tuple[int, ...]:
    """For each joint the place of its parent, -1 for a root; without any there are only roots."""
    if value is None:
        return (-1,) * len(joints)
    place = {joint: i for i, joint in enumerate(joints)}
    parents: list[int] = []
    for i, parent in enumerate(_list(value, "parents")):
        child = f"the joint {joints[i]!r}" if i < len(joints) else f"entry {i} of parents"
        if parent is None:
            parents.append(-1)
        elif isinstance(parent, str):
            if one_form(parent) not in place:
                close = difflib.get_close_matches(parent, joints, 1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                known = f"joints are {_listed(joints)}; a root has null"
                raise UserError(f"{child} names the parent {parent!r}, which is no joint{hint}; {known}")
            parents.append(place[one_form(parent)])
        elif type(parent) is int:
            parents.append(parent)
        else:
            raise UserError(f"{child} has the parent {_shown(parent)}; expected a joint's name or place, null for a root")
    return tuple(parents)


def _couples(value: object, key: str) -> tuple[tuple[str, str], ...]:
    couples: list[tuple[str, str]] = []
    for i, couple in enumerate(_list(value, key)):
        names = _joint_names(couple, key, f"{key}, entry {i}")
        if len(names) != 2:
            raise UserError(f"{key}, entry {i}: {plural(len(names), 'name')}; {_EXPECTED[key]}")
        couples.append((names[0], names[1]))
    return tuple(couples)


def _parts(value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise UserError(f"parts is {_shown(value)}; {_EXPECTED['parts']}")
    parts = cast("dict[str, Any]", value)
    return {one_form(part): _joint_names(joints, "parts", f"parts, {part!r}") for part, joints in parts.items()}


def tree(name: str, table: str, pairs: Sequence[tuple[str, str]] = (), **more: object) -> Skeleton:
    """A skeleton from lines ``joint parent`` (``-`` for a root), pairing every ``left_x`` with ``right_x``."""
    rows = [line.split() for line in table.strip().splitlines()]
    joints = tuple(r[0] for r in rows)
    parents = tuple(-1 if r[1] == "-" else joints.index(r[1]) for r in rows)
    found = tuple((j, "right_" + j[5:]) for j in joints if j.startswith("left_") and "right_" + j[5:] in joints)
    return Skeleton(name, joints, parents, tuple(pairs) or found, **more)  # type: ignore[arg-type]
