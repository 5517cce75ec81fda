"""Checkpoints: written whole or not at all, checked before they are believed, never able to run code.

A run keeps ``checkpoints/step-N/`` with ``model.safetensors`` (weights and buffers by name, averages as ``ema.<name>``),
``optimizer.safetensors`` (``optimizer.<kind>.<parameter>``, ``source.<name>``, ``log.<name>``) and ``state.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, NotRequired

import safetensors.torch
import torch
from torch import Tensor, nn

from .. import __version__
from ..errors import CheckpointError, FormatError
from ..files import TEMPORARY, atomic_folder, read_bytes, read_json
from ..schema import Table
from ..text import warn

SCHEMA = 1
"""Raised when the meaning of a file changes."""
MODEL, TRAINING, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
AVERAGE = "ema."
"""Prefix of averaged weights in `MODEL`."""
MAX_WEIGHTS = 16 * 2**30
"""Bytes of the largest file of weights that is read."""
MOST = 10**15
"""Steps, passes and stages of a run are never so many."""
_COUNT = Annotated[int, 0, MOST]
_STATE = Table(
    step=_COUNT,
    stage=_COUNT,
    stage_name=str,
    index=_COUNT,
    epoch=Annotated[float, 0, MOST],
    finished=bool,
    seed=int,
    skipped=_COUNT,
    consecutive=_COUNT,
    source=dict[str, Any],
    config=str,
    sha256=dict[str, str],
    schema=int,
    versions=NotRequired[dict[str, str]],
    more=False,
)
"""What `STATE` holds: a `State`, and what is told of the files beside it."""


@dataclass(frozen=True)
class State:
    """Where a run stands.

    Attributes:
        step: optimiser steps done over all stages. stage: number of the current one. stage_name: its name.
        index: steps done in the stage. epoch: passes done in the stage, fractional. finished: the stage is complete.
        seed: of the run. skipped: steps skipped so far. consecutive: how many of them just now.
        source: what the stage's source remembers, JSON-safe (its tensors are in `TRAINING`).
        config: hash of the run's configuration.
    """

    step: int
    stage: int
    stage_name: str
    index: int
    epoch: float
    finished: bool
    seed: int
    skipped: int = 0
    consecutive: int = 0
    source: dict[str, Any] = field(default_factory=dict)
    config: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint in memory, on the CPU."""

    path: Path
    state: State
    model: dict[str, Tensor]
    training: dict[str, Tensor]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The training tensors whose name begins with `prefix`, without it."""
        return {name.removeprefix(prefix): t for name, t in self.training.items() if name.startswith(prefix)}

    def averages(self, module: nn.Module) -> dict[str, Tensor]:
        """The averaged weights by their plain name; `module` tells them from a module of its own that is called ``ema``."""
        return _averages(self.model, module.state_dict())


def _averages(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(AVERAGE): t for n, t in given.items() if n.startswith(AVERAGE) and n not in wanted}


def config_hash(config: Mapping[str, Any]) -> str:
    """A short name for a JSON-safe configuration, independent of key order."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def save(
    folder: Path,
    state: State,
    model: Mapping[str, Tensor],
    training: Mapping[str, Tensor],
    *,
    keep: int = 2,
    parameters: Iterable[str] = (),
) -> Path:
    """Writes ``folder/checkpoints/step-N`` and drops older ones.

    The newest `keep` stay, and the last one of every finished stage, because a later stage may build on its modules.
    `parameters` names those of `model` that must be finite; buffers may hold infinities, but nothing may be NaN.

    Raises:
        CheckpointError: a weight is not finite.
        UserError: the disk is full or the folder cannot be written; earlier checkpoints are untouched.
    """
    path = folder / "checkpoints" / f"step-{state.step}"
    _refuse_not_finite(path, model, parameters)
    if path.exists():  # only a damaged one can be here: a run that resumed from an earlier step comes by again
        _discard(path)
    with atomic_folder(path) as temporary:
        digests = {}
        for name, tensors in ((MODEL, model), (TRAINING, training)):
            # a copy of its own for each: tied weights share memory, which the format refuses
            content = safetensors.torch.save({n: t.detach().to("cpu", copy=True).contiguous() for n, t in tensors.items()})
            digests[name] = hashlib.sha256(content).hexdigest()
            (temporary / name).write_bytes(content)
        versions = {"kinema": __version__, "torch": torch.__version__, "python": platform.python_version()}
        record = {"schema": SCHEMA, **asdict(state), "sha256": digests, "versions": versions}
        (temporary / STATE).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    _prune(folder, keep)
    return path


