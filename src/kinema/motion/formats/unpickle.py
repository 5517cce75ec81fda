"""Pickled data that others published, read without running anything.

A pickle is a program for a small stack machine, which may call any function. This is the only module that reads such files, and
it does so with a machine of its own that can build nothing but numbers, text, bytes, lists, tuples, sets, dictionaries and NumPy arrays
of numbers or text. A name in the file is never looked up: it is compared with the few below, and any other is refused. (An allow-list on the
standard `Unpickler` would leave NumPy's native constructors, and a memo that allocates what the file asks for, open to the file.)
"""

from __future__ import annotations

import gc
import io
import pickletools
from collections.abc import Callable
from typing import Any, cast

from ...errors import FormatError
from .unpickle_values import (
    EMPTY_SET,
    Name,
    RefusedError,
    Unreadable,
    build_up,
    done,
    found_name,
    plain_tuple,
    set_items,
    size_of,
    texts,
)

MAX_PICKLE = 4 * 2**30
"""Largest pickle read, bytes."""
MAX_STEPS = 20_000_000
"""Longest program, steps; each makes at most one small object or takes its bytes from the file, but for what `_Machine.spend` counts. NTU-120
in PySKL's form needs 6 to 12 million, 57 to 100 for each of its 114 thousand annotations (protocols 5 and 2)."""
MAX_CALLS = 3_000_000
"""Most calls of one program, which take longer than other steps; NTU-120 needs up to one million."""
ROOM = 2**16
"""Bytes that any file may make, whatever its size."""
MAX_PROTOCOL = 5


def load(data: bytes, origin: str) -> Any:
    """The value of a pickle of protocol 0 to 5: None, bool, int, float, str, bytes, list, tuple, set of text, dict whose keys are text (or a
    few numbers), and arrays of numbers or text (read-only). Other arrays within it are `Unreadable`.

    Raises:
        FormatError: anything else in it, by name; truncated or damaged; longer than `MAX_STEPS`.
    """
    collecting = gc.isenabled()
    gc.disable()  # it would look through all that was made again and again, and a pickle makes nothing to collect
    try:
        return _run(data)
    except RefusedError as refusal:
        raise FormatError(origin, f"pickle refused: {refusal}. Nothing of it was run") from None
    except MemoryError:
        raise FormatError(origin, "pickle asks for more memory than there is") from None
    except Exception as error:  # a damaged program fails in as many ways as there are operations
        detail = " ".join(str(error)[:120].split())
        raise FormatError(origin, f"damaged pickle ({type(error).__name__}: {detail})") from None
    finally:
        if collecting:
            gc.enable()


def _run(data: bytes) -> Any:
    machine, stream = _Machine(data), io.BytesIO(data)
    stack, marks = machine.stack, machine.marks
    for _ in range(MAX_STEPS):
        code = stream.read(1)
        operation = _OPERATIONS.get(code)
        if operation is None:
            raise _unknown(code)
        argument, act = operation
        act(machine, None if argument is None else argument(stream))
        if marks and len(stack) < marks[-1]:
            raise ValueError("stack underflow")
        if act is _Machine.stop:
            value = done(stack.pop())
            if isinstance(value, Unreadable):
                raise RefusedError(value.what)
            return value
    raise RefusedError(f"more than {MAX_STEPS} steps")


def _unknown(code: bytes) -> Exception:
    name = next((o.name for o in pickletools.opcodes if o.code.encode("latin-1") == code), None)
    if name is None:
        return ValueError(f"byte {code!r} is no operation" if code else "no end")
    return RefusedError(f"the operation {name}, which only objects of other kinds need")


