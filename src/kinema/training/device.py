"""Where a process works."""

from __future__ import annotations

import os

import torch

from ..errors import UserError


def local_rank() -> int:
    """Which process of its machine this is, from 0, as the launcher told it."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))


def device_of(accelerator: str) -> torch.device:
    """The device of this process for ``auto``, ``cpu``, ``cuda`` or ``mps``; with several processes each has its own GPU.

    Raises:
        UserError: this machine has none, or an unknown name.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if accelerator == "auto":
        accelerator = "cuda" if cuda else "mps" if mps else "cpu"
    if accelerator not in ("cpu", "cuda", "mps"):
        raise UserError(f"accelerator {accelerator!r}: expected auto, cpu, cuda or mps")
    if (accelerator == "cuda" and not cuda) or (accelerator == "mps" and not mps):
        raise UserError(f"accelerator {accelerator}: this machine has none that torch {torch.__version__} can use; try cpu")
    if accelerator == "cuda":
        return torch.device("cuda", local_rank())
    return torch.device(accelerator)
