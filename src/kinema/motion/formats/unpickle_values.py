"""The values that a pickle may build: numbers, text, arrays of them, and the containers that hold them. `unpickle` runs its program."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from typing import Any, cast

import numpy as np

PAIR = 4
"""What a pair of a dictionary that is made by a call counts for, bytes: it takes more in the file, unless it is made anew from memory."""
EMPTY_SET, MEMBER, TEXT = 216, 32, 60
"""What a set, a member of one that is made by a call, and a text of an array count for, bytes."""
MAX_NUMBERS = 64
"""Most keys of one dictionary that are numbers: many of them can be made to collide."""
MAX_TEXT = 1000
"""Longest text of an array of texts."""
_DTYPE = re.compile(r"[<>|=]?(?:[iuf][1248]|b1|U([1-9][0-9]{0,3}))")


class RefusedError(Exception):
    """The file asks for something that is not built here."""


class Unreadable:
    """Stands among the data for an array of a kind that is not read, so that the rest of the file can be."""

    def __init__(self, what: str):
        self.what = what


class Box:
    """A NumPy object that the file builds in two steps: `value` is None until it is whole."""

    def __init__(self, value: Any = None):
        self.value = value


class ArrayBox(Box):
    """An array."""


class DtypeBox(Box):
    """The type of an array's numbers, or `Unreadable`."""


class Name:
    """A name that the file gives, already found among the allowed ones."""

    def __init__(self, call: Callable[..., Any] | None):
        self.call = call


def size_of(value: Any) -> int:
    """What a value counts for that a call has made, bytes."""
    array = value.value if isinstance(value, ArrayBox) else None
    if isinstance(array, np.ndarray):
        numbers = cast("np.ndarray", array)
        return numbers.nbytes + (TEXT * numbers.size if numbers.dtype.kind == "U" else 0)
    if isinstance(value, set):
        return EMPTY_SET + MEMBER * len(cast("set[str]", value))
    if isinstance(value, dict):
        return PAIR * len(cast("dict[str, Any]", value))
    return len(value) if isinstance(value, bytes) else 4 * len(value) if isinstance(value, str) else 0


def done(value: Any) -> Any:
    """A value as the caller gets it."""
    if isinstance(value, ArrayBox) and value.value is not None:
        return value.value
    if isinstance(value, Box | Name):
        raise RefusedError("a name or an unfinished array among the data")
    return value


def plain_tuple(values: list[Any], count: int | None = None) -> tuple[Any, ...]:
    """A tuple of values, of `count` if that is given."""
    if count is not None and len(values) != count:
        raise ValueError("stack underflow")
    return tuple(v.value if isinstance(v, ArrayBox) and v.value is not None else v for v in values)


def set_items(target: Any, values: list[Any]) -> dict[str, Any]:
    """Puts key, value, key, value ... into a dictionary."""
    if not isinstance(target, dict) or len(values) % 2:
        raise ValueError("items for something that is not a dictionary")
    result = cast("dict[Any, Any]", target)
    for key, value in zip(values[::2], values[1::2], strict=True):
        # tuples of tuples take for ever to hash, and numbers can be made to collide
        number = type(key) is float or (type(key) is int and abs(key) < 2**63)
        if not isinstance(key, str) and not (number and len(result) < MAX_NUMBERS):
            raise RefusedError(
                f"a dictionary key of type {type(key).__name__}; only text and at most {MAX_NUMBERS} numbers are read"
            )
        result[key] = done(value)
    return result


def texts(values: Any = ()) -> set[str]:
    """Stands for ``set`` and ``frozenset``."""
    if not isinstance(values, list | tuple):
        raise RefusedError("a set that is not made of a list")
    found = cast("list[Any]", values)
    other = [v for v in found if not isinstance(v, str)]
    if other:
        raise RefusedError(f"a set of {type(other[0]).__name__}; only sets of text are read")
    return set(found)


def build_up(target: Any, state: Any) -> None:
    """The second step of an array or of its type."""
    fields: tuple[Any, ...] = cast("tuple[Any, ...]", state) if isinstance(state, tuple) else ()
    if isinstance(target, DtypeBox):
        # (version, byte order, subarray, names, fields, size, alignment, flags)
        if len(fields) < 5 or fields[1] not in ("<", ">", "|", "="):
            raise RefusedError("an array type that is not a plain number")
        if not all(field is None for field in fields[2:5]):
            target.value = Unreadable("an array of records")
        elif fields[1] in ("<", ">") and not isinstance(target.value, Unreadable):
            target.value = target.value.newbyteorder(fields[1])
    elif isinstance(target, ArrayBox) and len(fields) in (4, 5):
        shape, dtype, fortran, raw = (fields[i] for i in range(-4, 0))
        target.value = _array(raw, dtype, shape, "F" if fortran is True or fortran == 1 else "C")
    elif state is not None or not isinstance(target, dict):
        raise RefusedError("a state, which only objects of other kinds have")


