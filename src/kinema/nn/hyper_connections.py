"""Hyper-Connections (Zhu et al., ICLR 2025), and their successors, in place of the residual connection around a branch.

The residual stream becomes `n` streams. A branch reads a weighted sum of them, all are mixed, and each gets the branch's output with a gain
of its own. The weights are learned (``static``) or also depend on the token (``dynamic``, the paper's default):

    h = sum_i a_i H_i                       what the branch reads
    H'_j = sum_i A_ij H_i + b_j T(h)        what the next layer finds

Kinds beside those of the paper: ``manifold`` (mHC, Xie et al., 2025: the mixing matrix is doubly stochastic) and ``fraction`` (Zhu et al.,
2025: the stream is cut into `n` fractions instead of copied `n` times; ``static-fraction`` without the dynamic part). All of them start
as the pre-norm residual connection, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from . import hyper_ops
from .hyper_kernels import Statics, coefficients, wide
from .hyper_ops import Norm

Kind = Literal["static", "dynamic", "manifold", "fraction", "static-fraction"]
Sinkhorn = Literal["paper", "deepseek"]


@dataclass(frozen=True)
class HyperConnections:
    """How all the branches of a network are connected: the value of `residual=`.

    Attributes:
        n: number of streams (expansion rate), or of fractions. kind: see the module.
        norm: before the dynamic coefficients, over a stream's features; should be the model's own kind. gain: whether that norm has a learned
            gain (OLMo's has none). tanh: bounds the dynamic part. All three are fixed for ``manifold`` (RMSNorm over all streams, no gain,
            no tanh).
        reduce: how streams become one at the end: ``sum`` (paper) or ``mean`` (exactly the function of the residual network at the start).
            Fractions need neither.
        sinkhorn, iterations: for ``manifold``: the paper's iteration, or that of DeepSeek's released reference.
        recompute: keep only the streams after every so many branches for the backward pass, and rebuild those between from the branches'
            outputs (0: keep all). Gradients are the same to the bit. Least memory near `sqrt(n L / (n + 2))` of `L` branches. No
            effect in compiled models, where the compiler decides what to recompute (a warning says so).

    Raises:
        ValueError: a value out of range.
    """

    n: int = 4
    kind: Kind = "dynamic"
    norm: Norm = "layernorm"
    gain: bool = True
    tanh: bool = True
    reduce: Literal["sum", "mean"] = "sum"
    sinkhorn: Sinkhorn = "paper"
    iterations: int = 20
    recompute: int = 0

    def __post_init__(self) -> None:
        for name, known in (("kind", Kind), ("norm", Norm), ("sinkhorn", Sinkhorn)):
            if getattr(self, name) not in get_args(known):
                raise ValueError(f"{name} {getattr(self, name)!r}: expected one of {', '.join(get_args(known))}")
        if self.reduce not in ("sum", "mean"):
            raise ValueError(f"reduce {self.reduce!r}: expected sum or mean")
        if isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 1:
            raise ValueError(f"n {self.n!r}: expected a whole number of streams, 1 or more")
        if self.iterations < 1:
            raise ValueError(f"iterations {self.iterations}: expected 1 or more")
        if isinstance(self.recompute, bool) or not isinstance(self.recompute, int) or self.recompute < 0 or self.recompute == 1:
            raise ValueError(f"recompute {self.recompute!r}: expected 0 (off) or a whole number of branches, 2 or more")
        if self.kind == "manifold" and self.n == 1:
            raise ValueError(
                "n 1: a manifold-constrained connection needs 2 streams or more (with one, its sigmoid cannot start at 1)"
            )

    @classmethod
    def named(cls, name: str) -> HyperConnections:
        """By a short name, ``kind`` or ``kind-n``: ``dynamic-4``, ``static-2``, ``manifold``.

        Raises:
            ValueError: not such a name.
        """
        kind, sign, n = name.rpartition("-")
        if not (sign and n.isascii() and n.isdecimal()):
            kind, n = name, "4"
        return cls(int(n), kind)  # type: ignore[arg-type]

    @property
    def streams(self) -> bool:
        """Whether there is an axis of streams between layers."""
        return self.kind not in ("fraction", "static-fraction")

    def connection(self, dim: int, index: int, channel_dim: int = -1) -> HyperConnection:
        """The connection of the `index`-th branch of the network, `dim` wide."""
        return HyperConnection(
            dim,
            self.n,
            index=index,
            kind=self.kind,
            norm=self.norm,
            gain=self.gain,
            tanh=self.tanh,
            sinkhorn=self.sinkhorn,
            iterations=self.iterations,
            recompute=self.recompute,
            channel_dim=channel_dim,
        )

    def expand(self, x: Tensor, channel_dim: int = -1) -> Tensor:
        """At the network's entry: `(..., D)` -> `(..., n, D)`, copies as a view. Under autocast, streams take its dtype."""
        if not x.is_meta and torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return expand(x, self.n, channel_dim) if self.streams else x

    def collapse(self, streams: Tensor, channel_dim: int = -1) -> Tensor:
        """At the network's end: `(..., n, D)` -> `(..., D)`."""
        return collapse(streams, self.reduce, channel_dim) if self.streams else streams


