"""A run folder: who may write in it, and whether a run may begin or go on there."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import FormatError, UserError
from ..files import read_json, remove_stale, write_json
from ..schema import shown

CONFIG, LOG, CHECKPOINTS = "config.json", "log.jsonl", "checkpoints"
OPEN = "auto"
"""The precision of who leaves it to the machine."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes `folder` and holds it for this process alone; removes what a killed writer left there.

    The system lets go of the lock when the process dies, however it dies.

    Raises:
        UserError: another run holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / ".lock", "a+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"{folder}: cannot write here ({error.strerror}). Choose another --out.") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.seek(0)
            holder = handle.read(20).strip() or "unknown"
            raise UserError(
                f"{folder}: another run (process {holder}) is using this folder; wait for it or choose another"
            ) from error
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        remove_stale(folder)
        remove_stale(folder / CHECKPOINTS)
        yield


def kept(folder: Path) -> dict[str, Any] | None:
    """The configuration of the run in `folder`; None where there is none.

    Raises:
        FormatError: it is not one.
    """
    path = folder / CONFIG
    if not path.exists():
        return None
    try:
        found = read_json(path)
    except FormatError as error:
        raise FormatError(path, f"{error.problem}; start again in another folder") from error
    if not isinstance(found, dict) or not isinstance(found.get("fit"), dict):
        raise FormatError(path, "not the configuration of a run that was trained; choose another folder")
    return found


def enter(folder: Path, config: Mapping[str, Any], *, resume: bool) -> dict[str, Any]:
    """Checks that the run may begin (or go on, with `resume`) in `folder`, and writes its configuration there.

    Returns:
        The configuration of the run. One that goes on keeps its own, with the precision that the new one may leave open.

    Raises:
        UserError: a run is there and `resume` was not asked for, or the run there has another configuration.
    """
    if not resume:
        if any((folder / name).exists() for name in (CONFIG, LOG, CHECKPOINTS)):
            raise UserError(f"{folder}: a run is already here; pass --resume to go on with it, or choose another folder")
    elif (before := kept(folder)) is not None:
        check_same(folder, config)
        return before
    elif (folder / CHECKPOINTS).exists():
        raise UserError(f"{folder}: checkpoints without {CONFIG}: not a run that can be resumed; choose another folder")
    write_json(folder / CONFIG, dict(config))
    return dict(config)


def check_same(folder: Path, config: Mapping[str, Any], *, partly: bool = False) -> None:
    """Checks that the run in `folder` has this configuration, or `partly`, as far as `config` says anything.

    Raises:
        UserError: it has another one. FormatError: it cannot be read.
    """
    path = folder / CONFIG
    try:
        before = read_json(path)
    except FormatError as error:
        raise FormatError(path, f"{error.problem}; start again in another folder") from error
    if partly and isinstance(before, dict):
        before = {key: value for key, value in before.items() if key in config}
    changed = differences(before, json.loads(json.dumps(config)))
    if changed:
        shown = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise UserError(f"{folder}: the run here has another configuration: {shown}; use the same one or another folder")


def differences(before: Any, after: Any, name: str = "") -> list[str]:
    """Dotted names of the leaves in which two JSON values differ, with both values.

    A precision that is ``auto`` afterwards is left open, so it agrees with any.
    """
    if after == OPEN and name.rpartition(".")[2] == "precision":
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        absent = "(absent)"
        keys = [*before, *(k for k in after if k not in before)]
        pairs = [(str(k), before.get(k, absent), after.get(k, absent)) for k in keys]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = [(str(i), b, a) for i, (b, a) in enumerate(zip(before, after, strict=True))]
    else:
        return [] if before == after else [f"{name} (was {shown(before)}, now {shown(after)})"]
    return [d for key, b, a in pairs for d in differences(b, a, f"{name}.{key}" if name else key)]
