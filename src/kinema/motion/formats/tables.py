"""Numbers out of untrusted files: text tables, JSON, and the last checks before they become a clip."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from ...errors import FormatError
from ..clip import MAX_FRAMES

MAX_TEXT = 64 * 2**20
"""Largest text or JSON file that is parsed, bytes; a real one stays below 2 MB."""


def decode(content: bytes, origin: str) -> str:
    """UTF-8 text (a byte order mark is dropped).

    Raises:
        FormatError: empty, or not text.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(origin, f"not a text file (byte {error.start} is not UTF-8)") from error
    if not text.strip():
        raise FormatError(origin, "the file is empty; copy or download it again")
    return text


def table(content: bytes, origin: str, columns: int | None, delimiter: str | None = None) -> np.ndarray:
    """Rows of numbers, `(rows, columns)` float64.

    Args:
        columns: how many every row must have; None: as many as the first row.
        delimiter: between numbers; None: blanks.

    Raises:
        FormatError: not text, empty, not numbers, or rows of another length.
    """
    text = decode(content, origin)
    try:
        rows = np.loadtxt(io.StringIO(text), dtype=np.float64, comments=None, delimiter=delimiter, ndmin=2)
    except ValueError as error:
        what = str(error).split(";")[0].rstrip(".")
        raise FormatError(origin, f"not a table of numbers ({what}); it is damaged or of another format") from error
    if columns is not None and rows.shape[1] != columns:
        raise FormatError(origin, f"rows of {rows.shape[1]} numbers; expected {columns}")
    return rows


def parse_json(content: bytes, origin: str) -> Any:
    """The value of a JSON file.

    Raises:
        FormatError: not text, or not JSON.
    """
    try:
        return json.loads(decode(content, origin))
    except (ValueError, RecursionError) as error:
        raise FormatError(origin, f"not JSON ({error}); it is damaged or of another format") from error


def numbers(value: Any, origin: str) -> np.ndarray:
    """Nested JSON lists as an array, float64 or integer.

    Raises:
        FormatError: ragged, too deep, or anything but numbers.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise FormatError(origin, "lists of unequal length; every frame needs every joint and coordinate") from error
    if array.size and array.dtype.kind not in "fiu":
        raise FormatError(origin, "lists that hold something else than numbers")
    return array


def finite(values: np.ndarray, origin: str) -> np.ndarray:
    """`(T, ...)` numbers as contiguous float32.

    Raises:
        FormatError: no frame, too many frames, or a number that is not finite in float32.
    """
    if not 1 <= len(values) <= MAX_FRAMES:
        raise FormatError(origin, f"{len(values)} frames; expected 1 to {MAX_FRAMES}")
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(values, dtype=np.float32)
    bad = ~np.isfinite(result).reshape(len(result), -1).all(1)
    if bad.any():
        raise FormatError(origin, f"NaN or infinity in frame {int(bad.argmax())}; write 0 for absent joints, or drop the file")
    return result
