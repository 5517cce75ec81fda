"""What hyper-connections compute at each token, forward and backward, without autograd: streams `[N, n, D]`, coefficients a token.

Each kernel is written once over a small algebra that exists twice: `Blas`, batched products on whole tensors, fastest one operation at a
time; and `Unrolled`, sums over single streams, which a compiler turns into one pass over memory. `call` picks: on CPUs `Blas` over chunks
of tokens that stay in the cache; on CUDA a compiled kernel; inside `torch.compile` the unrolled kernel itself, for the compiler to fuse with
its neighbours. Sums are in float32, or in float64 where an input is.

Symbols: N tokens, n streams (or fractions), K coefficients of a stream, D features. A kernel takes the algebra, tensors with a leading axis
of tokens, and then shared values; it returns results by token and results summed over tokens.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import shutil
import sysconfig
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Engine = Literal["auto", "eager", "compiled"]
Results = tuple[tuple[Tensor | None, ...], tuple[Tensor, ...]]
Terms = Sequence[tuple[Tensor, Tensor]]

CHUNK = 1 << 18
"""Numbers of a stream tensor that one thread's chunk holds on a CPU: with its temporaries it fits a cache of 1-2 MB."""


def wide(*tensors: Tensor) -> torch.dtype:
    """The type sums are made in."""
    return functools.reduce(torch.promote_types, (t.dtype for t in tensors), torch.float32)


class Blas:
    """Batched matrix products on whole tensors."""

    @staticmethod
    def logits(x: Tensor, rows: Tensor, centre: bool, eps: float) -> tuple[Tensor, Tensor | None, Tensor]:
        """``norm(x) @ rows.T`` `[N, n, K]`, and the norm's mean (LayerNorm alone) and inverse spread `[N, n, 1]`."""
        d = x.shape[-1]
        if centre:
            _, mean, inverse = torch.native_layer_norm(x, (d,), None, None, eps)  # the one fast mean and variance on CPUs
            return (F.linear(x, rows) - mean * rows.sum(1)) * inverse, mean, inverse
        inverse = torch.rsqrt(torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / d + eps)
        return F.linear(x, rows) * inverse, None, inverse

    @staticmethod
    def weighted(terms: Terms, own: Terms = (), shift: Tensor | None = None, plus: Tensor | None = None) -> Tensor:
        """``out[j] = sum_i coefficient[i, j] source[i]`` over all terms, `(N, m, D) or (m, D), (N, m, k)` -> `(N, k, D)`, and to each its own:

        `own`: ``coefficient[j] source[j]``, `(N, k, D), (N, k)`; `shift` `(N, k)`; `plus` `(N, k, D)`.
        """
        out = None if plus is None else plus.clone()
        for source, coefficient in terms:
            turned = coefficient.mT
            if source.ndim == 2:
                if shift is not None:  # as one row more, of ones
                    turned, source = torch.cat([turned, shift.unsqueeze(-1)], -1), F.pad(source, (0, 0, 0, 1), value=1.0)
                    shift = None
                flat = turned.reshape(-1, turned.shape[-1])
                part = flat @ source if out is None else out.flatten(0, 1).addmm_(flat, source)
                out = part.unflatten(0, turned.shape[:2])
            elif source.shape[1] == 1:
                out = turned * source if out is None else out.addcmul_(turned, source)
            else:
                out = torch.bmm(turned, source) if out is None else out.baddbmm_(turned, source)
        assert out is not None
        for source, coefficient in own:
            out.addcmul_(source, coefficient.unsqueeze(-1))
        return out if shift is None else out.add_(shift.unsqueeze(-1))

    @staticmethod
    def dots(x: Tensor, y: Tensor) -> Tensor:
        """``x_i . y_j``: `(N, n, D)`, `(N, k, D)` -> `(N, n, k)`."""
        return torch.bmm(x, y.mT)

    @staticmethod
    def own_dots(x: Tensor, y: Tensor) -> Tensor:
        """``x_i . y_i``: `(N, n, D)` twice -> `(N, n)`."""
        return torch.linalg.vecdot(x, y)

    @staticmethod
    def gather(raw: Tensor, x: Tensor, weights: Tensor) -> Tensor:
        """``sum over tokens and streams of weights[k] x``: `(N, n, D)` as stored, the same made wide, `(N, n, K)` -> `(K, D)`."""
        return weights.flatten(0, 1).T @ x.flatten(0, 1)


