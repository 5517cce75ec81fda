"""Ragged arrays in a safetensors file: written as they come, mapped without reading.

For every array `<name>` `(rows, ...)` there is `<name>.starts` `(N + 1,)` int64: rows `starts[i]` to `starts[i + 1]` are item `i`.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import FormatError, UserError
from ..files import parse_json

HEADER = 4096
"""Bytes kept free for the header, so that the first array can be written before its length is known."""
BLOCK = 2**22
DTYPES = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8"), "BOOL": np.dtype("bool")}


class RaggedWriter:
    """Streams items into one file: the first array directly, the others into side files that are appended at the end.

    Args:
        path: the file, written in place (inside a folder that appears as a whole).
        tags: array name -> key of `DTYPES`; the first is the large one.
    """

    def __init__(self, path: Path, tags: Mapping[str, str]):
        self.path, self.tags, self.first = path, tags, next(iter(tags))
        self._files: dict[str, BinaryIO] = {}
        self._inner: dict[str, tuple[int, ...]] = {}
        self._sizes: dict[str, list[int]] = {name: [] for name in tags}
        self._digest = hashlib.sha256()

    def __enter__(self) -> RaggedWriter:
        self._files[self.first] = open(self.path, "wb")
        self._files[self.first].write(bytes(HEADER))
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def _side(self, name: str) -> Path:
        return self.path.with_name(f"{name}.part")

    def add(self, arrays: Mapping[str, np.ndarray | None]) -> None:
        """Appends one item: for each name `(rows, ...)`, or None for no rows.

        Raises:
            UserError: an inner shape differs from that of the items before.
        """
        for name, array in arrays.items():
            if array is not None and array.shape[1:] != self._inner.setdefault(name, array.shape[1:]):
                raise UserError(
                    f"{name} of inner shape {array.shape[1:]}; the clips before have {self._inner[name]}. Use one store each"
                )
        for name, array in arrays.items():
            self._sizes[name].append(0 if array is None else len(array))
            if array is None:
                continue
            if name not in self._files:
                self._files[name] = open(self._side(name), "w+b")
            block = np.ascontiguousarray(array, dtype=DTYPES[self.tags[name]]).tobytes()
            self._files[name].write(block)
            if name == self.first:
                self._digest.update(block)

    def finish(self) -> Any:
        """Appends the side files and writes the header; returns the SHA-256 object of all behind the header, then the header."""
        table: dict[str, Any] = {}
        end, out = 0, self._files[self.first]

        def place(name: str, tag: str, shape: tuple[int, ...]) -> None:
            nonlocal end
            size = DTYPES[tag].itemsize * math.prod(shape)
            table[name] = {"dtype": tag, "shape": list(shape), "data_offsets": [end, end + size]}
            end += size

        present = [name for name in self.tags if name in self._inner]
        for name in present:
            place(name, self.tags[name], (sum(self._sizes[name]), *self._inner[name]))
            if name != self.first:
                self._files[name].seek(0)
                while block := self._files[name].read(BLOCK):
                    self._digest.update(block)
                    out.write(block)
                self._files[name].close()
                self._side(name).unlink()
        for name in present:
            sizes = self._sizes[name]
            starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype("<i8").tobytes()
            place(f"{name}.starts", "I64", (len(sizes) + 1,))
            self._digest.update(starts)
            out.write(starts)
        text = json.dumps(table, separators=(",", ":")).encode()
        header = (HEADER - 8).to_bytes(8, "little") + text.ljust(HEADER - 8)
        out.seek(0)
        out.write(header)
        out.close()
        self._digest.update(header)
        return self._digest


def digest(path: Path, told: Callable[[int], None] = lambda done: None) -> Any:
    """The SHA-256 object of a file, in the order of `RaggedWriter.finish`; `told` is called with the bytes that were read."""
    result = hashlib.sha256()
    with open(path, "rb") as file:
        head = file.read(8)
        head += file.read(int.from_bytes(head, "little"))
        while block := file.read(BLOCK):
            result.update(block)
            told(file.tell())
    result.update(head)
    return result


def map_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Every array of a safetensors file, as read-only views into one memory map.

    Raises:
        FormatError: anything but contiguous arrays of known types that fill the file exactly.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, 2**20):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            table = parse_json(file.read(length), path)
            if not isinstance(table, dict):
                raise ValueError("a header without names")
        whole = np.memmap(path, dtype=np.uint8, mode="r")
        arrays: dict[str, np.ndarray] = {}
        end = 0
        for name, value in sorted(table.items(), key=lambda item: tuple(item[1]["data_offsets"])):
            dtype, shape = DTYPES[value["dtype"]], tuple(operator.index(axis) for axis in value["shape"])
            start, stop = (operator.index(offset) for offset in value["data_offsets"])
            fits = all(axis >= 0 for axis in shape) and stop - start == math.prod(shape) * dtype.itemsize
            if start != end or not fits or stop > size - 8 - length:
                raise ValueError(f"{name} does not lie where the header says")
            arrays[name] = np.ndarray(shape, dtype, buffer=whole.data, offset=8 + length + start)
            end = stop
        if end != size - 8 - length:
            raise ValueError(f"{size - 8 - length - end} bytes too many")
    except OSError as error:
        raise FormatError(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise FormatError(path, f"damaged or cut off ({type(error).__name__}: {error})") from error
    return arrays
