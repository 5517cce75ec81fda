"""Writing so that a reader sees the old file or the whole new one, never half of it.

Floor 0 beside `errors`. Everything is written to a sibling with our temporary prefix, synced, then renamed.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import UserError

TEMPORARY = ".kinema-tmp-"


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
