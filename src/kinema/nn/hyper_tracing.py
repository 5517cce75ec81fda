"""What hyper-connections say while a compiler traces them. A file of its own, because its decorator imports the compiler."""

from __future__ import annotations

import functools
import logging

import torch


@torch.compiler.assume_constant_result  # runs while the model is traced
def level() -> int:
    """0: in a compiled model all streams are kept, as far as this library is concerned. Says so once."""
    _say_compiler_decides()
    return 0


@functools.cache
def _say_compiler_decides() -> None:
    logging.getLogger(__name__).warning("recompute has no effect in a compiled model: the compiler decides what it recomputes")