class _Machine:
    """The stack, the memo, and what each operation does to them. The argument is what the operation has in the file."""

    def __init__(self, data: bytes):
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.room = ROOM + 2 * len(data)
        """Bytes that may still be made; those spelt as text are counted twice, once as the array over them."""
        self.calls = 0

    def items(self) -> list[Any]:
        """Takes everything above the last mark."""
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def spend(self, size: int) -> None:
        """Counts bytes that are made and are not in the file in their place."""
        self.room -= size
        if self.room < 0:
            raise RefusedError("the same bytes are made into values again and again")

    def proto(self, argument: Any) -> None:
        if argument > MAX_PROTOCOL:
            raise RefusedError(f"protocol {argument}; at most {MAX_PROTOCOL} is read")

    def frame(self, argument: Any) -> None:
        """Says how many bytes come together; nothing to do."""

    def stop(self, argument: Any) -> None:
        """The value is on top."""

    def push(self, argument: Any) -> None:
        self.stack.append(argument)

    def push_bytes(self, argument: Any) -> None:
        self.stack.append(bytes(argument))

    def push_none(self, argument: Any) -> None:
        self.stack.append(None)

    def push_true(self, argument: Any) -> None:
        self.stack.append(True)

    def push_false(self, argument: Any) -> None:
        self.stack.append(False)

    def empty_list(self, argument: Any) -> None:
        self.stack.append([])

    def empty_dict(self, argument: Any) -> None:
        self.stack.append({})

    def empty_set(self, argument: Any) -> None:
        self.spend(EMPTY_SET)
        self.stack.append(set())

    def empty_tuple(self, argument: Any) -> None:
        self.stack.append(())

    def memoize(self, argument: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def put(self, argument: Any) -> None:
        self.memo[int(argument) & 0xFFFFFFFF] = self.stack[-1]

    def get(self, argument: Any) -> None:
        self.stack.append(self.memo[int(argument) & 0xFFFFFFFF])

    def mark(self, argument: Any) -> None:
        self.marks.append(len(self.stack))

    def tuple1(self, argument: Any) -> None:
        self.stack[-1:] = [plain_tuple(self.stack[-1:], 1)]

    def tuple2(self, argument: Any) -> None:
        self.stack[-2:] = [plain_tuple(self.stack[-2:], 2)]

    def tuple3(self, argument: Any) -> None:
        self.stack[-3:] = [plain_tuple(self.stack[-3:], 3)]

    def new_tuple(self, argument: Any) -> None:
        self.stack.append(plain_tuple(self.items()))

    def new_list(self, argument: Any) -> None:
        self.stack.append([done(v) for v in self.items()])

    def new_dict(self, argument: Any) -> None:
        self.stack.append(set_items({}, self.items()))

    def append(self, argument: Any) -> None:
        self.extend([self.stack.pop()])

    def appends(self, argument: Any) -> None:
        self.extend(self.items())

    def extend(self, values: Any) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError("elements for something that is not a list")
        cast("Any", target).extend(map(done, values))

    def setitem(self, argument: Any) -> None:
        values = [self.stack.pop(-2), self.stack.pop()]
        set_items(self.stack[-1], values)

    def setitems(self, argument: Any) -> None:
        values = self.items()
        set_items(self.stack[-1], values)

    def additems(self, argument: Any) -> None:
        values = self.items()
        if not isinstance(self.stack[-1], set):
            raise ValueError("elements for something that is not a set")
        cast("set[str]", self.stack[-1]).update(texts(values))

    def new_set(self, argument: Any) -> None:
        self.spend(EMPTY_SET)
        self.stack.append(texts(self.items()))

    def name(self, argument: Any) -> None:
        self.stack.append(found_name(*argument.split(" ", 1)))

    def stack_name(self, argument: Any) -> None:
        attribute, module = self.stack.pop(), self.stack.pop()
        self.stack.append(found_name(module, attribute))

    def reduce(self, argument: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name) or function.call is None or not isinstance(arguments, tuple):
            raise ValueError("a call of something that is not a function")
        self.calls += 1
        if self.calls > MAX_CALLS:
            raise RefusedError(f"more than {MAX_CALLS} calls")
        self.stack.append(function.call(*cast("Any", arguments)))
        self.spend(size_of(self.stack[-1]))

    def build(self, argument: Any) -> None:
        state = self.stack.pop()
        build_up(self.stack[-1], state)
        self.spend(size_of(self.stack[-1]))

    def pop(self, argument: Any) -> None:
        self.stack.pop()

    def pop_mark(self, argument: Any) -> None:
        self.items()


_ACTS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.proto,
    "FRAME": _Machine.frame,
    "STOP": _Machine.stop,
    **dict.fromkeys("INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT".split(), _Machine.push),
    **dict.fromkeys("STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8".split(), _Machine.push),
    **dict.fromkeys("SHORT_BINBYTES BINBYTES BINBYTES8".split(), _Machine.push),
    "BYTEARRAY8": _Machine.push_bytes,
    "NONE": _Machine.push_none,
    "NEWTRUE": _Machine.push_true,
    "NEWFALSE": _Machine.push_false,
    "EMPTY_LIST": _Machine.empty_list,
    "EMPTY_DICT": _Machine.empty_dict,
    "EMPTY_SET": _Machine.empty_set,
    "EMPTY_TUPLE": _Machine.empty_tuple,
    "MEMOIZE": _Machine.memoize,
    **dict.fromkeys("BINPUT LONG_BINPUT PUT".split(), _Machine.put),
    **dict.fromkeys("BINGET LONG_BINGET GET".split(), _Machine.get),
    "MARK": _Machine.mark,
    "TUPLE1": _Machine.tuple1,
    "TUPLE2": _Machine.tuple2,
    "TUPLE3": _Machine.tuple3,
    "TUPLE": _Machine.new_tuple,
    "LIST": _Machine.new_list,
    "DICT": _Machine.new_dict,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.setitem,
    "SETITEMS": _Machine.setitems,
    "ADDITEMS": _Machine.additems,
    "FROZENSET": _Machine.new_set,
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
}
_OPERATIONS = {
    o.code.encode("latin-1"): (None if o.arg is None else o.arg.reader, _ACTS[o.name])
    for o in pickletools.opcodes
    if o.name in _ACTS
}
"""The byte of an operation -> how its argument is read from the file, and what it does. Any other is refused."""