def _discard(path: Path) -> None:
    """Removes a checkpoint folder: renamed first, so that no reader sees a part of it."""
    doomed = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}")
    path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _prune(folder: Path, keep: int) -> None:
    for path in steps(folder)[keep:]:
        try:
            finished = _record(path)["finished"]
        except CheckpointError:
            finished = False
        if not finished:
            _discard(path)


def steps(folder: Path) -> list[Path]:
    """The checkpoint folders of a run, newest first, whole or not."""
    found = [p for p in (folder / "checkpoints").glob("step-*") if p.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=lambda p: int(p.name.removeprefix("step-")), reverse=True)


def averaged(path: Path) -> bool:
    """Whether weights (see `read_weights`) come with an average of them.

    Raises:
        CheckpointError: nothing there, or not such a file.
    """
    return any(name.startswith(AVERAGE) for name in read_weights(path))


def held(folder: Path) -> int:
    """Bytes of the largest file of weights in a run folder; 0 where there is none."""
    files = [folder / MODEL, *(path / MODEL for path in steps(folder))]
    return max((path.stat().st_size for path in files if path.is_file()), default=0)


def newest(folder: Path, *, below: int | None = None) -> Checkpoint | None:
    """The newest whole checkpoint of a run folder (below stage number `below`), or None where there is none at all.

    A damaged one is passed over with a line on standard error.

    Raises:
        CheckpointError: there are checkpoints, but none is whole.
    """
    damaged: list[CheckpointError] = []
    for path in steps(folder):
        try:
            found = read(path)
        except CheckpointError as error:
            damaged.append(error)
            continue
        if below is None or found.state.stage < below:
            for error in damaged:
                warn(f"{error}; going by {found.path.name} instead")
            return found
    if damaged:
        many = f"{damaged[0]}" + (f" and {len(damaged) - 1} more" if len(damaged) > 1 else "")
        raise CheckpointError(f"{folder / 'checkpoints'}: no usable checkpoint ({many}); start again in another folder")
    return None


def latest(folder: Path) -> Path | None:
    """The folder of the newest whole checkpoint of a run, hash-checked; None where there is none.

    Raises:
        CheckpointError: there are checkpoints, but none is whole.
    """
    found = newest(Path(folder))
    return None if found is None else found.path


def read(path: Path) -> Checkpoint:
    """One checkpoint folder, every hash checked.

    Raises:
        CheckpointError: a file is missing, altered, or of another schema.
    """
    record = _record(path)
    tensors: dict[str, dict[str, Tensor]] = {}
    for name in (MODEL, TRAINING):
        content = _content(path / name)
        if hashlib.sha256(content).hexdigest() != record["sha256"].get(name):
            raise CheckpointError(f"{path / name}: damaged (its hash is not the one recorded)")
        tensors[name] = _tensors(path / name, content)
    state = State(**{f.name: record[f.name] for f in fields(State)})
    return Checkpoint(path, state, tensors[MODEL], tensors[TRAINING])


def _record(path: Path) -> dict[str, Any]:
    """What `STATE` of a checkpoint folder says.

    Raises:
        CheckpointError: it is missing, damaged, or of another schema.
    """
    try:
        record = read_json(path / STATE)
        schema = record.get("schema") if isinstance(record, dict) else None
        if type(schema) is int and schema != SCHEMA:
            raise CheckpointError(f"{path}: schema {schema}, this version reads {SCHEMA}; use the Kinema that wrote it")
        _STATE.check(record, path / STATE)
        if record["index"] and not record["epoch"] * MOST >= record["index"]:  # steps of an epoch, which others divide by
            raise FormatError(path / STATE, f"epoch is {record['epoch']} after {record['index']} steps")
    except FormatError as error:
        raise CheckpointError(f"{path}: damaged or incomplete checkpoint ({STATE}: {error.problem})") from error
    return record


def _content(path: Path) -> bytes:
    """A file of weights. Raises CheckpointError if it cannot be read."""
    try:
        return read_bytes(path, MAX_WEIGHTS)
    except FormatError as error:
        raise CheckpointError(f"{error.origin}: not a readable .safetensors file ({error.problem})") from error


