"""Writing so that a reader sees the old file or the whole new one, never half of it; and reading what anybody may have changed.

Floor 0 beside `errors`. Everything is written to a sibling with our temporary prefix, synced, then renamed. What is read is looked at
first: that it is a file, that it is not too large, and of JSON that it is strict.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from .errors import FormatError, UserError

TEMPORARY = ".kinema-tmp-"
MAX_JSON = 64 * 2**20
"""Largest JSON file that is parsed, bytes, where the reader does not say otherwise."""
DEEPEST = 64
"""Lists and objects within one another in a JSON file; what Kinema writes has fewer than ten."""
LARGEST = 2**63
"""Whole numbers of a JSON file are smaller than that, and not below its negative."""


@contextmanager
def _teaching(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals into one line that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(f"{path}: the disk is full; nothing was changed. Free some space and run again.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(f"{path}: cannot write here (read-only or no permission). Choose another --out.") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG):
            raise UserError(f"{path}: cannot write here ({error.strerror}). Choose another --out.") from error
        raise


def sync(path: Path) -> None:
    """Flushes a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path; on success it becomes `path`, on any error it is removed.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    path = Path(path)
    with _teaching(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # the suffix is kept because writers such as Pillow choose the format by it
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder; on success it becomes `path` (which must not exist), on any error it is removed."""
    path = Path(path)
    with _teaching(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=path.parent))
        try:
            yield temporary
            os.chmod(temporary, 0o755)  # noqa: S103 - mkdtemp's 0700 would hide results from colleagues
            for file in temporary.rglob("*"):
                sync(file)
            sync(temporary)
            os.rename(temporary, path)
            sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically (NaN is refused: it is not JSON)."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def remove_stale(folder: Path) -> None:
    """Removes what a killed writer left in `folder`. Only safe while the folder's lock is held."""
    for leftover in folder.glob(TEMPORARY + "*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a file.

    Raises:
        FormatError: it cannot be read, is no file (a folder, a pipe: those could keep us waiting for ever), or has more than `limit` bytes.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise FormatError(path, f"{'a folder' if stat.S_ISDIR(status.st_mode) else 'no file'}; expected a file")
            if status.st_size > limit:
                raise FormatError(path, f"{status.st_size} bytes; at most {limit} are read of such a file")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(status.st_size)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FormatError(path, f"cannot be read ({reason})") from error


def read_json(path: Path, limit: int = MAX_JSON) -> Any:
    """The value of a JSON file, read as `parse_json` does.

    Raises:
        FormatError: it cannot be read, has more than `limit` bytes, or is not such JSON.
    """
    return parse_json(read_bytes(path, limit), path)


def parse_json(content: bytes | str, origin: object) -> Any:
    """The value of JSON text. Its numbers are finite, its whole numbers fit 64 bits, no key is there twice, and it is not deep.

    Raises:
        FormatError: not UTF-8, not JSON, or not such JSON; it names `origin`.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_whole, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise FormatError(origin, f"not a text file (byte {error.start} is not UTF-8)") from error
    except ValueError as error:
        raise FormatError(origin, f"not JSON ({error}); it is damaged or of another format") from error
    except RecursionError as error:
        raise FormatError(origin, f"not JSON that is read here (more than {DEEPEST} levels deep)") from error
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        level = [v for outer in level for v in (outer.values() if type(outer) is dict else outer) if type(v) in (dict, list)]
        if not level:
            return value
    raise FormatError(origin, f"not JSON that is read here (more than {DEEPEST} levels deep)")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _finite(number: str) -> float:
    value = float(number)
    return value if math.isfinite(value) else _refuse(number)


def _whole(number: str) -> int:
    if len(number) < 19:
        return int(number)
    if len(number) > 20 or not -LARGEST <= int(number) < LARGEST:
        raise ValueError(f"a whole number of {len(number)} digits is too large")
    return int(number)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {twice[:40]!r} is there twice")
    return value
