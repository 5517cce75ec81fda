"""JSON to dataclasses, strictly, by cattrs. What does not fit is told by its place, its value and what was expected there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import cattrs
from cattrs.gen import make_dict_structure_fn

from ..errors import UserError, unknown

T = TypeVar("T")
NAMES: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
LARGEST = 2**53
"""Beyond it floats leave out whole numbers."""
MAX_SHOWN = 60
"""Letters of a value in a message."""


class Expected(ValueError):
    """A value is not what it should be; the text says what was expected."""


class At(Exception):
    """What went wrong with one entry of a list."""

    def __init__(self, index: int, error: Exception):
        super().__init__(index, error)
        self.index, self.error = index, error


@dataclass(frozen=True)
class Problem:
    """What is wrong in a JSON value.

    Attributes:
        path: dotted; empty for the whole. text: what is wrong there; if it is one `value`, that and what was expected.
    """

    path: str
    text: str
    value: bool = False

    def line(self, place: str = "") -> str:
        """The problem in a line, of a value that lies at `place` of its file."""
        path = ".".join(filter(None, (place, self.path)))
        return f"{path}{' ' if self.value else ': '}{self.text}" if path else self.text


class Refused(Exception):
    """The JSON describes no such object."""

    def __init__(self, problems: list[Problem]):
        super().__init__(problems)
        self.problems = problems


def converter() -> cattrs.Converter:
    """One that takes nothing for something else: no text for a list, no 2.5 for 2, no key that no class has."""
    made = cattrs.Converter(forbid_extra_keys=True)
    made.register_structure_hook_factory(is_dataclass, lambda kind: _group(kind, made))
    made.register_structure_hook_factory(lambda kind: get_origin(kind) is tuple, lambda kind: _list(kind, made))
    made.register_structure_hook_factory(lambda kind: get_origin(kind) is Literal, _choice)
    made.register_structure_hook_factory(_may_be_none, lambda kind: _or_null(kind, made))
    for kind in NAMES:
        made.register_structure_hook(kind, _exactly)
    return made


def structure(how: cattrs.Converter, value: Any, kind: type[T]) -> T:
    """The object that a JSON value describes.

    Raises:
        Refused: it describes none.
    """
    try:
        return how.structure(value, kind)
    except Exception as error:  # whatever a constructor raises
        raise Refused(list(_problems(error, "", kind, value))) from error


def at(value: Any, path: str) -> Any:
    """What lies at a dotted path of a JSON value; None where nothing does."""
    for key in filter(None, path.split(".")):
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list | tuple) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def shown(value: Any) -> str:
    """A value as JSON, of a long one the beginning."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _problems(error: BaseException, path: str, kind: Any, whole: Any) -> Iterator[Problem]:
    if isinstance(error, cattrs.ClassValidationError):
        named, others = error.group_exceptions()
        for each, note in named:
            yield from _problems(each, _join(path, note.name), None, whole)
        for each in others:
            yield from _problems(each, path, error.cl, whole)
    elif isinstance(error, At):
        yield from _problems(error.error, _join(path, str(error.index)), None, whole)
    elif isinstance(error, cattrs.ForbiddenExtraKeysError):
        known = [field.name for field in fields(error.cl)] if is_dataclass(error.cl) else []
        for key in sorted(map(str, error.extra_fields)):
            yield Problem(path, str(unknown("value", key, known)))
    elif isinstance(error, KeyError):
        yield Problem(path, "missing")
    elif isinstance(error, Expected):
        yield Problem(path, f"{shown(at(whole, path))}: {error}", value=True)
    else:
        yield objection(str(error), path, kind)


def objection(text: str, path: str, kind: Any) -> Problem:
    """What the class `kind` says against its values: where it begins with the path of one, about that one."""
    first, _, rest = text.partition(" ")
    if is_dataclass(kind) and first.partition(".")[0] in {field.name for field in fields(kind)}:
        return Problem(_join(path, first), rest, value=True)
    if first == path.rpartition(".")[2]:
        return Problem(path, rest, value=True)
    return Problem(path, text)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _group(kind: Any, made: cattrs.Converter) -> Callable[[Any, Any], Any]:
    build = make_dict_structure_fn(kind, made, _cattrs_forbid_extra_keys=True)

    def structured(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise Expected("expected a group of values, a JSON object")
        return build(value, kind)

    return structured


def _list(kind: Any, made: cattrs.Converter) -> Callable[[Any, Any], Any]:
    entries = get_args(kind)
    endless = len(entries) == 2 and entries[1] is Ellipsis

    def structured(value: Any, _: Any) -> Any:
        if not isinstance(value, list | tuple) or not (endless or len(value) == len(entries)):
            raise Expected("expected a list" if endless else f"expected a list of {len(entries)}")
        found = []
        for i, each in enumerate(value):
            try:
                found.append(made.structure(each, entries[0 if endless else i]))
            except Exception as error:
                raise At(i, error) from error
        return tuple(found)

    return structured


def _choice(kind: Any) -> Callable[[Any, Any], Any]:
    known = get_args(kind)

    def structured(value: Any, _: Any) -> Any:
        if not isinstance(value, str) or value not in known:
            raise Expected(f"expected {' or '.join(map(str, known))}" if len(known) < 3 else f"expected one of {', '.join(known)}")
        return value

    return structured


def _may_be_none(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType) and NoneType in get_args(kind)


def _or_null(kind: Any, made: cattrs.Converter) -> Callable[[Any, Any], Any]:
    (inner,) = (each for each in get_args(kind) if each is not NoneType)

    def structured(value: Any, _: Any) -> Any:
        try:
            return None if value is None else made.structure(value, inner)
        except Expected as error:
            raise Expected(f"{error}, or null") from error

    return structured


def _exactly(value: Any, kind: type) -> Any:
    """The value, if it is of the JSON type that stands for `kind` (a whole number may stand for a float)."""
    if type(value) is kind or (kind is float and type(value) is int):
        if type(value) is int and abs(value) > LARGEST:
            raise Expected(f"expected {NAMES[kind]} between -2^53 and 2^53")
        return kind(value)
    raise Expected(f"expected {NAMES[kind]}")


def one_of(made: cattrs.Converter, keys: dict[str, type]) -> Callable[[Any, Any], Any]:
    """A hook for a choice of classes, told apart by a key that only one of them has; "" is the one that is left."""

    def structured(value: Any, _: Any) -> Any:
        known = value if isinstance(value, dict) else {}
        return made.structure(value, next(kind for key, kind in keys.items() if not key or key in known))

    return structured


def tagged(made: cattrs.Converter, kinds: dict[str, type], tag: str) -> Callable[[Any, Any], Any]:
    """A hook for a choice of classes that are named beside their values, under `tag`."""

    def structured(value: Any, _: Any) -> Any:
        if not isinstance(value, dict) or value.get(tag) not in kinds:
            raise Expected(f'expected an object with "{tag}", one of {", ".join(kinds)}')
        return made.structure({key: each for key, each in value.items() if key != tag}, kinds[value[tag]])

    return structured


def refusal(origin: object, refused: Refused, place: str) -> UserError:
    """The error for a file whose JSON value at `place` was refused."""
    lines = [problem.line(place) for problem in refused.problems]
    more = f" (and {len(lines) - 3} more)" if len(lines) > 3 else ""
    return UserError(f"{origin}: {'; '.join(lines[:3])}{more}")
