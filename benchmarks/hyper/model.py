"""The language model of the experiments: bytes in, bytes out.

It is made of Kinema's own blocks, so that the connections under test are the shipped ones.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.nn.attention import SelfAttention
from kinema.nn.hyper_connections import HyperConnection
from kinema.nn.residual import Residual, enter, leave
from kinema.nn.transformer import MLP, Block
from kinema.training.method import generator

BYTES = 256


class CausalAttention(SelfAttention):
    """A token sees itself and those before it: `(B, N, D)` -> `(B, N, D)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Attends."""
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).reshape(b, n, d))


class Experts(nn.Module):
    """A mixture of MLPs in place of one: each token goes through its `top` experts of `count` alone: `(B, N, D)` -> `(B, N, D)`.

    Each expert is `hidden / top` wide, so a token meets as many weights as in the dense model. The weights of the chosen are their router
    probabilities, made to sum to 1 where there are several (with one it must stay, or the router would get no gradient).
    """

    def __init__(self, dim: int, hidden: int, count: int, top: int):
        super().__init__()
        if not 1 <= top <= count or hidden % top:
            raise ValueError(f"top {top} of {count} experts: expected 1 to {count}, and a divisor of the width {hidden}")
        self.top = top
        self.router = nn.Linear(dim, count, bias=False)
        self.experts = nn.ModuleList(MLP(dim, hidden // top) for _ in range(count))
        self.imbalance = torch.zeros(())  # of the last call: 1 where all experts are used alike, up to `count`

    def forward(self, x: Tensor) -> Tensor:
        """Routes."""
        tokens = x.flatten(0, -2)
        probabilities = self.router(tokens).float().softmax(-1)
        weights, chosen = probabilities.topk(self.top, -1)
        if self.top > 1:
            weights = weights / weights.sum(-1, keepdim=True)
        count = len(self.experts)
        used = torch.bincount(chosen.flatten(), minlength=count) / chosen.numel()
        self.imbalance = count * (used * probabilities.mean(0)).sum()
        out = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            rows, place = (chosen == number).nonzero(as_tuple=True)
            answer = expert(tokens[rows]) * weights[rows, place].unsqueeze(-1)
            out = out.index_add(0, rows, answer.to(out.dtype))
        return out.view_as(x)


class LanguageModel(nn.Module):
    """Token and position embeddings, causal blocks, a final layer norm, and a head that is not tied to the embedding.

    Streams are added up before the final norm, as in the paper. Post-norm keeps the final norm too, so that all arms share all weights.

    Shapes: bytes `(B, N)` int64 -> logits `(B, N, 256)`.
    """

    def __init__(self, width: int, heads: int, depth: int, context: int, residual: Residual, experts: int = 0, top: int = 2):
        super().__init__()
        self.residual = residual
        self.tokens = nn.Embedding(BYTES, width)
        self.positions = nn.Parameter(torch.empty(context, width))
        self.blocks = nn.ModuleList(Block(width, heads, residual=residual, index=i) for i in range(depth))
        for block in self.blocks:
            block.attn = CausalAttention(width, heads)
            if experts:
                block.mlp = Experts(width, 4 * width, experts, top)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, BYTES, bias=False)

    def forward(self, data: Tensor) -> Tensor:
        """Predicts each next byte."""
        x = enter(self.residual, self.tokens(data) + self.positions[: data.shape[1]])
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(leave(self.residual, x)))

    def imbalance(self) -> Tensor | None:
        """Mean over blocks of how unevenly experts were used in the last call; None without experts."""
        found = [block.mlp.imbalance for block in self.blocks if isinstance(block.mlp, Experts)]
        return torch.stack(found).mean() if found else None


@torch.no_grad()
def initialise(model: nn.Module, seed: int, depth: int) -> None:
    """Normal weights of spread 0.02, those that write into the stream divided by sqrt(2 depth), biases zero.

    A parameter's draw depends on the seed and its name alone, so arms that differ in their connections start from the same weights.
    Connections and norms keep their own start, which is no draw.
    """
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            writes = name.endswith(("attn.proj", "fc2"))
            spread = 0.02 / math.sqrt(2 * depth) if writes else 0.02
            module.weight.copy_(spread * torch.randn(module.weight.shape, generator=generator(seed, "start", name)))
            if getattr(module, "bias", None) is not None:
                module.bias.zero_()
    positions = model.positions
    positions.copy_(0.02 * torch.randn(positions.shape, generator=generator(seed, "start", "positions")))


def parameters(model: nn.Module) -> dict[str, int]:
    """How many numbers are learned, and how many of them the connections added."""
    added = sum(p.numel() for m in model.modules() if isinstance(m, HyperConnection) for p in m.parameters())
    return {"parameters": sum(p.numel() for p in model.parameters()), "added": added}
