"""MASA's network: a graph encoder for each part of the body, a transformer over frames, and pooling into one vector.

Parameter names are the authors': `embed.st_gcn_{hand,body}.*`, `GCN_Tran.{norm,blocks.i}.*`, `proj.*`. Its transformer is of BERT's kind: norms
come after the residuals, and what must not be seen has 10 000 taken from its score, so that where nothing may be seen everything is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..nn.graph import BODY, HAND, GraphConfig, GraphEncoder, There
from ..nn.residual import Join, Residual, connect, connection, enter, leave
from .masa_batch import Parts, SignBatch

FAR = -10000.0
"""Added to scores of what must not be seen."""


@dataclass(frozen=True)
class SignNetworkConfig:
    """Size of a `SignEncoder`, and what it lets see; the defaults are the published code's.

    Attributes:
        graph: of the part-wise encoders; its width is `D`, the transformer's is `3 D`.
        depth: blocks. heads: attention heads. mlp: hidden width. dropout: of attention weights, branches and the pooled feature.
        residual: how branches join the stream: ``postnorm`` (published), ``prenorm``, or `HyperConnections`.
        coordinates: ``unit``: as they are, 0 to 1; ``centred``: in pixels from the middle, -128 to 128 (an ablation of the paper).
        mask_at: a hidden part is overwritten ``after_time``: its neighbours have seen it through the convolutions over time; or
            ``before_time``.
        hidden: frames with a hidden part are ``queries`` that no frame sees; or they ``skip`` the transformer, as the paper says (what
            leaves it in their place is what would have entered it).
        padding: whether padding is seen: by graphs and their batch norms, by the transformer and by the pooling of bodies. Where it is not,
            what a clip gives does not depend on what it is batched with; but to find the frames that are there a GPU is waited for.
        hands: ``apart``: the right hands, then the left ones, with batch statistics of their own, as published; where one hand is mostly
            absent, the running statistics then suit neither. ``present``: both together, and graphs and batch norms see but the frames in
            which a hand is there (and no padding).
        pool: ``attention`` or ``average``. The body's attention sees hidden frames too, an average does not.
    """

    graph: GraphConfig = field(default_factory=GraphConfig)
    depth: int = 3
    heads: int = 8
    mlp: int = 2048
    dropout: float = 0.1
    residual: Residual = "postnorm"
    coordinates: Literal["unit", "centred"] = "unit"
    mask_at: Literal["after_time", "before_time"] = "after_time"
    hidden: Literal["queries", "skip"] = "queries"
    padding: bool = True
    hands: Literal["apart", "present"] = "apart"
    pool: Literal["attention", "average"] = "attention"

    def __post_init__(self) -> None:
        for name in ("depth", "heads", "mlp"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: expected 1 or more")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} (3 x {self.graph.width}) is not divisible by {self.heads} heads")
        if self.hands == "present" and self.padding:
            raise ValueError("hands present with padding that is seen: choose padding=False")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout}: expected a rate from 0 to below 1")

    @property
    def width(self) -> int:
        """Of a frame: all three parts."""
        return 3 * self.graph.width


@dataclass(frozen=True, eq=False)
class View:
    """What an encoder is given of a batch.

    Attributes:
        coordinates: `(B, T, J, 2)` of each part. hidden: `(B, T)` bool of each part, not to be seen; None: everything is.
        hands: `(B, 2 T)` bool, right frames, then left: the hand has a confident joint. real: `(B, T)` bool, not padding.
    """

    coordinates: Parts
    hidden: Parts | None
    hands: Tensor
    real: Tensor

    @classmethod
    def of(cls, batch: SignBatch, confident: float, hidden: Parts | None = None) -> View:
        """Of a batch, of whose joints those above `confident` are."""
        right, left, _ = batch.confidence
        hands = torch.cat([(right > confident).any(2), (left > confident).any(2)], 1)
        return cls(batch.coordinates, hidden, hands, batch.real)

    @property
    def whole(self) -> Tensor:
        """`(B, T)` bool: no part of the frame is hidden."""
        if self.hidden is None:
            return torch.ones_like(self.real)
        right, left, body = self.hidden
        return ~(right | left | body)


class Norm(nn.Module):
    """Layer norm with the authors' names and epsilon."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """`(..., D)` -> `(..., D)`."""
        return F.layer_norm(x, self.gamma.shape, self.gamma, self.beta, 1e-12)


