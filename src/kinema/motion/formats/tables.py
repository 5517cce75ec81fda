"""Numbers out of untrusted files: text tables, JSON, and the last checks before they become a clip."""

from __future__ import annotations

import codecs
import io
import json
from typing import Any

import numpy as np

from ...errors import FormatError
from ...words import plural
from ..clip import MAX_FRAMES

MAX_OVERLAP = 16
"""Clips of one recording may overlap, but together they have at most so many times its frames: they are all made at once."""
MAX_TEXT = 64 * 2**20
"""Largest text or JSON file that is parsed, bytes; a real one stays below 2 MB."""


def decode(content: bytes, origin: str) -> str:
    """UTF-8 text, or UTF-16 that begins with its byte order mark, which is dropped.

    Raises:
        FormatError: empty, or not text.
    """
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(
            origin, f"not a text file (byte {error.start} is not {'UTF-16' if wide else 'UTF-8'}); save it as UTF-8"
        ) from error
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


def number_table(content: bytes, origin: str) -> np.ndarray:
    """Rows of numbers as spreadsheets save them, `(rows, columns)` float64: between commas, semicolons, tabs or blanks.

    Where semicolons or tabs divide, a comma is a decimal one.

    Raises:
        FormatError: as `table`.
    """
    text = decode(content, origin)
    first = text.lstrip().partition("\n")[0]
    delimiter = next((d for d in (";", "\t", ",") if d in first), None)
    if delimiter in (";", "\t"):
        text = text.replace(",", ".")
    word = first.split(delimiter)[0].strip()
    if "\n" in text.strip() and not _is_number(word.replace(",", ".")):
        raise FormatError(origin, f"its first line begins with {word[:40]!r}, no number; remove the header")
    return table(text.encode(), origin, None, delimiter)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


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


def check_cuts(cut: int, whole: int, origin: str) -> None:
    """Asked before clips of `cut` frames in all are cut from a recording of `whole`.

    Raises:
        FormatError: they overlap so much that they would fill the memory.
    """
    if cut > MAX_OVERLAP * whole:
        raise FormatError(origin, f"its clips have {cut} frames in all, the recording {whole}; expected clips that hardly overlap")


def finite(values: np.ndarray, origin: str, first: int = 0) -> np.ndarray:
    """`(T, ...)` numbers as contiguous float32 of their own: never a view that would keep a larger array alive.

    Args:
        values: the numbers. origin: the file. first: the frame of the file that they begin with.

    Raises:
        FormatError: no frame, too many frames, or a number that is not finite in float32.
    """
    if not 1 <= len(values) <= MAX_FRAMES:
        raise FormatError(origin, f"{plural(len(values), 'frame')}; expected 1 to {MAX_FRAMES}")
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(values, dtype=np.float32)
    if result.base is not None:
        result = result.copy()
    bad = ~np.isfinite(result).reshape(len(result), -1).all(1)
    if bad.any():
        raise FormatError(
            origin, f"NaN or infinity in frame {first + int(bad.argmax())}; write 0 for absent joints, or drop the file"
        )
    return result