def expand(x: Tensor, n: int, channel_dim: int = -1) -> Tensor:
    """`n` equal streams as a view: `(..., D)` -> `(..., n, D)`, or with `channel_dim` 1 `(B, C, ...)` -> `(B, n, C, ...)`."""
    at = -2 if _checked_axis(channel_dim) == -1 else channel_dim
    axis = x.ndim - 1 if channel_dim == -1 else channel_dim
    x = x.unsqueeze(at)
    return x.expand(*x.shape[:axis], n, *x.shape[axis + 1 :])


def collapse(streams: Tensor, how: Literal["sum", "mean"] = "sum", channel_dim: int = -1) -> Tensor:
    """The streams' sum or mean, added up in float32 or better: `(..., n, D)` -> `(..., D)`."""
    axis = -2 if _checked_axis(channel_dim) == -1 else channel_dim
    total = streams.sum(axis, dtype=wide(streams)) if how == "sum" else streams.mean(axis, dtype=wide(streams))
    return total.to(streams.dtype)


def _checked_axis(channel_dim: int) -> int:
    if channel_dim != -1 and channel_dim < 1:
        raise ValueError(f"channel_dim {channel_dim}: expected -1 or a positive axis (0 is the batch)")
    return channel_dim


class Coefficients(NamedTuple):
    """One set for all tokens, or one a token (leading axes `...`), float32.

    Attributes:
        read: `(..., n, 1)`, source stream -> branch input; of fractions `(..., n, n)`, source -> target fraction.
        carry: `(..., n, n)`, source -> target stream. write: `(..., n)`, gain of the branch's output in each stream.
    """

    read: Tensor
    carry: Tensor
    write: Tensor


class Carry(NamedTuple):
    """What `HyperConnection.write` needs of what `read` was given."""

    streams: Tensor
    coefficients: Coefficients


