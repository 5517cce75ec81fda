"""Nearest neighbours by cosine similarity in bounded memory: 40,000 x 16,000 clips never meet in one matrix.

Queries and gallery are both taken in pieces, and of each query only the nearest `k` found so far are kept.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BUDGET = 256 * 2**20
"""Bytes that a search may need at a time besides its inputs and its answer."""


def nearest(
    queries: np.ndarray, gallery: np.ndarray, k: int = 1, *, device: torch.device | str = "cpu", budget: int = BUDGET
) -> np.ndarray:
    """`(Q, D)`, `(G, D)` -> `(Q, min(k, G))` int64 rows of the most cosine-similar gallery entries, the nearest first.

    Args:
        queries, gallery: of any length; a row of zeros is as similar to everything as a row at right angles.
        k: neighbours of each query. device: where the products are taken. budget: bytes that may be needed at a time.
    """
    return search(queries, gallery, k, device=device, budget=budget)[0]


def search(
    queries: np.ndarray, gallery: np.ndarray, k: int = 1, *, device: torch.device | str = "cpu", budget: int = BUDGET
) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest`, with the similarities `(Q, min(k, G))` float32 beside the rows."""
    k = min(k, len(gallery))
    size = piece(queries.shape[1], k, budget)
    rows, similarities = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    for start in range(0, len(queries), size):
        asked = _unit(queries[start : start + size], device)
        best, where = asked.new_empty((len(asked), 0)), torch.empty((len(asked), 0), dtype=torch.int64, device=device)
        for first in range(0, len(gallery), size):
            values, found = _compare(asked, gallery[first : first + size], k)
            best, where = torch.cat([best, values], 1), torch.cat([where, found + first], 1)
            best, kept = best.topk(min(k, best.shape[1]), dim=1)
            where = where.gather(1, kept)
        rows[start : start + size] = where.cpu().numpy()
        similarities[start : start + size] = best.cpu().numpy()
    return rows, similarities


def piece(width: int, k: int, budget: int = BUDGET) -> int:
    """Rows of queries and of gallery that are compared at a time: the largest power of two that `needed` allows, or 1."""
    size = 1 << 16
    while size > 1 and needed(size, width, k) > budget:
        size //= 2
    return size


def needed(size: int, width: int, k: int) -> int:
    """Bytes that comparing `size` queries with `size` gallery entries of `width` takes at most, where `k` are kept."""
    inputs = 3 * size * width * 4  # both sides, and one of them once more before it has unit length
    lists = 6 * size * min(k, size) * 12 + 3 * size * k * 12  # value and row of what is new, of both, and of what stays
    return inputs + size * size * 4 + lists


def _compare(asked: Tensor, gallery: np.ndarray, k: int) -> tuple[Tensor, Tensor]:
    """Similarities and rows `(Q, min(k, G))` of one piece; a function, so that its matrix is gone before the next one comes."""
    near = asked @ _unit(gallery, asked.device).T
    values, found = near.topk(min(k, len(gallery)), dim=1)
    return values, found


def _unit(rows: np.ndarray, device: torch.device | str) -> Tensor:
    """`(N, D)` float32 rows of unit length on a device."""
    return F.normalize(torch.from_numpy(np.ascontiguousarray(rows, np.float32)).to(device), dim=1)
