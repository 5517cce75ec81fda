"""Streams that are rebuilt in the backward pass instead of kept from the forward pass.

Between branches, all streams follow from the first of a segment, the branches' outputs and the coefficients, by cheap weighted sums. With
``recompute=L`` only every `L`-th streams tensor is kept. Of the others, the backward functions of their readers know the node of the
autograd graph that wrote them, and ask it to write them again; the node keeps what it rebuilt until its own turn in the backward pass, when
all readers are done. Gradients are the same to the bit, because the same kernel runs on the same numbers.

A node here is the context of `hyper_ops.write`'s autograd function. It has `level` (how many writes since streams that were kept; 0 if
those it returns are kept), `shape` (theirs), `source` (the node that wrote its own streams, if those are not kept), and, while a backward
pass needs them, `inputs` and `rebuilt`. References go from later nodes to earlier ones alone, as in the graph itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_VIEWS = ("ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "PermuteBackward0", "TransposeBackward0")
"""What reorders a tensor's axes or splits and joins them, all of its numbers staying where they are."""


def source_of(streams: Tensor) -> Any | None:
    """The node that can write these streams again, or None: they must be kept.

    Looks through views that undo one another (features moved last that had been moved away: same storage, same shape, no gaps), and through
    a reader that handed on the streams that it was given.
    """
    if torch.compiler.is_compiling():
        return None
    node, at = streams.grad_fn, streams.output_nr
    while node is not None and node.name() in _VIEWS:
        node, at = node.next_functions[0]
    if node is None or streams._version:  # changed in place, which without gradients leaves no trace in the graph
        return None
    if node is not streams.grad_fn and not (streams.is_contiguous() and streams.shape == getattr(node, "shape", None)):
        return None
    if getattr(node, "level", 0):
        return node
    return node.source if getattr(node, "through", None) == at else None  # type: ignore[attr-defined]


def level_after(source: Any | None, every: int) -> int:
    """The level of a node whose own streams come from `source`. In a compiled model 0, and that is said once."""
    if every < 2:
        return 0
    if torch.compiler.is_compiling():
        from .hyper_tracing import level  # traced models alone: it imports the compiler, which is slow and by then is there

        return level()
    return (1 + (source.level if source is not None else 0)) % every


def keep(ctx: Any, source: Any | None, streams: Tensor, *others: Tensor | None) -> None:
    """Saves for backward; streams that `source` can write again are left out."""
    ctx.source = source
    ctx.save_for_backward(None if source is not None else streams, *others)


def kept(ctx: Any, forward: Callable[..., Tensor]) -> tuple[Any, ...]:
    """What `keep` was given; `forward` is what a node does: streams, output, carry and gains -> streams."""
    streams, *others = ctx.saved_tensors
    return (streams if ctx.source is None else rebuild(ctx.source, forward), *others)


def inputs(node: Any, forward: Callable[..., Tensor]) -> tuple[Any, ...]:
    """Of a node. Unpacked once, because under `torch.utils.checkpoint` that is the only time."""
    if node.inputs is None:
        node.inputs = kept(node, forward)
    return node.inputs


def rebuild(node: Any, forward: Callable[..., Tensor]) -> Tensor:
    """The streams that a node returned."""
    if node.rebuilt is None:
        with torch.no_grad():
            node.rebuilt = forward(*inputs(node, forward))
    return node.rebuilt