class HyperConnection(nn.Module):
    """The connection around one branch.

    Streams are `(..., n, D)`; with `channel_dim` 1, feature maps `(B, n, C, H, W)`. Fractions are plain `(..., D)`.

    Args:
        dim: `D`. n: streams or fractions.
        index: which branch of the network this is, counted from 0. It decides the stream that is read at first, which is what tells
            streams apart, as all are equal at the start.
        kind, norm, gain, tanh, sinkhorn, iterations, recompute: see `HyperConnections`.
        channel_dim: axis of features in the branch's input: -1 or a positive axis such as 1.
        check: refuse non-finite coefficients (costs a wait for the device in every call).

    Raises:
        ValueError: a value out of range, or a width that the fractions do not divide.
    """

    undecayed = ("static_read", "static_carry", "static_write", "bias", "gain")
    """Parameters without weight decay (the paper decays dynamic parts alone)."""

    def __init__(
        self,
        dim: int,
        n: int = 4,
        *,
        index: int,
        kind: Kind = "dynamic",
        norm: Norm = "layernorm",
        gain: bool = True,
        tanh: bool = True,
        sinkhorn: Sinkhorn = "paper",
        iterations: int = 20,
        recompute: int = 0,
        channel_dim: int = -1,
        check: bool = False,
    ):
        super().__init__()
        how = HyperConnections(n, kind, norm, gain, tanh, "sum", sinkhorn, iterations, recompute)  # checks the values
        if dim < 1 or index < 0:
            raise ValueError(f"dim {dim}, index {index}: expected a width of 1 or more and an index of 0 or more")
        self.dim, self.n, self.index, self.kind, self.tanh = dim, n, index, kind, tanh
        self.norm: Norm = norm
        self.sinkhorn, self.iterations, self.recompute = sinkhorn, iterations, recompute
        self.channel_dim, self.check = _checked_axis(channel_dim), check
        self.fractions = not how.streams
        if self.fractions and dim % n:
            raise ValueError(f"width {dim} is not divisible by {n} fractions")
        if kind == "manifold":
            self.bias = nn.Parameter(torch.empty(2 * n + n * n))
            self.projection = nn.Parameter(torch.empty(n * dim, 2 * n + n * n))
            self.scales = nn.Parameter(torch.empty(3))
        else:
            width, targets = (dim // n, n) if self.fractions else (dim, 1)
            self.static_read = nn.Parameter(torch.empty(n, targets))
            self.static_carry = nn.Parameter(torch.empty(n, n))
            self.static_write = nn.Parameter(torch.empty(n))
            if kind in ("dynamic", "fraction"):
                self.gain = nn.Parameter(torch.empty(width)) if gain else None
                self.projection = nn.Parameter(torch.empty(width, targets + n + 1))
                self.scale_read = nn.Parameter(torch.empty(()))
                self.scale_write = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """To the start, the residual function. To be called again where memory is given later (the `meta` device, `to_empty`)."""
        n, eye = self.n, torch.eye(self.n)
        if self.kind == "manifold":  # read weights sum to 1 and differ, gains are 1, and any mixing of equal streams is none
            read = torch.full((n,), 0.3 / (n - 1))
            read[self.index % n] = 0.7
            self.bias.copy_(torch.cat([read.logit(), torch.zeros(n), 3.0 * eye.flatten()]))
            self.projection.zero_()
            self.scales.fill_(0.01)
            return
        self.static_read.copy_(eye if self.fractions else eye[:, [self.index % n]])
        self.static_carry.copy_(eye)
        self.static_write.fill_(1.0)
        if self.kind in ("dynamic", "fraction"):
            if self.gain is not None:
                self.gain.fill_(1.0)
            self.projection.zero_()
            self.scale_read.fill_(0.01)
            self.scale_write.fill_(0.01)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{self.dim}, n={self.n}, index={self.index}, kind={self.kind}"

    def coefficients(self, streams: Tensor) -> Coefficients:
        """Of these streams, `(..., n, D)` with features last (fractions: `(..., n, D / n)`)."""
        if self.kind == "manifold":
            return self._checked(self._manifold(streams))
        if self.kind in ("dynamic", "fraction"):
            logits = hyper_ops.normed_projection(streams, self._weight(), self.norm, self._eps)
            return self._checked(Coefficients(*coefficients(logits, self._statics(), self.tanh)))
        return self._checked(Coefficients(self.static_read, self.static_carry, self.static_write))

    @property
    def _eps(self) -> float:
        return 1e-5 if self.norm == "layernorm" else 1e-6

    def _weight(self) -> Tensor:
        return self.projection if self.gain is None else self.gain.unsqueeze(-1) * self.projection

    def _statics(self) -> Statics:
        return Statics(self.static_read, self.static_carry, self.static_write, self.scale_read, self.scale_write)

    def _checked(self, found: Coefficients) -> Coefficients:
        if self.check and not all(bool(torch.isfinite(c).all()) for c in found):
            raise ValueError(
                f"HyperConnection {self.index}: its coefficients are not finite; expected finite streams and parameters"
            )
        return found

    def _manifold(self, streams: Tensor) -> Coefficients:
        n = self.n
        logits = hyper_ops.normed_projection(streams, self.projection, "rmsnorm", 1e-6, joint=True)
        pre, post, mixing = logits.split([n, n, n * n], -1)
        bias_pre, bias_post, bias_mixing = self.bias.split([n, n, n * n])
        read = torch.sigmoid(self.scales[0] * pre + bias_pre)
        gains = 2 * torch.sigmoid(self.scales[1] * post + bias_post)
        square = (self.scales[2] * mixing + bias_mixing).unflatten(-1, (n, n))
        if self.sinkhorn == "deepseek":  # whose matrices are source -> target, and whose read weights are kept off zero
            return Coefficients((read + 1e-6).unsqueeze(-1), hyper_ops.sinkhorn_deepseek(square, self.iterations), gains)
        return Coefficients(read.unsqueeze(-1), hyper_ops.sinkhorn(square, self.iterations).transpose(-1, -2), gains)

    def read(self, streams: Tensor) -> tuple[Tensor, Carry]:
        """The branch's input `(..., D)`, and what `write` needs."""
        inside = self._inside(streams)
        if self.kind in ("dynamic", "fraction"):
            mixed, *found, inside = hyper_ops.dynamic_read(inside, self._weight(), self._statics(), self.norm, self._eps, self.tanh)
            found = self._checked(Coefficients(*found))
        else:
            found = self.coefficients(inside)
            mixed, inside = hyper_ops.mix_through(inside, found.read)
        return self._outside(mixed.flatten(-2) if self.fractions else mixed.squeeze(-2)), Carry(inside, found)

    def write(self, carry: Carry, output: Tensor) -> Tensor:
        """The next streams, from what `read` gave and the branch's output `(..., D)`."""
        output = output if self.channel_dim == -1 else output.movedim(self.channel_dim, -1)
        if self.fractions:
            output = output.unflatten(-1, (self.n, -1))
        found = carry.coefficients
        streams = hyper_ops.write(carry.streams, output, found.carry, found.write, self.recompute)
        if self.fractions:
            return self._outside(streams.flatten(-2))
        return streams if self.channel_dim == -1 else streams.movedim((-2, -1), (self.channel_dim, self.channel_dim + 1))

    def forward(self, streams: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        """The streams after a branch: `write(carry, branch(h))`."""
        h, carry = self.read(streams)
        return self.write(carry, branch(h))

    def _inside(self, streams: Tensor) -> Tensor:
        """Features last, streams (or fractions) before them."""
        at, expected = self.channel_dim, (self.dim,) if self.fractions else (self.n, self.dim)
        last = at if at == -1 or self.fractions else at + 1
        shape = (
            tuple(streams.shape[(last + 1 - len(expected)) :][: len(expected)])
            if last != -1
            else tuple(streams.shape[-len(expected) :])
        )
        if shape != expected:
            raise ValueError(
                f"HyperConnection {self.index}: got {tuple(streams.shape)}, expected "
                + (
                    f"{self.dim} features"
                    if self.fractions
                    else f"{self.n} streams of {self.dim} features (use expand at the network's entry)"
                )
            )
        if self.fractions:
            return (streams if at == -1 else streams.movedim(at, -1)).unflatten(-1, (self.n, -1))
        return streams if at == -1 else streams.movedim((at, at + 1), (-2, -1))

    def _outside(self, x: Tensor) -> Tensor:
        return x if self.channel_dim == -1 else x.movedim(-1, self.channel_dim)


def parameter_count(dim: int, how: HyperConnections) -> int:
    """Parameters that one connection adds to a branch `dim` wide."""
    with torch.device("meta"):
        return sum(math.prod(p.shape) for p in how.connection(dim, 0).parameters())
