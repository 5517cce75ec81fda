"""What experiments of several arms share: runs that are made once, measurements that are made once, and cells of a table."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kinema.training.checkpoint import newest


def kinema(*arguments: str) -> None:
    """The command, with its output on the screen; ends this one if it fails."""
    print("kinema", *arguments, flush=True)
    if code := subprocess.run([sys.executable, "-m", "kinema.cli", *arguments]).returncode:
        sys.exit(code)


def trained(method: str, folder: Path, options: Sequence[str]) -> Path:
    """The folder of a run of `kinema train`, unless it is finished."""
    options = [*options, "--out", str(folder), "--resume"]
    marker, command = folder / "finished", json.dumps(options)
    if not marker.exists() or marker.read_text() != command:  # finished by another command: `kinema train` refuses other values
        kinema("train", method, *options)
        last = newest(folder)
        if last is None or not last.state.finished:
            sys.exit(f"{folder}: stopped before its end; the same command goes on")
        marker.write_text(command)
    return folder


def measured(folders: Sequence[Path], protocols: Sequence[str], out: Path, options: Sequence[str]) -> dict[str, list[float]]:
    """Percent of each protocol and run, from the file that `kinema evaluate` wrote, now or before for the same runs and options."""
    marker, command = out / "measured", json.dumps([[str(f) for f in folders], [_finished(f) for f in folders], list(options)])
    metrics = out / "metrics.json"
    known = marker.read_text() if marker.exists() and metrics.exists() else None
    found = json.loads(metrics.read_text()) if known == command else {"protocols": {}}
    if not set(protocols) <= set(found["protocols"]):
        marker.unlink(missing_ok=True)  # what is about to be replaced is of no command
        kinema("evaluate", *(str(f) for f in folders), *options, "--out", str(out), "--protocols", *protocols)
        found = json.loads(metrics.read_text())
        marker.write_text(command)
    return {name: found["protocols"][name]["runs"] for name in protocols}


def _finished(folder: Path) -> str:
    """By which command a run was finished, so that one that went on is measured again."""
    marker = folder / "finished"
    return marker.read_text() if marker.exists() else ""


def cell(values: Sequence[float]) -> str:
    """Mean, spread and every value."""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    each = f" ({', '.join(f'{v:.1f}' for v in values)})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}{each}"
