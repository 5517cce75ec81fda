"""How a run was made: the command, the code, the machine and the time, in ``made.json`` of its folder.

It stands apart from the configuration, which a resumed run must repeat: each time a run goes on adds a part.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import UserError
from ..files import read_json, write_json
from ..words import plural

MADE = "made.json"
MAX_BYTES = 2**20
"""Of a file that is read."""
_asked: ContextVar[tuple[str, ...] | None] = ContextVar("asked", default=None)


@contextmanager
def asked(arguments: Sequence[str]) -> Iterator[None]:
    """Within it, what is made was asked for by ``kinema`` with these arguments."""
    token = _asked.set(tuple(arguments))
    try:
        yield
    finally:
        _asked.reset(token)


def made(device: str, processes: int = 1) -> dict[str, Any]:
    """JSON-safe: how whatever is made now is made.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. processes: that share the work.
    """
    import torch

    return {
        "command": command(),
        "kinema": __version__,
        "commit": commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": device_name(device),
        "processes": processes,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


class Record:
    """What is written down about one part of a run, from now on.

    Args:
        folder: of the run. device, processes: see `made`.
    """

    def __init__(self, folder: Path, device: str, processes: int = 1):
        self._path, self._before, self._start = folder / MADE, read_made(folder), time.perf_counter()
        self._part = made(device, processes)

    def write(self) -> None:
        """Writes ``made.json`` with the seconds until now. Called with each checkpoint, it tells of what is kept and of no more.

        Raises:
            UserError: it cannot be written.
        """
        write_json(self._path, [*self._before, {**self._part, "seconds": round(time.perf_counter() - self._start, 1)}])


def read_made(folder: Path) -> list[Mapping[str, Any]]:
    """The parts of a run, oldest first; none where nobody wrote them down, or where they cannot be read."""
    try:
        value = read_json(Path(folder) / MADE, MAX_BYTES)
    except UserError:
        return []
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def command() -> str:
    """What somebody typed for this to be made; the home folder is ``~``."""
    arguments = _asked.get()
    words = ["kinema", *arguments] if arguments is not None else [Path(sys.argv[0]).name or "python", *sys.argv[1:]]
    home = os.path.expanduser("~").rstrip("/")
    return " ".join(_word(word, home) for word in words)


def _word(word: str, home: str) -> str:
    """As a shell wants it."""
    if not home or not (word == home or word.startswith(f"{home}/")):
        return shlex.quote(word)
    below = word[len(home) + 1 :]
    return "~/" + (shlex.quote(below) if below else "")


def commit() -> str | None:
    """The commit of the code that runs, ``+`` where files of it were changed since; None if it was not run from a checkout."""
    here = Path(__file__).resolve().parents[1]
    if _git(here, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None  # an installed package may lie within a checkout of something else
    found, changed = _git(here, "rev-parse", "HEAD"), _git(here, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return None if not found else found[:12] + ("+" if changed else "")


def _git(folder: Path, *words: str) -> str | None:
    """What git says; None if it fails, or is not there."""
    try:
        told = ["git", "-C", str(folder), *words]  # only words of ours
        done = subprocess.run(told, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def device_name(device: str) -> str:
    """A device with the name of its maker."""
    import torch

    if device.startswith("cuda"):
        return f"{device} ({torch.cuda.get_device_name(torch.device(device))})"
    return f"{device} ({_processor()}, {plural(torch.get_num_threads(), 'thread')})" if device == "cpu" else device


def _processor() -> str:
    """The name of the processor, as Linux tells it, or what Python knows."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
