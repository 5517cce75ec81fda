"""Random streams: each draw belongs to (seed, index, purpose) and to nothing else."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, index: int, purpose: str) -> np.random.Generator:
    """An independent generator for one purpose of one clip. The purpose keeps a new use from shifting the draws of an old one."""
    return np.random.Generator(np.random.PCG64([seed, index, zlib.crc32(purpose.encode())]))