class PostNormBlock(nn.Module):
    """Self-attention, then an MLP, as published each followed by a norm of the sum: `(B, T, W)` -> `(B, T, W)`.

    Args:
        width: `W`. heads: attention heads. mlp: hidden width. dropout: rate. residual: how branches join the stream (with hyper-connections
            `n` streams, `(B, T, n, W)`). index: which block of its transformer this is.
    """

    def __init__(self, width: int, heads: int, mlp: int, dropout: float, residual: Residual = "postnorm", index: int = 0):
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.join1: Join = connection(residual, width, 2 * index)
        self.join2: Join = connection(residual, width, 2 * index + 1)
        self.attn = nn.ModuleDict({f"proj_{name}": nn.Linear(width, width) for name in "qkv"})
        self.proj = nn.Linear(width, width)
        self.norm1 = Norm(width)
        self.pwff = nn.ModuleDict({"fc1": nn.Linear(width, mlp), "fc2": nn.Linear(mlp, width)})
        self.norm2 = Norm(width)
        self.drop = nn.Dropout(dropout)

    def attend(self, x: Tensor, bias: Tensor) -> Tensor:
        """Attention of frames over frames; `bias` `(B, 1, 1, T)` is added to the scores of keys."""
        b, t, width = x.shape
        q, k, v = (self.attn[f"proj_{name}"](x).view(b, t, self.heads, -1).transpose(1, 2) for name in "qkv")
        rate = self.rate if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype), dropout_p=rate)
        return y.transpose(1, 2).reshape(b, t, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """One block."""
        x = connect(self.join1, x, self.norm1, lambda y: self.drop(self.proj(self.attend(y, bias))))
        return connect(self.join2, x, self.norm2, lambda y: self.drop(self.pwff["fc2"](F.gelu(self.pwff["fc1"](y)))))


class PostNormTransformer(nn.Module):
    """A norm, then blocks: `(B, T, W)` -> `(B, T, W)`. Where blocks do not end with a norm (`residual`), one more comes last."""

    def __init__(self, width: int, depth: int, heads: int, mlp: int, dropout: float, residual: Residual = "postnorm"):
        super().__init__()
        self.residual: Residual = residual
        self.norm = Norm(width)
        self.blocks = nn.ModuleList(PostNormBlock(width, heads, mlp, dropout, residual, i) for i in range(depth))
        self.last = None if residual == "postnorm" else Norm(width)

    def forward(self, x: Tensor, seen: Tensor, counted: Tensor | None = None) -> Tensor:
        """`seen`: `(B, T)` bool, which frames others may look at; where there is none, at all that are `counted` `(B, T)` (None: all)."""
        bias = torch.where(seen, 0.0, FAR)
        if counted is not None:
            bias = bias.masked_fill(~counted, 2 * FAR)
        bias = bias[:, None, None]
        x = enter(self.residual, self.norm(x))
        for block in self.blocks:
            x = block(x, bias)
        x = leave(self.residual, x)
        return x if self.last is None else self.last(x)


class PartEmbedding(nn.Module):
    """One vector for each part and frame: coordinates -> `(B, T, D)` of right hand, left hand and body. Hands share their encoder."""

    def __init__(self, config: SignNetworkConfig):
        super().__init__()
        self.config = config
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.graph.width))
        self.st_gcn_hand = GraphEncoder(HAND, config.graph)
        self.st_gcn_body = GraphEncoder(BODY, config.graph)

    def part(
        self, encoder: GraphEncoder, x: Tensor, hidden: Tensor | None, there: There | None = None, real: There | None = None
    ) -> Tensor:
        """`(B, T, J, 2)` -> `(B, T, D)`, with the mask token where hidden `(B, T)`; `there`, `real`: see `GraphEncoder`."""
        if self.config.coordinates == "centred":
            x = 256 * x - 128
        y = encoder.spatial(x, there)
        if self.config.mask_at == "before_time":
            return encoder.temporal(self.masked(y, hidden), real)
        return self.masked(encoder.temporal(y, real), hidden)

    def masked(self, y: Tensor, hidden: Tensor | None) -> Tensor:
        """The mask token where hidden."""
        return y if hidden is None else torch.where(hidden[..., None], self.mask_token.to(y.dtype), y)

    def forward(self, view: View) -> Tensor:
        """`(B, T, 3 D)`."""
        right, left, body = view.hidden if view.hidden is not None else (None, None, None)
        x = view.coordinates
        if self.config.hands == "present":
            hands = None if right is None or left is None else torch.cat([right, left])
            shown, real = There.of(torch.cat(view.hands.chunk(2, 1))), There.of(view.real)
            both = real.twice()
            # in training a batch norm needs two frames; without a hand in all of the batch every frame that is no padding is one
            if self.training and len(shown.rows) < 2:
                shown = both
            y = self.part(self.st_gcn_hand, torch.cat([x.right, x.left]), hands, shown, both)
            return torch.cat([*y.chunk(2), self.part(self.st_gcn_body, x.body, body, real, real)], 2)
        real = None if self.config.padding else There.of(view.real)
        # one after the other: each hand has batch statistics of its own, and moves the running ones
        return torch.cat(
            [
                self.part(self.st_gcn_hand, x.right, right, real, real),
                self.part(self.st_gcn_hand, x.left, left, real, real),
                self.part(self.st_gcn_body, x.body, body, real, real),
            ],
            2,
        )


