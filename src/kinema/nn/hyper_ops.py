"""The arithmetic of hyper-connections as pure functions: coefficients, mixing, writing, Sinkhorn-Knopp.

Streams have an axis of their own, `(..., n, D)`; coefficients are float32 and either one set for all tokens or one a token. Those that
touch streams are autograd functions that keep their inputs and a few numbers a stream: no normalised, mixed or float32 copy of the streams
outlives a call, and between branches not even the streams if they are to be recomputed. Autocast does not reach inside. What they compute
is in `hyper_kernels`.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from . import hyper_kernels as kernels
from .hyper_kernels import Form, Statics
from .hyper_recompute import inputs, keep, kept, level_after, source_of

Norm = Literal["layernorm", "rmsnorm"]


def normed_projection(streams: Tensor, projection: Tensor, norm: Norm, eps: float, joint: bool = False) -> Tensor:
    """``norm(streams) @ projection`` in float32: `(..., D)`, `(D, K)` -> `(..., K)`; `joint`: of `(..., n, D)`, `(n D, K)` -> `(..., K)`.

    The norm is over a stream's features, or jointly over all streams'. It has no gain of its own (fold one into the rows of `projection`).
    """
    return _NormedProjection.apply(streams, projection, norm == "layernorm", eps, 2 if joint else 1, source_of(streams))


def mix(streams: Tensor, matrix: Tensor) -> Tensor:
    """Each target is a weighted sum of the streams: `(..., n, D)`, `(..., n, K)` or `(n, K)` -> `(..., K, D)`.

    ``out[j] = sum_i matrix[i, j] streams[i]``, added up in float32, in the streams' dtype.
    """
    return mix_through(streams, matrix)[0]


def mix_through(streams: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """`mix`, and the streams again. Who uses those in place of its own saves the backward pass a sum of two gradients of all streams."""
    mixed, through = _Mix.apply(streams, matrix, source_of(streams))
    return mixed, streams if through is None else through


class Read(NamedTuple):
    """What a dynamic connection reads: the branch's input, the coefficients, and the streams again (see `mix_through`)."""

    mixed: Tensor
    matrix: Tensor
    carry: Tensor
    gains: Tensor
    streams: Tensor


def dynamic_read(streams: Tensor, projection: Tensor, statics: Statics, norm: Norm, eps: float, tanh: bool) -> Read:
    """Coefficients from the streams, and `mix` with them, in one pass: `(..., n, D)`, `(D, k + n + 1)` -> mixed `(..., k, D)`.

    The coefficients are `kernels.coefficients` of `normed_projection`: matrix `(..., n, k)`, carry `(..., n, n)`, gains `(..., n)`.
    """
    form = Form(norm == "layernorm", eps, tanh)
    mixed, matrix, carry, gains, through = _Read.apply(streams, projection, *statics, form, source_of(streams))
    return Read(mixed, matrix, carry, gains, streams if through is None else through)


def write(streams: Tensor, output: Tensor, carry: Tensor, gains: Tensor, recompute: int = 0) -> Tensor:
    """The streams after a branch: ``out[j] = sum_i carry[i, j] streams[i] + gains[j] output``.

    Shapes: streams `(..., n, D)`, output `(..., D)` for all streams or `(..., n, D)` for each its own, carry `(..., n, n)` or `(n, n)`,
    gains `(..., n)` or `(n,)` -> `(..., n, D)` in the streams' dtype, added up in float32. With `recompute` 2 or more, only every
    `recompute`-th result in a row is kept for the backward pass of what reads it here, see `hyper_recompute`; no effect when compiled.
    """
    source = source_of(streams)
    return _Write.apply(streams, output, carry, gains, source, level_after(source, recompute))


def _tokens(x: Tensor, axes: int) -> Tensor:
    """All but the last `axes` axes as one."""
    return x.reshape(math.prod(x.shape[:-axes]), *x.shape[-axes:])


def _each(coefficients: Tensor, lead: torch.Size, axes: int) -> Tensor:
    """Coefficients `[N, ...]` of each token."""
    return _tokens(coefficients.expand(*lead, *coefficients.shape[-axes:]), axes)


def _like(gradient: Tensor | None, lead: torch.Size, like: Tensor) -> Tensor:
    """A gradient for each token -> that of a tensor that tokens may share."""
    assert gradient is not None
    return gradient.reshape(*lead, *gradient.shape[1:]).sum_to_size(like.shape).to(like.dtype)


