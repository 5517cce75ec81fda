"""How a finished store takes its name, so that at any moment the name holds a whole store: the old one or the new one.

Where the system can exchange two names in one step (Linux, macOS) it does. Elsewhere there is a moment between two steps in which the old
store has a hidden name, ``.NAME.replaced``; whoever is stopped there loses nothing, because the next to look for the store puts it back.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from pathlib import Path

from ..files import sync
from ..text import warn

AT_FDCWD, RENAME_EXCHANGE, RENAME_SWAP = -100, 2, 2
CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What a system or a file system answers that cannot exchange names."""


def publish(fresh: Path, folder: Path) -> None:
    """Gives a finished store its name. A store that had it has the name `fresh` for a moment, and is then deleted.

    Args:
        fresh: the store, whole and on the disk. folder: its name, in a folder of the same file system; no symbolic link.
    """
    if not folder.exists():
        os.rename(fresh, folder)
        sync(folder.parent)
        return
    if not exchange(fresh, folder):
        _replace(fresh, folder)
    sync(folder.parent)
    shutil.rmtree(fresh)


def _replace(fresh: Path, folder: Path) -> None:
    """As `exchange`, in three steps."""
    while True:
        os.rename(folder, hidden(folder))
        try:
            os.rename(fresh, folder)
        except OSError as error:
            put_back(folder)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # somebody had put the old one back already: once more
                continue
            raise
        os.rename(hidden(folder), fresh)
        return


def hidden(folder: Path) -> Path:
    """Where the old store is between two steps."""
    return folder.with_name(f".{folder.name}.replaced")


def put_back(folder: Path) -> None:
    """Gives a store its name again, and says so, if its replacement was stopped between two steps."""
    if folder.exists() or folder.is_symlink() or not folder.name:
        return
    aside = hidden(folder)
    if not aside.is_dir():
        return
    try:
        os.rename(aside, folder)
    except OSError:  # somebody else was quicker
        return
    sync(folder.parent)
    warn(f"{folder}: its replacement was interrupted; the store that was there before is back")


def remove_replaced(folder: Path) -> None:
    """Deletes what an interrupted replacement left beside its result. Only safe while nobody else can replace the store."""
    if folder.exists() and hidden(folder).is_dir():
        shutil.rmtree(hidden(folder))


def exchange(one: Path, other: Path) -> bool:
    """Exchanges two names in one step; False, and nothing is changed, where that cannot be done.

    Raises:
        OSError: another refusal, such as no permission.
    """
    # None is the program itself, which the C library is a part of
    library = ctypes.CDLL(None, use_errno=True) if sys.platform != "win32" else None
    paths = os.fsencode(one), os.fsencode(other)
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        failed = library.renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], ctypes.c_uint(RENAME_EXCHANGE))
    elif sys.platform == "darwin" and hasattr(library, "renamex_np"):
        failed = library.renamex_np(*paths, ctypes.c_uint(RENAME_SWAP))
    else:
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(other))
