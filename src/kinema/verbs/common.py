"""What several verbs need."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from ..errors import UserError, unknown
from ..motion.skeleton import Skeleton
from ..motion.skeletons import SKELETONS

console = Console()


def skeleton_of(text: str | Path) -> Skeleton:
    """A skeleton by its registered name or from a JSON file.

    Raises:
        UserError: neither.
    """
    name = str(text)
    if name in SKELETONS:
        return SKELETONS[name]
    if name.lower().endswith(".json") or Path(name).exists():
        return Skeleton.load(Path(name))
    raise unknown("skeleton", name, SKELETONS)


def device_of(accelerator: str) -> str:
    """The torch device of an --accelerator value.

    Raises:
        UserError: it is not there.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if accelerator == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    if (accelerator == "cuda" and not cuda) or (accelerator == "mps" and not mps):
        raise UserError(f"--accelerator {accelerator}: this machine has none that torch {torch.__version__} can use; try cpu")
    return accelerator