def _array(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray | Unreadable:
    """An array over the bytes of the file: never larger than they are."""
    if not isinstance(dtype, DtypeBox) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise ValueError("an array without type, shape or order")
    if isinstance(dtype.value, Unreadable):
        return dtype.value
    sizes = cast("tuple[Any, ...]", shape)
    if isinstance(raw, str):  # written by Python 2
        raw = raw.encode("latin-1")
    if not isinstance(raw, bytes) or len(sizes) > 32 or not all(type(n) is int and 0 <= n < 2**40 for n in sizes):
        raise RefusedError("an array that is not stored as plain bytes with a shape")
    if math.prod(sizes) * dtype.value.itemsize != len(raw):
        raise ValueError(f"{len(raw)} bytes for an array {sizes} of {dtype.value}")
    if dtype.value.kind == "U" and np.frombuffer(raw, f"{dtype.value.byteorder}u4").max(initial=0) > sys.maxunicode:
        raise ValueError("an array of text with what is no letter")
    return np.ndarray(sizes, dtype.value, raw, order=order)


def _new_array(kind: Any, shape: Any, code: Any) -> ArrayBox:
    """Stands for ``numpy.core.multiarray._reconstruct``, the empty array that is filled later."""
    if not isinstance(kind, Name) or kind is not _NDARRAY or shape != (0,):
        raise RefusedError("an array of a derived kind")
    return ArrayBox()


def _new_dtype(code: Any, align: Any = False, copy: Any = False) -> DtypeBox:
    """Stands for ``numpy.dtype``."""
    found = _DTYPE.fullmatch(code) if isinstance(code, str) else None
    if found is None or int(found[1] or 0) > MAX_TEXT:
        return DtypeBox(Unreadable(f"an array of {_short(code)}; only whole numbers, floats, bool and text are read"))
    return DtypeBox(np.dtype(code))


def _scalar(dtype: Any, raw: Any) -> int | float | bool | str | Unreadable:
    """Stands for ``numpy.core.multiarray.scalar``."""
    value = _array(raw, dtype, ())
    return value if isinstance(value, Unreadable) else value.item()


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> ArrayBox:
    """Stands for ``numpy.core.numeric._frombuffer`` (protocol 5)."""
    return ArrayBox(_array(raw, dtype, shape, order))


def _encode(text: Any, encoding: Any) -> bytes:
    """Stands for ``_codecs.encode``, which is how protocols 0 to 2 spell bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedError("text that is encoded")
    return text.encode("latin-1")


def _default(factory: Any = None) -> dict[str, Any]:
    """Stands for ``collections.defaultdict``, without what it would make of a key that is not there."""
    return {}


def _ordered(pairs: Any = ()) -> dict[str, Any]:
    """Stands for ``collections.OrderedDict``."""
    flat: list[Any] = []
    for pair in pairs:
        key, value = pair
        flat += [key, value]
    return set_items({}, flat)


_NDARRAY = Name(None)
_ALLOWED: dict[tuple[str, str], Name] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): Name(_new_dtype),
    ("_codecs", "encode"): Name(_encode),
    ("collections", "OrderedDict"): Name(_ordered),
    ("collections", "defaultdict"): Name(_default),
}
for _package in ("builtins", "__builtin__"):
    _ALLOWED[_package, "bytes"] = Name(lambda: b"")
    _ALLOWED[_package, "set"] = _ALLOWED[_package, "frozenset"] = Name(texts)
    for _kind in ("list", "dict", "int", "float", "str"):  # what a defaultdict would make
        _ALLOWED[_package, _kind] = Name(None)
for _package in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_package}.multiarray", "_reconstruct"] = Name(_new_array)
    _ALLOWED[f"{_package}.multiarray", "scalar"] = Name(_scalar)
    _ALLOWED[f"{_package}.numeric", "_frombuffer"] = Name(_from_buffer)


def found_name(module: Any, attribute: Any) -> Name:
    """What stands for a name of the file. Raises RefusedError for any that is not among the allowed ones."""
    found = _ALLOWED.get((module, attribute)) if isinstance(module, str) and isinstance(attribute, str) else None
    if found is None:
        raise RefusedError(f"it asks for {_short(module)}.{_short(attribute)}, which is not data")
    return found


def _short(value: Any) -> str:
    """A name from the file for a message: short, on one line, whatever it is."""
    return ascii(value[:60])[1:-1] if isinstance(value, str) else type(value).__name__