def _shaped(x: Tensor | None, *shape: int) -> Tensor:
    """A result in its final shape; not as a view, which a user could not change in place."""
    assert x is not None
    return torch.ops.aten._unsafe_view(x, shape)


def _exactly(x: Tensor) -> AbstractContextManager[Any]:
    """No autocast: these sums are float32 over whatever the streams are. Meta tensors, which only have shapes, know none."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def _handed_on(streams: Tensor) -> Tensor | None:
    """The streams as an output; not for the compiler, which adds gradients up in passing."""
    return None if torch.compiler.is_compiling() else streams.view_as(streams)


class _NormedProjection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, streams: Tensor, projection: Tensor, centre: bool, eps: float, axes: int, source: Any) -> Tensor:
        ctx.axes, tokens = axes, _tokens(streams, axes).flatten(1).unsqueeze(1)
        with _exactly(streams):
            (logits, mean, inverse), _ = kernels.call(kernels.project, (tokens,), (projection.T.contiguous(), centre, eps))
        keep(ctx, source, streams, projection, logits, mean, inverse)
        return _shaped(logits, *streams.shape[:-axes], projection.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        streams, projection, logits, mean, inverse = kept(ctx, _written)
        tokens = (_tokens(grad, 1).unsqueeze(1), _tokens(streams, ctx.axes).flatten(1).unsqueeze(1), logits, mean, inverse)
        with _exactly(streams):
            (grad_x,), (grad_rows,) = kernels.call(kernels.project_backward, tokens, (projection.T.contiguous(),))
        assert grad_x is not None
        return grad_x.reshape(streams.shape), grad_rows.T.to(projection.dtype), None, None, None, None


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, streams: Tensor, matrix: Tensor, source: Any) -> tuple[Tensor, Tensor | None]:
        keep(ctx, source, streams, matrix)
        ctx.through, ctx.shape = 1, streams.shape
        ctx.set_materialize_grads(False)
        lead = streams.shape[:-2]
        with _exactly(streams):
            (mixed,), _ = kernels.call(kernels.mix, (_tokens(streams, 2), _each(matrix, lead, 2)))
        return _shaped(mixed, *lead, matrix.shape[-1], streams.shape[-1]), _handed_on(streams)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, through: Tensor | None = None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return through, None, None
        streams, matrix = kept(ctx, _written)
        lead = streams.shape[:-2]
        through = None if through is None else _tokens(through, 2)
        tokens = (_tokens(grad, 2), through, _tokens(streams, 2), _each(matrix, lead, 2))
        with _exactly(streams):
            (grad_x, grad_matrix), _ = kernels.call(kernels.mix_backward, tokens)
        assert grad_x is not None
        return grad_x.reshape(streams.shape), _like(grad_matrix, lead, matrix), None


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        streams: Tensor,
        projection: Tensor,
        read: Tensor,
        carry: Tensor,
        write: Tensor,
        scale_read: Tensor,
        scale_write: Tensor,
        form: Form,
        source: Any,
    ) -> tuple[Tensor | None, ...]:
        statics = Statics(read, carry, write, scale_read, scale_write)
        lead, ctx.form, ctx.through, ctx.shape = streams.shape[:-2], form, 4, streams.shape
        ctx.set_materialize_grads(False)
        shared = (projection.T.contiguous(), statics, form)
        with _exactly(streams):
            (*found, logits, mean, inverse), _ = kernels.call(kernels.read, (_tokens(streams, 2),), shared)
        keep(ctx, source, streams, logits, mean, inverse, projection, *statics)
        return (*(_shaped(f, *lead, *f.shape[1:]) for f in found if f is not None), _handed_on(streams))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        streams, logits, mean, inverse, projection, *statics = kept(ctx, _written)
        statics, (count, n, d) = Statics(*statics), (logits.shape[0], *streams.shape[-2:])
        shapes = ((statics.read.shape[1], d), statics.read.shape, (n, n), (n,), (n, d))
        given = [None if g is None else g.reshape(count, *shape) for g, shape in zip((*grads, None), shapes, strict=False)]
        # streams and the branch's input may have got no gradient, or a coefficient none: zeros, but for the two that are added last
        for i in (0, 2, 3):
            if given[i] is None:
                given[i] = (streams if i == 0 else logits).new_zeros(count, *shapes[i])
        shared = (projection.T.contiguous(), statics, ctx.form)
        with _exactly(streams):
            tokens = (*given, _tokens(streams, 2), logits, mean, inverse)
            (grad_x,), (grad_rows, *sums) = kernels.call(kernels.read_backward, tokens, shared)
        assert grad_x is not None
        sums = (s.to(static.dtype) for s, static in zip(sums, statics, strict=True))
        return grad_x.reshape(streams.shape), grad_rows.T.to(projection.dtype), *sums, None, None


class _Write(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, streams: Tensor, output: Tensor, carry: Tensor, gains: Tensor, source: Any, level: int) -> Tensor:
        keep(ctx, source, streams, output, carry, gains)
        ctx.level, ctx.shape, ctx.inputs, ctx.rebuilt = level, streams.shape, None, None
        return _written(streams, output, carry, gains)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        streams, output, carry, gains = inputs(ctx, _written)
        ctx.inputs = ctx.rebuilt = None  # all who read what this wrote are done
        lead = streams.shape[:-2]
        o = _tokens(output, 1 + (output.ndim == streams.ndim))
        tokens = (_tokens(grad, 2), _tokens(streams, 2), o, _each(carry, lead, 2), _each(gains, lead, 1))
        with _exactly(streams):
            (grad_x, grad_output, grad_carry, grad_gains), _ = kernels.call(kernels.write_backward, tokens)
        assert grad_x is not None
        assert grad_output is not None
        of_coefficients = (_like(grad_carry, lead, carry), _like(grad_gains, lead, gains))
        return grad_x.reshape(streams.shape), grad_output.reshape(output.shape), *of_coefficients, None, None


def _written(streams: Tensor, output: Tensor, carry: Tensor, gains: Tensor) -> Tensor:
    lead = streams.shape[:-2]
    o = _tokens(output, 1 + (output.ndim == streams.ndim))
    with _exactly(streams):
        tokens = (_tokens(streams, 2), o, _each(carry, lead, 2), _each(gains, lead, 1))
        (after,), _ = kernels.call(kernels.write, tokens)
    return _shaped(after, *streams.shape)


def sinkhorn(logits: Tensor, iterations: int = 20) -> Tensor:
    """Doubly stochastic matrices by Sinkhorn-Knopp as the mHC paper writes it (arXiv 2512.24880, eq. 9): `(..., n, n)` -> the same.

    ``exp(logits)``, then `iterations` times: columns to sum 1, then rows. Done on logarithms, so that finite logits of any size give finite
    results; recomputed in the backward pass, because the many small steps would together be larger than a stream.
    """
    return _recomputed(_sinkhorn_log, logits, iterations)


def sinkhorn_deepseek(logits: Tensor, iterations: int = 20, eps: float = 1e-6) -> Tensor:
    """The variant of DeepSeek's released reference: softmax over rows plus eps, columns, then `iterations - 1` times rows and columns.

    Ends on columns and adds `eps` to every divisor, so it differs from the paper's by up to 3e-3 for spread logits. `(..., n, n)`.
    """
    return _recomputed(_sinkhorn_eps, logits, iterations, eps)


def _recomputed(iteration: Any, logits: Tensor, *how: float) -> Tensor:
    """Runs it with tokens as the last axis, along which processors work: a sum over four neighbours is slower than over four rows."""
    n = logits.shape[-1]
    turned = _tokens(logits.to(kernels.wide(logits)), 2).permute(1, 2, 0).contiguous()
    if logits.requires_grad:  # nothing in it is random, so no generator's state need be read
        found = checkpoint(iteration, turned, *how, use_reentrant=False, preserve_rng_state=False)
    else:
        found = iteration(turned, *how)
    return found.permute(2, 0, 1).reshape(*logits.shape[:-2], n, n)  # type: ignore[union-attr]


def _sinkhorn_log(logits: Tensor, iterations: int) -> Tensor:
    for _ in range(iterations):
        logits = logits.log_softmax(0).log_softmax(1)
    return logits.exp()


def _sinkhorn_eps(logits: Tensor, iterations: int, eps: float) -> Tensor:
    m = logits.softmax(1) + eps
    m = m / (m.sum(0, keepdim=True) + eps)
    for _ in range(iterations - 1):
        m = m / (m.sum(1, keepdim=True) + eps)
        m = m / (m.sum(0, keepdim=True) + eps)
    return m