class Unrolled:
    """The same, stream by stream."""

    @staticmethod
    def logits(x: Tensor, rows: Tensor, centre: bool, eps: float) -> tuple[Tensor, Tensor | None, Tensor]:
        """See `Blas`."""
        n, k, d = x.shape[1], rows.shape[0], x.shape[-1]
        if centre:
            variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
        else:
            variance, mean = x.square().sum(-1, keepdim=True) / d, None
        inverse = torch.rsqrt(variance + eps)
        if n * k <= 48:  # more reductions than that no compiler puts into one pass
            product = torch.stack([torch.stack([(x[:, i] * rows[j]).sum(-1) for j in range(k)], -1) for i in range(n)], 1)
        else:
            product = x @ rows.T
        return (product if mean is None else product - mean * rows.sum(1)) * inverse, mean, inverse

    @staticmethod
    def weighted(terms: Terms, own: Terms = (), shift: Tensor | None = None, plus: Tensor | None = None) -> Tensor:
        """See `Blas`."""
        results = []
        for j in range(terms[0][1].shape[-1]):
            total = None
            for source, coefficient in terms:
                for i in range(coefficient.shape[1]):
                    part = (source[i] if source.ndim == 2 else source[:, i]) * coefficient[:, i, j, None]
                    total = part if total is None else total + part
            assert total is not None
            for source, coefficient in own:
                total = total + source[:, j] * coefficient[:, j, None]
            total = total if shift is None else total + shift[:, j, None]
            results.append(total if plus is None else total + plus[:, j])
        return torch.stack(results, 1)

    @staticmethod
    def dots(x: Tensor, y: Tensor) -> Tensor:
        """See `Blas`."""
        return torch.stack(
            [torch.stack([(x[:, i] * y[:, j]).sum(-1) for j in range(y.shape[1])], -1) for i in range(x.shape[1])], 1
        )

    @staticmethod
    def own_dots(x: Tensor, y: Tensor) -> Tensor:
        """See `Blas`."""
        return (x * y).sum(-1)

    @staticmethod
    def gather(raw: Tensor, x: Tensor, weights: Tensor) -> Tensor:
        """See `Blas`. On CUDA a product in the streams' own type, as of any weight under autocast: no wide copy is written for it."""
        if raw.is_cuda:
            x, weights = raw, weights.to(raw.dtype)
        return weights.flatten(0, 1).T @ x.flatten(0, 1)


Algebra = type[Blas] | type[Unrolled]


class Form(NamedTuple):
    """How dynamic coefficients are made: LayerNorm (`centre`) or RMSNorm, its `eps`, and whether a tanh bounds them."""

    centre: bool
    eps: float
    tanh: bool


class Statics(NamedTuple):
    """The parameters beside the projection: `(n, k)`, `(n, n)`, `(n,)` and two scalars; also their gradients."""

    read: Tensor
    carry: Tensor
    write: Tensor
    scale_read: Tensor
    scale_write: Tensor


