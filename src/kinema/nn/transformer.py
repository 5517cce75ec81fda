"""Transformer blocks with the parameter names of the ViT family, so that published weights load as they are."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .attention import CrossAttention, SelfAttention
from .residual import DropPath, Join, Residual, connect, connection


class MLP(nn.Module):
    """Two linear maps with an exact GELU between: `(..., D)` -> `(..., D)`."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps each token by itself."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Self-attention, then an MLP: `(B, N, D)` -> `(B, N, D)`; with hyper-connections between `n` streams `(B, N, n, D)`.

    Args:
        dim: `D`. heads: attention heads. mlp_ratio: hidden width of the MLP / `D`. qkv_bias: bias of the attention inputs.
        drop_path: probability of dropping a branch for a sample while training.
        residual: how branches join the stream, see `residual.connect`; the network calls `enter` and `leave` around its blocks.
        index: which block of the network this is, from 0 (hyper-connections start unequal by it).
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        residual: Residual = "prenorm",
        index: int = 0,
    ):
        super().__init__()
        self.join1: Join = connection(residual, dim, 2 * index)
        self.join2: Join = connection(residual, dim, 2 * index + 1)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = SelfAttention(dim, heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        x = connect(self.join1, x, self.norm1, lambda y: self.drop_path(self.attn(y)))
        return connect(self.join2, x, self.norm2, lambda y: self.drop_path(self.mlp(y)))


class CrossBlock(nn.Module):
    """Queries attend over a context, then an MLP; queries do not see one another.

    Shapes: queries `(B, Q, D)` (streams of them: `(B, Q, n, D)`), context `(B, N, D)` -> as the queries. Linear in `Q`, unlike a
    self-attention block.
    """

    def __init__(
        self, dim: int, heads: int, mlp_ratio: float = 4.0, qkv_bias: bool = True, residual: Residual = "prenorm", index: int = 0
    ):
        super().__init__()
        self.join1: Join = connection(residual, dim, 2 * index)
        self.join2: Join = connection(residual, dim, 2 * index + 1)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = CrossAttention(dim, heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """One block."""
        x = connect(self.join1, x, self.norm1, lambda y: self.attn(y, context))
        return connect(self.join2, x, self.norm2, self.mlp)


def xavier_init(module: nn.Module) -> None:
    """Linear maps Xavier-uniform with zero bias, layer norms 1 and 0 (to be used with `nn.Module.apply`)."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
