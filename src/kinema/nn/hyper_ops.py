"""The arithmetic of hyper-connections as pure functions: coefficients, mixing, writing, Sinkhorn-Knopp.

Streams have an axis of their own, `(..., n, D)`; coefficients are float32 and either one set for all tokens or one a token. The three
that touch streams are autograd functions that keep their inputs alone: no normalised, mixed or float32 copy of the streams outlives a call.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

Norm = Literal["layernorm", "rmsnorm"]


def normed_projection(streams: Tensor, projection: Tensor, norm: Norm, eps: float) -> Tensor:
    """``norm(streams) @ projection`` in float32: `(..., D)`, `(D, K)` -> `(..., K)`.

    The norm has no gain of its own (fold one into the rows of `projection`). It is applied after the product, to `K` numbers, not to `D`.
    """
    return _NormedProjection.apply(streams, projection, norm == "layernorm", eps)


def mix(streams: Tensor, matrix: Tensor) -> Tensor:
    """Each target is a weighted sum of the streams: `(..., n, D)`, `(..., n, K)` or `(n, K)` -> `(..., K, D)`.

    ``out[j] = sum_i matrix[i, j] streams[i]``, added up in float32, in the streams' dtype.
    """
    return _Mix.apply(streams, matrix)


def write(streams: Tensor, output: Tensor, carry: Tensor, gains: Tensor) -> Tensor:
    """The streams after a branch: ``out[j] = sum_i carry[i, j] streams[i] + gains[j] output``.

    Shapes: streams `(..., n, D)`, output `(..., D)` for all streams or `(..., n, D)` for each its own, carry `(..., n, n)` or `(n, n)`,
    gains `(..., n)` or `(n,)` -> `(..., n, D)` in the streams' dtype, added up in float32.
    """
    return _Write.apply(streams, output, carry, gains)


def _sum_to(gradient: Tensor, like: Tensor) -> Tensor:
    """A gradient for each token -> the shape of a coefficient that all tokens may share."""
    return gradient.sum(tuple(range(gradient.ndim - like.ndim))) if gradient.ndim > like.ndim else gradient


class _NormedProjection(torch.autograd.Function):
    """``logits = ((x W) - mean(x) sum(W)) r`` with `r` the inverse of the spread; the mean is left out for RMSNorm."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, centre: bool, eps: float) -> Tensor:
        wide, w = x.float(), weight.float()
        product = wide @ w
        if centre:
            variance, mean = torch.var_mean(wide, -1, correction=0, keepdim=True)
            product = product - mean * w.sum(0)
        else:
            variance, mean = wide.square().mean(-1, keepdim=True), None
        inverse = torch.rsqrt(variance + eps)
        logits = product * inverse
        ctx.save_for_backward(x, weight, mean, inverse, logits)
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, logits = ctx.saved_tensors
        w, d = weight.float(), x.shape[-1]
        scaled = grad * inverse
        grad_x = grad_w = None
        if ctx.needs_input_grad[1]:
            grad_w = x.float().flatten(0, -2).T @ scaled.flatten(0, -2)
            if mean is not None:
                grad_w = grad_w - (mean * scaled).flatten(0, -2).sum(0)
        if ctx.needs_input_grad[0]:
            # normalising took away the part of the gradient along the normalised vector (and along the ones)
            along = (grad * logits).sum(-1, keepdim=True) * (inverse / d) * inverse
            shift = -(scaled @ w.sum(0)).unsqueeze(-1) / d + along * mean if mean is not None else None
            grad_x = scaled @ w.T - along * x
            grad_x = (grad_x if shift is None else grad_x + shift).to(x.dtype)
        return grad_x, None if grad_w is None else grad_w.to(weight.dtype), None, None


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, streams: Tensor, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(streams, matrix)
        return (matrix.float().transpose(-1, -2) @ streams.float()).to(streams.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        streams, matrix = ctx.saved_tensors
        wide = grad.float()
        grad_streams = (matrix.float() @ wide).to(streams.dtype) if ctx.needs_input_grad[0] else None
        grad_matrix = None
        if ctx.needs_input_grad[1]:
            grad_matrix = _sum_to(streams.float() @ wide.transpose(-1, -2), matrix).to(matrix.dtype)
        return grad_streams, grad_matrix


class _Write(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, streams: Tensor, output: Tensor, carry: Tensor, gains: Tensor) -> Tensor:
        ctx.save_for_backward(streams, output, carry, gains)
        each = output.float() if output.ndim == streams.ndim else output.float().unsqueeze(-2)
        return (carry.float().transpose(-1, -2) @ streams.float() + gains.float().unsqueeze(-1) * each).to(streams.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        streams, output, carry, gains = ctx.saved_tensors
        wide = grad.float()
        shared = output.ndim < streams.ndim
        grad_streams = grad_output = grad_carry = grad_gains = None
        if ctx.needs_input_grad[0]:
            grad_streams = (carry.float() @ wide).to(streams.dtype)
        if ctx.needs_input_grad[1]:
            weighted = gains.float().unsqueeze(-1) * wide
            grad_output = (weighted.sum(-2) if shared else weighted).to(output.dtype)
        if ctx.needs_input_grad[2]:
            grad_carry = _sum_to(streams.float() @ wide.transpose(-1, -2), carry).to(carry.dtype)
        if ctx.needs_input_grad[3]:
            each = output.float().unsqueeze(-2) if shared else output.float()
            grad_gains = _sum_to((wide * each).sum(-1), gains).to(gains.dtype)
        return grad_streams, grad_output, grad_carry, grad_gains


def sinkhorn(logits: Tensor, iterations: int = 20) -> Tensor:
    """Doubly stochastic matrices by Sinkhorn-Knopp as the mHC paper writes it (arXiv 2512.24880, eq. 9): `(..., n, n)` -> the same.

    ``exp(logits)``, then `iterations` times: columns to sum 1, then rows. Done on logarithms, so that finite logits of any size give finite
    results; recomputed in the backward pass, because the many small steps would together be larger than a stream.
    """
    return (
        checkpoint(_sinkhorn_log, logits.float(), iterations, use_reentrant=False)
        if logits.requires_grad
        else _sinkhorn_log(logits.float(), iterations)
    )  # type: ignore[return-value]


def _sinkhorn_log(logits: Tensor, iterations: int) -> Tensor:
    for _ in range(iterations):
        logits = logits - logits.logsumexp(-2, keepdim=True)
        logits = logits - logits.logsumexp(-1, keepdim=True)
    return logits.exp()


def sinkhorn_deepseek(logits: Tensor, iterations: int = 20, eps: float = 1e-6) -> Tensor:
    """The variant of DeepSeek's released reference: softmax over rows plus eps, columns, then `iterations - 1` times rows and columns.

    Ends on columns and adds `eps` to every divisor, so it differs from the paper's by up to 3e-3 for spread logits. `(..., n, n)`.
    """
    if not logits.requires_grad:
        return _sinkhorn_eps(logits.float(), iterations, eps)
    return checkpoint(_sinkhorn_eps, logits.float(), iterations, eps, use_reentrant=False)  # type: ignore[return-value]


def _sinkhorn_eps(logits: Tensor, iterations: int, eps: float) -> Tensor:
    m = logits.softmax(-1) + eps
    m = m / (m.sum(-2, keepdim=True) + eps)
    for _ in range(iterations - 1):
        m = m / (m.sum(-1, keepdim=True) + eps)
        m = m / (m.sum(-2, keepdim=True) + eps)
    return m
