"""Pickled data that others published, read without running anything.

A pickle is a program for a small stack machine, which may call any function. This is the only module that reads such files, and
it does so with a machine of its own that can build nothing but numbers, text, bytes, lists, tuples, dictionaries and numeric NumPy
arrays. A name in the file is never looked up: it is compared with the few below, and any other is refused. (An allow-list on the
standard `Unpickler` would leave NumPy's native constructors, and a memo that allocates what the file asks for, open to the file.)
"""

from __future__ import annotations

import io
import math
import pickletools
import re
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from ...errors import FormatError

MAX_PICKLE = 4 * 2**30
"""Largest pickle read, bytes."""
MAX_STEPS = 40_000_000
"""Longest program, steps; each makes at most one small object or takes its bytes from the file, but for what `_size` counts. NTU-120 needs
about 10 million."""
PAIR = 4
"""What a pair of a dictionary that is made by a call counts for, bytes: it takes more in the file, unless it is made anew from memory."""
MAX_PROTOCOL = 5

_DTYPE = re.compile(r"[<>|=]?(?:[iuf][1248]|b1)")
_PLAIN = frozenset(
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "
    "UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_CONSTANT = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


class _RefusedError(Exception):
    """The file asks for something that is not built here."""


class _Box:
    """A NumPy object that the file builds in two steps: `value` is None until it is whole."""

    def __init__(self, value: Any = None):
        self.value = value


class _ArrayBox(_Box):
    """An array."""


class _DtypeBox(_Box):
    """The type of an array's numbers."""


class _Name:
    """A name that the file gives, already found among the allowed ones."""

    def __init__(self, call: Callable[..., Any] | None):
        self.call = call


def load(data: bytes, origin: str) -> Any:
    """The value of a pickle of protocol 0 to 5: None, bool, int, float, str, bytes, list, tuple, dict with text keys, and numeric
    arrays (read-only).

    Raises:
        FormatError: anything else in it, by name; truncated or damaged; longer than `MAX_STEPS`.
    """
    try:
        return _run(data)
    except _RefusedError as refusal:
        raise FormatError(origin, f"pickle refused: {refusal}. Nothing of it was run") from None
    except MemoryError:
        raise FormatError(origin, "pickle asks for more memory than there is") from None
    except Exception as error:  # a damaged program fails in as many ways as there are operations
        detail = " ".join(str(error)[:120].split())
        raise FormatError(origin, f"damaged pickle ({type(error).__name__}: {detail})") from None


def _run(data: bytes) -> Any:
    """The stack machine."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def items() -> list[Any]:
        """Everything above the last mark."""
        start = marks.pop()
        taken = stack[start:]
        del stack[start:]
        return taken

    steps = built = 0
    for operation, value, _ in pickletools.genops(io.BytesIO(data)):
        argument: Any = value
        steps += 1
        if steps > MAX_STEPS:
            raise _RefusedError(f"more than {MAX_STEPS} steps")
        name = operation.name
        if marks and len(stack) < marks[-1]:
            raise ValueError("stack underflow")
        if built > 2 * len(data):  # bytes spelt as text are counted twice, once as the array over them
            raise _RefusedError("the same bytes are made into values again and again")
        if name in _PLAIN:
            stack.append(_CONSTANT[name] if name in _CONSTANT else bytes(argument) if name == "BYTEARRAY8" else argument)
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[int(argument) & 0xFFFFFFFF] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[int(argument) & 0xFFFFFFFF])
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE"):
            stack.append([] if name == "EMPTY_LIST" else {} if name == "EMPTY_DICT" else ())
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [_tuple(stack[-count:], count)]
        elif name == "TUPLE":
            stack.append(_tuple(items()))
        elif name == "LIST":
            stack.append([_done(v) for v in items()])
        elif name == "DICT":
            stack.append(_set({}, items()))
        elif name in ("APPEND", "APPENDS"):
            values = items() if name == "APPENDS" else [stack.pop()]
            target = stack[-1]
            if not isinstance(target, list):
                raise ValueError("elements for something that is not a list")
            cast("list[Any]", target).extend(map(_done, values))
        elif name in ("SETITEM", "SETITEMS"):
            values = items() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            _set(stack[-1], values)
        elif name == "GLOBAL":
            stack.append(_name(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(_name(module, attribute))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            if not isinstance(function, _Name) or function.call is None or not isinstance(arguments, tuple):
                raise ValueError("a call of something that is not a function")
            stack.append(function.call(*cast("tuple[Any, ...]", arguments)))
            built += _size(stack[-1])
        elif name == "BUILD":
            state = stack.pop()
            _build(stack[-1], state)
            built += _size(stack[-1])
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            items()
        elif name == "PROTO":
            if argument > MAX_PROTOCOL:
                raise _RefusedError(f"protocol {argument}; at most {MAX_PROTOCOL} is read")
        elif name == "STOP":
            return _done(stack.pop())
        elif name != "FRAME":
            raise _RefusedError(f"the operation {name}, which only objects of other kinds need")
    raise ValueError("no end")


def _size(value: Any) -> int:
    """Bytes that a call has made."""
    if isinstance(value, _ArrayBox) and value.value is not None:
        return value.value.nbytes
    if isinstance(value, dict):
        return PAIR * len(cast("dict[str, Any]", value))
    return len(value) if isinstance(value, bytes) else 0


def _done(value: Any) -> Any:
    """A value as the caller gets it."""
    if isinstance(value, _ArrayBox) and value.value is not None:
        return value.value
    if isinstance(value, _Box | _Name):
        raise _RefusedError("a name or an unfinished array among the data")
    return value


def _tuple(values: list[Any], count: int | None = None) -> tuple[Any, ...]:
    if count is not None and len(values) != count:
        raise ValueError("stack underflow")
    return tuple(v.value if isinstance(v, _ArrayBox) and v.value is not None else v for v in values)


def _set(target: Any, values: list[Any]) -> dict[str, Any]:
    """Puts key, value, key, value ... into a dictionary."""
    if not isinstance(target, dict) or len(values) % 2:
        raise ValueError("items for something that is not a dictionary")
    result = cast("dict[str, Any]", target)
    for key, value in zip(values[::2], values[1::2], strict=True):
        if not isinstance(key, str):  # tuples of tuples take for ever to hash, and numbers can be made to collide
            raise _RefusedError(f"a dictionary key of type {type(key).__name__}; only text is read")
        result[key] = _done(value)
    return result


def _build(target: Any, state: Any) -> None:
    """The second step of an array or of its type."""
    fields: tuple[Any, ...] = cast("tuple[Any, ...]", state) if isinstance(state, tuple) else ()
    if isinstance(target, _DtypeBox):
        # (version, byte order, subarray, names, fields, size, alignment, flags)
        if len(fields) < 5 or fields[1] not in ("<", ">", "|", "=") or fields[2:5] != (None, None, None):
            raise _RefusedError("an array type that is not a plain number")
        if fields[1] in ("<", ">"):
            target.value = target.value.newbyteorder(fields[1])
    elif isinstance(target, _ArrayBox) and len(fields) in (4, 5):
        shape, dtype, fortran, raw = (fields[i] for i in range(-4, 0))
        target.value = _array(raw, dtype, shape, "F" if fortran is True or fortran == 1 else "C")
    elif state is not None or not isinstance(target, dict):
        raise _RefusedError("a state, which only objects of other kinds have")


def _array(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    """An array over the bytes of the file: never larger than they are."""
    if not isinstance(dtype, _DtypeBox) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise ValueError("an array without type, shape or order")
    sizes = cast("tuple[Any, ...]", shape)
    if isinstance(raw, str):  # written by Python 2
        raw = raw.encode("latin-1")
    if not isinstance(raw, bytes) or len(sizes) > 32 or not all(type(n) is int and 0 <= n < 2**40 for n in sizes):
        raise _RefusedError("an array that is not stored as plain bytes with a shape")
    if math.prod(sizes) * dtype.value.itemsize != len(raw):
        raise ValueError(f"{len(raw)} bytes for an array {sizes} of {dtype.value}")
    return np.ndarray(sizes, dtype.value, raw, order=order)


def _new_array(kind: Any, shape: Any, code: Any) -> _ArrayBox:
    """Stands for ``numpy.core.multiarray._reconstruct``, the empty array that is filled later."""
    if not isinstance(kind, _Name) or kind is not _NDARRAY or shape != (0,):
        raise _RefusedError("an array of a derived kind")
    return _ArrayBox()


def _new_dtype(code: Any, align: Any = False, copy: Any = False) -> _DtypeBox:
    """Stands for ``numpy.dtype``."""
    if not isinstance(code, str) or not _DTYPE.fullmatch(code):
        raise _RefusedError(f"arrays of {_short(code)}; only whole numbers, floats and bool are read")
    return _DtypeBox(np.dtype(code))


def _scalar(dtype: Any, raw: Any) -> int | float | bool:
    """Stands for ``numpy.core.multiarray.scalar``."""
    return _array(raw, dtype, ()).item()


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> _ArrayBox:
    """Stands for ``numpy.core.numeric._frombuffer`` (protocol 5)."""
    return _ArrayBox(_array(raw, dtype, shape, order))


def _encode(text: Any, encoding: Any) -> bytes:
    """Stands for ``_codecs.encode``, which is how protocols 0 to 2 spell bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _RefusedError("text that is encoded")
    return text.encode("latin-1")


def _ordered(pairs: Any = ()) -> dict[str, Any]:
    """Stands for ``collections.OrderedDict``."""
    flat: list[Any] = []
    for pair in pairs:
        key, value = pair
        flat += [key, value]
    return _set({}, flat)


_NDARRAY = _Name(None)
_ALLOWED: dict[tuple[str, str], _Name] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Name(_new_dtype),
    ("_codecs", "encode"): _Name(_encode),
    ("collections", "OrderedDict"): _Name(_ordered),
    ("builtins", "bytes"): _Name(lambda: b""),
    ("__builtin__", "bytes"): _Name(lambda: b""),
}
for _package in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_package}.multiarray", "_reconstruct"] = _Name(_new_array)
    _ALLOWED[f"{_package}.multiarray", "scalar"] = _Name(_scalar)
    _ALLOWED[f"{_package}.numeric", "_frombuffer"] = _Name(_from_buffer)


def _name(module: Any, attribute: Any) -> _Name:
    found = _ALLOWED.get((module, attribute)) if isinstance(module, str) and isinstance(attribute, str) else None
    if found is None:
        raise _RefusedError(f"it asks for {_short(module)}.{_short(attribute)}, which is not data")
    return found


def _short(value: Any) -> str:
    """A name from the file for a message: short, on one line, whatever it is."""
    return ascii(value[:60])[1:-1] if isinstance(value, str) else type(value).__name__
