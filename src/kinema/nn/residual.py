"""How a block's branch joins the stream it reads from. Every transformer here takes one of these as `residual=`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from .hyper_connections import HyperConnection, HyperConnections

ResidualKind = Literal["prenorm", "postnorm"]
Residual = ResidualKind | HyperConnections
"""How all branches of a network are connected."""
Join = ResidualKind | HyperConnection
"""How one branch is connected."""


def check_residual(residual: Residual) -> Residual:
    """The value itself.

    Raises:
        ValueError: neither a known name nor hyper-connections.
    """
    if isinstance(residual, HyperConnections) or residual in get_args(ResidualKind):
        return residual
    raise ValueError(f"residual {residual!r}: expected one of {', '.join(get_args(ResidualKind))}, or HyperConnections(...)")


def named_residual(name: str) -> Residual:
    """``prenorm``, ``postnorm``, or the short name of hyper-connections such as ``dynamic-4``.

    Raises:
        ValueError: no such name.
    """
    if name in get_args(ResidualKind):
        return name  # type: ignore[return-value]
    try:
        return HyperConnections.named(str(name))
    except ValueError as error:
        raise ValueError(
            f"residual {name!r}: expected {', '.join(get_args(ResidualKind))}, or hyper-connections; {error}"
        ) from error


def connection(residual: Residual, dim: int, index: int) -> Join:
    """What connects the `index`-th branch of a network: a name, or a module with weights of its own.

    Raises:
        ValueError: see `check_residual`, `HyperConnection`.
    """
    residual = check_residual(residual)
    return residual.connection(dim, index) if isinstance(residual, HyperConnections) else residual


def connect(how: Join, x: Tensor, norm: nn.Module, branch: Callable[[Tensor], Tensor]) -> Tensor:
    """``x + branch(norm(x))`` (pre-norm), ``norm(x + branch(x))`` (post-norm), or the streams after ``branch(norm(read(x)))``."""
    if isinstance(how, HyperConnection):
        return how(x, lambda h: branch(norm(h)))
    return x + branch(norm(x)) if how == "prenorm" else norm(x + branch(x))


def enter(residual: Residual, x: Tensor) -> Tensor:
    """At a network's entry: the streams of hyper-connections, or `x` itself."""
    return residual.expand(x) if isinstance(residual, HyperConnections) else x


def leave(residual: Residual, x: Tensor) -> Tensor:
    """After a network's last block: one stream again."""
    return residual.collapse(x) if isinstance(residual, HyperConnections) else x


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