def coefficients(logits: Tensor, statics: Statics, tanh: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Read `(..., n, k)`, carry `(..., n, n)` and write `(..., n)` weights of a token, from `(..., n, k + n + 1)`."""
    dynamic, k = logits.tanh() if tanh else logits, statics.read.shape[1]
    return (
        statics.read + statics.scale_read * dynamic[..., :k],
        statics.carry + statics.scale_read * dynamic[..., k:-1],
        statics.write + statics.scale_write * dynamic[..., -1],
    )


def _coefficients_backward(
    read: Tensor, carry: Tensor, write: Tensor, logits: Tensor, statics: Statics, tanh: bool
) -> tuple[Tensor, Statics]:
    dynamic, k = logits.tanh() if tanh else logits, statics.read.shape[1]
    scale_read = (read * dynamic[..., :k]).sum() + (carry * dynamic[..., k:-1]).sum()
    sums = Statics(read.sum(0), carry.sum(0), write.sum(0), scale_read, (write * dynamic[..., -1]).sum())
    grad = torch.cat([read * statics.scale_read, carry * statics.scale_read, (write * statics.scale_write).unsqueeze(-1)], -1)
    return grad * (1 - dynamic.square()) if tanh else grad, sums


def project(algebra: Algebra, x: Tensor, rows: Tensor, centre: bool, eps: float) -> Results:
    """Logits, mean and inverse spread of `Algebra.logits`."""
    acc = wide(x, rows)
    return algebra.logits(x.to(acc), rows.to(acc), centre, eps), ()


def _project_backward(
    algebra: Algebra, grad: Tensor, raw: Tensor, x: Tensor, logits: Tensor, mean: Tensor | None, inverse: Tensor, rows: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor | None, Tensor]:
    """What reaches the streams: from the rows, from themselves, a shift; and the rows' gradient.

    Normalising took away the part of the gradient along the normalised vector, and along the ones if it centred.
    """
    d = x.shape[-1]
    scaled = grad * inverse
    along = (grad * logits).sum(-1) * inverse.squeeze(-1).square() / d
    grad_rows, shift = algebra.gather(raw, x, scaled).to(x.dtype), None
    if mean is not None:
        grad_rows = grad_rows - (mean * scaled).sum((0, 1)).unsqueeze(-1)
        shift = along * mean.squeeze(-1) - (scaled * rows.sum(1)).sum(-1) / d
    return (rows, scaled.mT), (x, -along), shift, grad_rows


def project_backward(
    algebra: Algebra, grad: Tensor, x: Tensor, logits: Tensor, mean: Tensor | None, inverse: Tensor, rows: Tensor
) -> Results:
    """Gradients of the streams, and of the rows."""
    acc = wide(x, rows)
    term, own, shift, grad_rows = _project_backward(algebra, grad, x, x.to(acc), logits, mean, inverse, rows.to(acc))
    return (algebra.weighted([term], [own], shift).to(x.dtype),), (grad_rows,)


def mix(algebra: Algebra, x: Tensor, matrix: Tensor) -> Results:
    """``out[j] = sum_i matrix[i, j] x[i]``."""
    acc = wide(x, matrix)
    return (algebra.weighted([(x.to(acc), matrix.to(acc))]).to(x.dtype),), ()


def mix_backward(algebra: Algebra, grad: Tensor, through: Tensor | None, x: Tensor, matrix: Tensor) -> Results:
    """Gradients of the streams (with what came `through` them from later users) and of the matrix."""
    acc = wide(x, matrix)
    grad = grad.to(acc)
    plus = None if through is None else through.to(acc)
    grad_x = algebra.weighted([(grad, matrix.to(acc).mT)], plus=plus).to(x.dtype)
    return (grad_x, algebra.dots(x.to(acc), grad)), ()


def write(algebra: Algebra, x: Tensor, output: Tensor, carry: Tensor, gains: Tensor) -> Results:
    """``out[j] = sum_i carry[i, j] x[i] + gains[j] output``; output `[N, D]` for all, or `[N, n, D]` for each its own."""
    acc = wide(x, carry, gains)
    o, gains = output.to(acc), gains.to(acc)
    terms = [(x.to(acc), carry.to(acc))]
    if output.ndim == 2:
        return (algebra.weighted([*terms, (o.unsqueeze(1), gains.unsqueeze(1))]).to(x.dtype),), ()
    return (algebra.weighted(terms, [(o, gains)]).to(x.dtype),), ()


def write_backward(algebra: Algebra, grad: Tensor, x: Tensor, output: Tensor, carry: Tensor, gains: Tensor) -> Results:
    """Gradients of streams, output, carry and gains."""
    acc = wide(x, carry, gains)
    g, o, gains = grad.to(acc), output.to(acc), gains.to(acc)
    grad_x = algebra.weighted([(g, carry.to(acc).mT)]).to(x.dtype)
    grad_carry = algebra.dots(x.to(acc), g)
    if output.ndim == 2:
        grad_output = algebra.weighted([(g, gains.unsqueeze(-1))]).squeeze(1)
        grad_gains = algebra.dots(o.unsqueeze(1), g).squeeze(1)
    else:
        grad_output, grad_gains = g * gains.unsqueeze(-1), algebra.own_dots(g, o)
    return (grad_x, grad_output.to(output.dtype), grad_carry, grad_gains), ()


def read(algebra: Algebra, x: Tensor, rows: Tensor, statics: Statics, form: Form) -> Results:
    """Project, make the coefficients and mix in one: the mix, the three coefficients, and the three results of `project`."""
    acc = wide(x, rows)
    x_wide = x.to(acc)
    logits, mean, inverse = algebra.logits(x_wide, rows.to(acc), form.centre, form.eps)
    matrix, carry, gains = coefficients(logits, statics, form.tanh)
    return (algebra.weighted([(x_wide, matrix)]).to(x.dtype), matrix, carry, gains, logits, mean, inverse), ()


def read_backward(
    algebra: Algebra,
    grad: Tensor,
    grad_matrix: Tensor | None,
    grad_carry: Tensor,
    grad_gains: Tensor,
    through: Tensor | None,
    x: Tensor,
    logits: Tensor,
    mean: Tensor | None,
    inverse: Tensor,
    rows: Tensor,
    statics: Statics,
    form: Form,
) -> Results:
    """Gradient of the streams (with what came `through` them); and of the rows and the static parameters."""
    acc = wide(x, rows)
    x_wide, rows, g = x.to(acc), rows.to(acc), grad.to(acc)
    of_matrix = algebra.dots(x_wide, g)
    of_matrix = of_matrix if grad_matrix is None else of_matrix + grad_matrix
    grad_logits, sums = _coefficients_backward(of_matrix, grad_carry, grad_gains, logits, statics, form.tanh)
    term, own, shift, grad_rows = _project_backward(algebra, grad_logits, x, x_wide, logits, mean, inverse, rows)
    matrix = coefficients(logits, statics, form.tanh)[0]
    plus = None if through is None else through.to(acc)
    grad_x = algebra.weighted([(g, matrix.mT), term], [own], shift, plus).to(x.dtype)
    return (grad_x,), (grad_rows, *sums)


_forced: Engine = "auto"


@contextmanager
def engine(name: Engine) -> Iterator[None]:
    """Inside, kernels run one operation at a time (``eager``) or compiled on any device (``compiled``), for tests and measurements."""
    global _forced
    before, _forced = _forced, name
    try:
        yield
    finally:
        _forced = before


@functools.cache
def _can_compile() -> bool:
    """Whether kernels can be compiled for CUDA here; says once if not."""
    missing = "Triton" if importlib.util.find_spec("triton") is None else None
    if missing is None and not os.environ.get("CC") and not any(map(shutil.which, ("cc", "gcc", "clang"))):
        missing = "a C compiler (which Triton needs)"
    if missing is None and not os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")):
        missing = "Python.h, of Python's development files (which Triton needs)"
    if missing is None and torch.cuda.is_available() and torch.cuda.get_device_capability() < (7, 0):
        missing = "a GPU of compute capability 7.0 or more (which Triton needs)"
    if missing:
        logging.getLogger(__name__).warning("hyper-connections run uncompiled, several times slower: %s is missing", missing)
    return missing is None


@functools.cache
def _compiled(kernel: Callable[..., Results], shape: torch.Size, dtype: torch.dtype, *_: Any) -> Callable[..., Results]:
    """Of its own for each shape of a token, type, and whatever else is given, under a name of its own.

    Else the compiler would count all of them against one limit of variants, beyond which it refuses, and after the second width write slower
    code for any width. What is left to it is the number of tokens.
    """
    assert isinstance(kernel, types.FunctionType)
    name = "_".join([kernel.__name__, *map(str, shape), str(dtype).removeprefix("torch.")])
    return torch.compile(types.FunctionType(kernel.__code__.replace(co_name=name), kernel.__globals__, name), fullgraph=True)


def _plain(value: Any) -> Any:
    """Tensors as compiled kernels take them: whether one requires a gradient, or lies in an order of the user's, would be a variant each."""
    if isinstance(value, Statics):
        return Statics(*(s.detach() for s in value))
    if not isinstance(value, Tensor):
        return value
    value = value.detach()
    return value if value.stride(-1) in (0, 1) else value.contiguous()  # 0: shared by all, a copy would be as large as the streams


def call(kernel: Callable[..., Results], tokens: tuple[Tensor | None, ...], shared: tuple[Any, ...] = ()) -> Results:
    """Runs a kernel on `tokens` (tensors with a leading axis of tokens; the first is given) the fastest way that there is here."""
    if torch.compiler.is_compiling():
        return kernel(Unrolled, *tokens, *shared)
    first = tokens[0]
    assert first is not None
    if _forced == "compiled" or (_forced == "auto" and first.is_cuda and _can_compile()):
        tokens, shared = tuple(map(_plain, tokens)), tuple(map(_plain, shared))
        layout = (None if t is None else (t.dtype, t.stride()) for t in tokens)
        constants = (s for s in shared if isinstance(s, bool | float | Form))
        key = (*layout, *constants, torch.is_inference_mode_enabled())
        return _compiled(kernel, first.shape[1:], first.dtype, *key)(Unrolled, *tokens, *shared)
    if first.device.type != "cpu":
        return kernel(Blas, *tokens, *shared)
    return _chunked(kernel, tokens, shared)


def _chunked(kernel: Callable[..., Results], tokens: tuple[Tensor | None, ...], shared: tuple[Any, ...]) -> Results:
    count = next(t.shape[0] for t in tokens if t is not None)
    largest = max(t[0].numel() for t in tokens if t is not None) if count else 1
    size = max(16, CHUNK * torch.get_num_threads() // max(1, largest))
    if count <= size:
        return kernel(Blas, *tokens, *shared)
    outs: list[Tensor | None] = []
    sums: list[Tensor] = []
    for start in range(0, count, size):
        piece = (None if t is None else t[start : start + size] for t in tokens)
        found, summed = kernel(Blas, *piece, *shared)
        if not start:
            outs = [None if f is None else f.new_empty(count, *f.shape[1:]) for f in found]
            sums = list(summed)
        else:
            for total, part in zip(sums, summed, strict=True):
                total.add_(part)
        for out, part in zip(outs, found, strict=True):
            if out is not None and part is not None:
                out[start : start + size] = part
    return tuple(outs), tuple(sums)
