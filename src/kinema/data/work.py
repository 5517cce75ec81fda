"""The folder beside a store in which it is made: one process works there at a time, and what a killed one left is taken over or removed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import FormatError, UserError
from ..files import read_json, remove_stale, write_json
from .publish import publish, remove_replaced


@contextmanager
def work_folder(work: Path, fingerprint: str) -> Iterator[None]:
    """Makes a work folder and holds it alone; what a killed writer left in it and chunks of another `fingerprint` are deleted.

    After an error it stays, to be continued, unless no clip has been read into it.

    Raises:
        UserError: another process holds it, or it cannot be written.
    """
    try:
        work.mkdir(parents=True, exist_ok=True)
        handle = open(work / "lock", "w")
    except OSError as error:
        raise UserError(f"{work.parent}: cannot write here ({error.strerror}); choose another --out") from error
    with handle:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(f"{work}: another build of the same store is running; wait for it") from error
        remove_stale(work)
        stamp = work / "fingerprint.json"
        if _read(stamp) != fingerprint:
            for old in work.iterdir():
                if old.name != "lock":
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
            write_json(stamp, fingerprint)
        try:
            yield
        except BaseException:
            if not any(work.glob("part-*/")):
                handle.close()  # Windows deletes no open file
                shutil.rmtree(work, ignore_errors=True)
            raise


def _read(stamp: Path) -> object:
    try:
        return read_json(stamp)
    except FormatError:  # none, or damaged: what is there cannot be continued
        return None


@contextmanager
def replacement(folder: Path, work: Path) -> Iterator[Path]:
    """Gives the path at which to write a store; when that is done the store is called `folder`. What a killed writer left is removed.

    Args:
        folder: no symbolic link. work: the work folder beside it, of always the same name.

    Raises:
        UserError: another process replaces the store, or nothing can be written there.
    """
    with work_folder(work, folder.name):
        remove_replaced(folder)
        shutil.rmtree(work / "store", ignore_errors=True)
        yield work / "store"
        publish(work / "store", folder)
    shutil.rmtree(work)
