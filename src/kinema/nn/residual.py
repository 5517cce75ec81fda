"""How a block's branch joins the stream it reads from. Every transformer here takes one of these by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

ResidualKind = Literal["prenorm", "postnorm"]


def check_residual(kind: str) -> str:
    """The kind itself.

    Raises:
        ValueError: not a known kind.
    """
    if kind not in get_args(ResidualKind):
        raise ValueError(f"residual {kind!r}: expected one of {', '.join(get_args(ResidualKind))}")
    return kind


def connect(kind: str, x: Tensor, norm: nn.Module, branch: Callable[[Tensor], Tensor]) -> Tensor:
    """``x + branch(norm(x))`` (pre-norm) or ``norm(x + branch(x))`` (post-norm)."""
    return x + branch(norm(x)) if kind == "prenorm" else norm(x + branch(x))


class DropPath(nn.Module):
    """Drops a branch for whole samples with probability `rate` while training, and rescales the kept ones (stochastic depth)."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """`(B, ...)` -> `(B, ...)`."""
        if not self.training or self.rate == 0.0:
            return x
        keep = torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), device=x.device) >= self.rate
        return x * keep.to(x.dtype) / (1 - self.rate)
