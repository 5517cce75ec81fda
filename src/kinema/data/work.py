"""The folder beside a store in which it is made: one process works there at a time, and what a killed one left is taken over or removed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from ..files import remove_stale, write_json


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
        if not stamp.exists() or stamp.read_text("utf-8").strip() != json.dumps(fingerprint):
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
