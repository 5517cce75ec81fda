"""What a run tells: ``log.jsonl``, one JSON object a line, and TensorBoard where it is asked for."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NotRequired

import torch
from torch import Tensor

from ..errors import CheckpointError, FormatError, UserError
from ..files import atomic_file, parse_json, read_bytes
from ..schema import Table
from ..text import warn
from .folder import LOG

MAX_LOG = 2**30
"""Bytes of the largest log that is read; a line takes about 250."""
_RECORD = Table(step=Annotated[int, 0, 10**15], loss=NotRequired[float | None])


class Meter:
    """Running means of named scalars, kept on the device and read only when asked.

    Their sums go into the checkpoint, so that a line of the log is the same whether or not the run was resumed meanwhile.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._sums: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, values: Mapping[str, Tensor], good: Tensor) -> None:
        """Counts scalar `values` where the scalar bool `good` is true; no host wait."""
        for name, value in values.items():
            pair = torch.stack([value.detach().to(self._device, torch.float32), torch.ones((), device=self._device)])
            pair = torch.where(good, pair, torch.zeros_like(pair))
            self._sums[name] = self._sums[name] + pair if name in self._sums else pair

    def state(self) -> dict[str, Tensor]:
        """Name -> (sum, count)."""
        return dict(self._sums)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state` gave.

        Raises:
            CheckpointError: something else.
        """
        wrong = [name for name, pair in state.items() if pair.shape != (2,) or not pair.is_floating_point()]
        if wrong:
            raise CheckpointError(f"log of the checkpoint: {wrong[0]} is no sum and count")
        self._sums = {name: pair.to(self._device, copy=True) for name, pair in state.items()}

    def clear(self) -> None:
        """Begins a new mean."""
        self._sums = {}


def means(sums: Mapping[str, Tensor]) -> dict[str, float | None]:
    """Name -> mean, read to the host at once; None where nothing was counted."""
    if not sums:
        return {}
    table = torch.stack(list(sums.values())).tolist()
    return {name: (total / count if count else None) for name, (total, count) in zip(sums, table, strict=True)}


class Log:
    """Appends records to ``log.jsonl``; a record is on its way to the disk when `write` returns.

    Args:
        folder: of the run.
        step: the step the run goes on from: later lines, and a line cut short by a kill, are dropped.
        tensorboard: write event files into ``folder/tensorboard`` as well.

    Raises:
        UserError: TensorBoard asked for and not installed; disk full or folder not writable.
    """

    def __init__(self, folder: Path, step: int, *, tensorboard: bool = False):
        self._path = folder / LOG
        self._board = _board(folder / "tensorboard", step) if tensorboard else None
        _cut(folder, step)
        try:
            self._file = open(self._path, "a", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{self._path}: cannot write here ({error.strerror}). Choose another --out.") from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Writes one record; numbers that are not finite become null.

        Raises:
            UserError: the disk is full.
        """
        clean = _finite(record)
        self._tell(lambda: (self._file.write(json.dumps(clean, allow_nan=False) + "\n"), self._file.flush()))
        if self._board is not None:
            for name, value in _scalars(clean):
                self._board.add_scalar(name, value, clean["step"])

    def sync(self) -> None:
        """Waits until the disk has everything. Before a checkpoint, so that no checkpoint is ahead of its log."""
        self._tell(lambda: os.fsync(self._file.fileno()))

    def close(self) -> None:
        """Closes the files."""
        with suppress(OSError):  # a full disk has been told of by `write`; closing tries the same bytes again
            self._file.close()
        if self._board is not None:
            self._board.close()

    def _tell(self, action: Any) -> None:
        try:
            action()
        except OSError as error:
            raise UserError(
                f"{self._path}: cannot write ({error.strerror}); the last checkpoint is whole: free some space and --resume"
            ) from error


def read(folder: Path) -> list[dict[str, Any]]:
    """The records of a run's log, each with its `step`; none where there is no log.

    A line that is no record ends them. If it is not the last one, which a kill may have cut short, a line on standard error says so.

    Raises:
        FormatError: something else than a file has its name, or a file that is too large.
    """
    path = folder / LOG
    if not path.exists():
        return []
    lines = read_bytes(path, MAX_LOG).split(b"\n")
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(_RECORD.check(parse_json(line, path), path))
        except FormatError as error:
            if number < len(lines):  # it has an end
                warn(f"{path}: line {number} is damaged ({error.problem}); it and what follows are left out")
            break
    return records


def _cut(folder: Path, step: int) -> None:
    """Drops what comes after a step."""
    if not (folder / LOG).exists():
        return
    kept = [record for record in read(folder) if record["step"] <= step]
    with atomic_file(folder / LOG) as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _scalars(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            found += _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            found.append((prefix + name, float(value)))
    return found


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise UserError(
            "TensorBoard is not installed: pip install tensorboard, or run without it (log.jsonl has it all)"
        ) from error
    return SummaryWriter(str(folder), purge_step=step + 1)