class Pooling(nn.Module):
    """Frames into one vector of the hands and one of the body, and a head on their sum."""

    def __init__(self, config: SignNetworkConfig, head: nn.Module):
        super().__init__()
        self.config = config
        self.weight_hand = nn.Linear(config.graph.width, 1)
        self.weight_body = nn.Linear(config.graph.width, 1)
        if config.pool == "average":  # kept, so that checkpoints are of one form, but nothing to learn
            self.weight_hand.requires_grad_(False)
            self.weight_body.requires_grad_(False)
        self.fc = head
        self.drop = nn.Dropout(config.dropout)

    def pool(self, tokens: Tensor, view: View) -> tuple[Tensor, Tensor]:
        """`(B, T, 3 D)` -> `(B, D)` of both hands, `(B, D)` of the body."""
        right, left, body = tokens.chunk(3, 2)
        hands = torch.cat([right, left], 1)
        shown = view.hands & view.whole.repeat(1, 2)
        if self.config.pool == "average":
            return _mean(hands, shown), _mean(body, view.whole & (view.real | self.config.padding))
        seen = torch.ones_like(view.real) if self.config.padding else view.real
        return _attended(hands, self.weight_hand, shown, seen.repeat(1, 2)), _attended(body, self.weight_body, seen, seen)

    def forward(self, hands: Tensor, body: Tensor) -> Tensor:
        """The head on the sum of both."""
        return self.fc(self.drop(hands + body))


def _attended(x: Tensor, score: nn.Module, seen: Tensor, counted: Tensor) -> Tensor:
    """`(B, N, D)`, `(B, N)` bool -> `(B, D)`, weighted by the softmax of their scores; if none is seen, all that are counted count alike."""
    weight = score(x).masked_fill(~seen[..., None], FAR).masked_fill(~counted[..., None], 2 * FAR).softmax(1)
    return (x * weight).sum(1)


def _mean(x: Tensor, seen: Tensor) -> Tensor:
    """`(B, N, D)`, `(B, N)` bool -> `(B, D)`; zero if none is seen."""
    return (x * seen[..., None]).sum(1) / seen.sum(1, keepdim=True).clamp(min=1)


class Encoded(NamedTuple):
    """`tokens` `(B, T, 3 D)` of frames, `hands` `(B, D)` and `body` `(B, D)` pooled."""

    tokens: Tensor
    hands: Tensor
    body: Tensor

    @property
    def feature(self) -> Tensor:
        """`(B, D)`: what a clip is compared by."""
        return self.hands + self.body


class SignEncoder(nn.Module):
    """Embedding, transformer, pooling and a head; see the module."""

    def __init__(self, config: SignNetworkConfig, head: nn.Module):
        super().__init__()
        self.config = config
        self.embed = PartEmbedding(config)
        self.GCN_Tran = PostNormTransformer(config.width, config.depth, config.heads, config.mlp, config.dropout, config.residual)
        self.proj = Pooling(config, head)

    def initialise(self) -> None:
        """The published initialisation: Xavier-uniform for all tensors of more than one axis, the mask token too, but not for the head."""
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1 and not name.startswith("proj.fc."):
                nn.init.xavier_uniform_(parameter)

    def forward(self, view: View) -> Encoded:
        """Encodes; the head is `proj`, called with the pooled vectors."""
        x = self.embed(view)
        y = self.GCN_Tran(x, view.whole, None if self.config.padding else view.real)
        if self.config.hidden == "skip" and view.hidden is not None:
            y = torch.where(view.whole[..., None], y, x)
        return Encoded(y, *self.proj.pool(y, view))