def _tensors(path: Path, content: bytes) -> dict[str, Tensor]:
    """The tensors of a file of weights. Raises CheckpointError if it holds anything else."""
    try:
        return safetensors.torch.load(content)
    except Exception as error:  # of many kinds: of the format, of torch, of a type that torch does not have
        first = (str(error).splitlines() or [""])[0]
        raise CheckpointError(f"{path}: not a readable .safetensors file ({first})") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, a checkpoint folder, or the newest whole checkpoint of a run folder.

    Raises:
        CheckpointError: nothing there, or not such a file.
    """
    path = Path(path)
    if path.is_dir():
        if (path / STATE).exists():
            return read(path).model
        if (path / MODEL).exists():
            return read_weights(path / MODEL)
        found = newest(path)
        if found is None:
            raise CheckpointError(f"{path}: no checkpoint here; expected {MODEL}, a step-N folder or a run folder")
        return found.model
    return _tensors(path, _content(path))


def load_model(path: Path, module: nn.Module, *, strict: bool = True, prefix: str = "", average: bool = False) -> list[str]:
    """Loads weights and buffers into `module`; nothing is changed unless everything fits. Half precision is widened.

    Args:
        path: see `read_weights`.
        module: receives them.
        strict: demand that the names agree; otherwise names that only one side has are passed over.
        prefix: look only at names that begin so, on both sides.
        average: where the checkpoint has an average of a weight, take that.

    Returns:
        The names of `module` (under `prefix`) that the checkpoint does not have.

    Raises:
        CheckpointError: names or shapes differ, a weight is not finite, or `average` of a checkpoint without one.
    """
    given = read_weights(path)
    wanted = module.state_dict()
    averages = _averages(given, wanted)
    if average and not averages:
        raise CheckpointError(f"{path}: holds no averaged weights; train with an ema, or take the last ones (--weights last)")
    plain = {n: t for n, t in given.items() if n in wanted or not n.startswith(AVERAGE)}
    source = {n: t for n, t in (plain | averages if average else plain).items() if n.startswith(prefix)}
    return _put(path, source, {n: t for n, t in wanted.items() if n.startswith(prefix)}, module, strict, prefix)


def restore(checkpoint: Checkpoint, module: nn.Module) -> None:
    """The weights and buffers of a checkpoint in memory, strictly.

    Raises:
        CheckpointError: names or shapes differ.
    """
    wanted = module.state_dict()
    source = {n: t for n, t in checkpoint.model.items() if n in wanted or not n.startswith(AVERAGE)}
    _put(checkpoint.path, source, wanted, module, True, "")


def _put(
    path: Path, source: dict[str, Tensor], wanted: dict[str, Tensor], module: nn.Module, strict: bool, prefix: str
) -> list[str]:
    missing = [n for n in wanted if n not in source]
    extra = sorted(n for n in source if n not in wanted)
    common = [n for n in wanted if n in source]
    misshapen = [
        f"{n} is {_kind(source[n])}, expected {_kind(wanted[n])}"
        for n in common
        if source[n].shape != wanted[n].shape or source[n].is_floating_point() != wanted[n].is_floating_point()
    ]
    problems = [_few("misshapen", misshapen)]
    if strict:
        problems = [_few("missing", missing), _few("not known here", extra), *problems]
    problems = [p for p in problems if p]
    if problems or (prefix and not common):
        what = "; ".join(problems) or f"no name begins with {prefix!r}"
        raise CheckpointError(f"{path}: made for another model: {what}")
    _refuse_not_finite(path, {n: source[n] for n in common}, {n for n, _ in module.named_parameters()})
    with torch.no_grad():
        for name in common:
            wanted[name].copy_(source[name])
    return missing


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def _few(what: str, items: list[str]) -> str:
    if not items:
        return ""
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return f"{len(items)} {what}: {', '.join(items[:3])}{more}"


def _refuse_not_finite(path: Path, tensors: Mapping[str, Tensor], parameters: Iterable[str]) -> None:
    """NaN is never a value; infinity may be one in a buffer (an attention mask), never in a parameter."""
    known = set(parameters)
    bad = []
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            wrong = ~torch.isfinite(tensor) if name in known else torch.isnan(tensor)
            if bool(wrong.any()):
                bad.append(name)
    if bad:
        raise CheckpointError(f"{path}: weights that are not finite numbers: {_few('tensors', bad)}")
