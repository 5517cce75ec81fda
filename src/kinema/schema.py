"""What a JSON object must hold, told in a small table and checked where it is read.

A table names the keys and what each may be, in the words of `typing`: ``int``, ``float`` (a whole number will do), ``bool``, ``str``,
``None``, ``Any``, ``list[str]``, ``dict[str, Any]``, ``tuple[int, int]`` (a list of just so many), ``int | None``, ``Literal["a", "b"]``,
``Annotated[int, 1, 9]`` (from 1 to 9) and ``NotRequired[int]`` (the key may be absent). True is no number, and text is no list.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin

from .errors import FormatError

MAX_SHOWN = 60
"""Letters of a value in a message."""
_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    NoneType: "null",
    dict: "an object",
    list: "a list",
}


class Table:
    """The keys of an object, and what each may be.

    Args:
        more: keys that are not named here are passed over; otherwise they are refused.
        kinds: by key.
    """

    def __init__(self, *, more: bool = True, **kinds: Any):
        self._more, self._kinds = more, kinds
        self._tests = {key: _test(kind) for key, kind in kinds.items()}
        self._needed = {key for key, kind in kinds.items() if get_origin(kind) is not NotRequired}

    def check(self, value: Any, origin: object) -> dict[str, Any]:
        """`value`, if it is an object that holds what is named here; `origin` is the file, or the part of it, that messages name.

        Raises:
            FormatError: no object, a key that is missing (or unknown), or a value of another kind.
        """
        if not isinstance(value, dict):
            raise FormatError(origin, f"holds {shown(value)}; expected an object with {', '.join(self._kinds)}")
        tests = self._tests
        for key, each in value.items():
            if key in tests:
                if not tests[key](each):
                    raise FormatError(origin, f"{key} is {shown(each)}; expected {named(self._kinds[key])}")
            elif not self._more:
                raise FormatError(origin, f"holds {shown(key)}, which is not known; expected {', '.join(self._kinds)}")
        if not self._needed <= value.keys():
            missing = next(key for key in self._kinds if key in self._needed and key not in value)
            raise FormatError(origin, f"{missing} is missing; expected {named(self._kinds[missing])}")
        return value


def fits(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of a kind, in the words of a table."""
    return _test(kind)(value)


def shown(value: Any) -> str:
    """JSON of a value for a message; of a long one the beginning."""
    text = json.dumps(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} ..."


def named(kind: Any) -> str:
    """A kind in words."""
    origin, of = get_origin(kind), get_args(kind)
    if origin is NotRequired:
        return named(of[0])
    if origin is Annotated:
        return f"{named(of[0])} from {of[1]} to {of[2]}"
    if origin is Literal:
        return " or ".join(map(repr, of))
    if origin in (Union, UnionType):
        return " or ".join(map(named, of))
    if origin is tuple:
        return f"a list of {' and '.join(map(named, of))}"
    if origin is list and of[0] is not Any:
        return f"a list of {named(of[0])}"
    return _NAMES.get(origin or kind, "something")


@functools.cache
def _test(kind: Any) -> Callable[[Any], bool]:
    """The test of a kind, made once: a store has as many entries as clips."""
    origin, of = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value: True
    if origin is NotRequired:
        return _test(of[0])
    if origin is Annotated:
        inner, low, high = _test(of[0]), of[1], of[2]
        return lambda value: inner(value) and low <= value <= high
    if origin is Literal:
        return lambda value: isinstance(value, str) and value in of
    if origin in (Union, UnionType):
        tests = [_test(each) for each in of if each is not NoneType]
        first, others, empty = tests[0], tests[1:], NoneType in of
        return lambda value: (value is None and empty) or first(value) or any(test(value) for test in others)
    if origin is list:
        each = _test(of[0])
        return lambda value: type(value) is list and all(map(each, value))
    if origin is dict:
        each = _test(of[1])
        return lambda value: type(value) is dict and all(map(each, value.values()))
    if origin is tuple:
        tests = [_test(each) for each in of]
        return lambda value: (
            type(value) is list and len(value) == len(tests) and all(t(v) for t, v in zip(tests, value, strict=True))
        )
    if kind is float:
        return lambda value: type(value) is float or type(value) is int
    kind = NoneType if kind is None else kind
    return lambda value: type(value) is kind
