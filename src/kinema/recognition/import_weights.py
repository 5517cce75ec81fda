"""The authors' checkpoints as run folders, so that every command works on them."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from .. import __version__
from ..errors import CheckpointError, UserError
from ..files import atomic_folder, write_json
from ..motion.skeleton import Skeleton
from ..training.checkpoint import load_model
from .cmd import CMDConfig
from .masa import MASAConfig, from_authors
from .presets import recipe
from .recipes import build_method, to_json

MAX_BYTES = 4 * 2**30
AUTHORS = ("mamp", "cmd", "masa")
"""Methods whose authors have given code, and so names of parameters, to the public."""


def read_foreign(path: Path) -> dict[str, Tensor]:
    """The weights of a PyTorch checkpoint, read without running code. Of other things in it only an `argparse.Namespace` is allowed.

    Raises:
        UserError: no such file. CheckpointError: not a checkpoint, damaged, or it asks for anything else to be built.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes; checkpoints of these methods are far below {MAX_BYTES}")
    _refuse_bomb(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # about old file layouts, which are read all the same
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if asked is None:
            raise CheckpointError(f"{path}: not a readable PyTorch checkpoint; copy or download it again") from error
        raise CheckpointError(
            f"{path}: refused, it asks for {asked[1]}; a checkpoint may hold weights and an argparse.Namespace. "
            "If you trust it, save its state_dict alone in the program that made it"
        ) from error
    except Exception as error:  # torch raises many kinds for damaged files
        first = (str(error).splitlines() or [""])[0][:150]
        raise CheckpointError(
            f"{path}: not a readable PyTorch checkpoint ({type(error).__name__}: {first}); copy or download it again"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    ):
        raise CheckpointError(f"{path}: holds no table of weights (expected names and tensors, perhaps under 'model')")
    # a tensor of a few bytes may claim any shape by striding over them again and again
    strange = [k for k, v in content.items() if v.layout != torch.strided or v.is_quantized or v.device.type != "cpu"]
    if strange or sum(v.numel() * v.element_size() for v in content.values()) > MAX_BYTES:
        raise CheckpointError(
            f"{path}: {strange[0] if strange else 'its weights'}: not plain tensors of at most {MAX_BYTES} bytes in all"
        )
    return {k.removeprefix("module."): v.detach().contiguous().clone() for k, v in content.items()}


def _with_queue(model: MASAConfig, weights: Mapping[str, Tensor]) -> MASAConfig:
    """With the length of the file's queue, which the released script, its options and its class each give differently."""
    queue = weights.get("queue")
    length = queue.shape[1] if queue is not None and queue.ndim == 2 else 0
    return replace(model, queue=length) if length else model


def _with_head(model: CMDConfig, weights: Mapping[str, Tensor]) -> CMDConfig:
    """With the kind of head that the file has: the authors' class knows both, and names a single map plainly."""
    return replace(model, mlp="encoder_q.fc.weight" not in weights)


def _refuse_bomb(path: Path) -> None:
    """Raises CheckpointError if the archive says that it unpacks to more than `MAX_BYTES`."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return  # an older, plain file, or a damaged one: torch will tell
    if size > MAX_BYTES:
        raise CheckpointError(f"{path}: unpacks to {size} bytes; checkpoints of these methods are far below {MAX_BYTES}")


def import_weights(method: str, preset: str, path: Path, folder: Path, skeleton: Skeleton) -> int:
    """Makes `folder` a run folder from the authors' pre-training checkpoint; their parameter names are ours. Returns the number of tensors.

    Raises:
        UserError: unknown method or preset, or `folder` exists.
        CheckpointError: the file is refused, or its tensors are not those of the preset (missing, extra and misshapen ones are named).
    """
    chosen = recipe(method, preset, skeleton)
    if method not in AUTHORS:
        raise UserError(f"{method}: its authors have published no checkpoint that could be imported; known: {', '.join(AUTHORS)}")
    if Path(folder).exists():
        raise UserError(f"{folder}: exists already; choose another --out")
    weights = read_foreign(path)
    if isinstance(chosen.model, MASAConfig):
        weights = from_authors(weights)
        chosen = replace(chosen, model=_with_queue(chosen.model, weights))
    elif isinstance(chosen.model, CMDConfig):
        chosen = replace(chosen, model=_with_head(chosen.model, weights))
    if any(k.startswith("head.") for k in weights):
        raise CheckpointError(
            f"{path}: a fine-tuned or probed classifier (it has head.*); import the pre-training checkpoint instead"
        )
    config = {
        "kinema": __version__,
        "room": "recognition",
        "recipe": to_json(chosen),
        "skeleton": skeleton.to_json(),
        "data": {"name": "imported", "file": Path(path).name},
        "seed": 0,
    }
    with atomic_folder(Path(folder)) as temporary:
        save_file(weights, temporary / "model.safetensors")
        try:
            load_model(temporary / "model.safetensors", build_method(chosen))
        except CheckpointError as error:  # the person gave `path`, not our copy of it
            raise CheckpointError(str(error).replace(str(temporary / "model.safetensors"), str(path))) from error
        write_json(temporary / "config.json", config)
    return len(weights)
