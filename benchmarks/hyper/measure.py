"""What happens inside a network, branch by branch: how alike inputs are, which gradients arrive, and how far the mixing can amplify.

"Collapse" (Zhu et al., sec. 1) is cosines near 1: a layer reads what the one before it read. "Vanishing" is a gradient that shrinks on its way
to the first layers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from kinema.nn.hyper_diagnostics import amax_gain, gradient_norms, layer_input_cosine, record
from kinema.nn.transformer import Block


def inside(model: nn.Module, blocks: Iterable[Block], loss: Callable[[], Tensor]) -> dict[str, Any]:
    """Of one batch; leaves neither hooks nor gradients behind.

    Args:
        model: all of it. blocks: all its blocks in order, two branches each (attention, MLP).
        loss: one forward pass of `model`, the mean over tokens.

    Returns:
        cosine: `[[5 %, median, 95 %]]` over tokens, between what branches k and k - 1 read, for k = 1, 2, ...
        arriving: per branch, the mean over tokens of the norm of d(loss of all tokens)/d(the branch's output of a token).
        weights: per branch, the norm of the gradient of its weights (those of its norm and connection left out).
        gain: with hyper-connections, the largest row and column sums of |product of all carry matrices|, means over tokens
            (mHC's "amax gain": of the signal forward, of the gradient backward); None without.
    """
    found = record(model, call=loss, tokens=sys.maxsize)
    band = layer_input_cosine(found)
    gain = None
    if found.coefficients:
        mixing = amax_gain(found)  # of which the first is the product of all
        gain = {"forward": mixing.forward[0].item(), "backward": mixing.backward[0].item()}
    branches = [branch for block in blocks for branch in (block.attn, block.mlp)]
    try:
        arriving = _arriving(model, branches, loss)
        weights = gradient_norms(model, branches).tolist()
    finally:
        model.zero_grad(set_to_none=True)
    cosine = [list(levels) for levels in zip(band.low.tolist(), band.median.tolist(), band.high.tolist(), strict=True)]
    return {"cosine": cosine, "arriving": arriving, "weights": weights, "gain": gain}


def _arriving(model: nn.Module, branches: list[nn.Module], loss: Callable[[], Tensor]) -> list[float]:
    """Of each branch; the gradients of the weights stay. `hyper_diagnostics` has no such measure: it runs without gradients."""
    outputs: list[Tensor] = []

    def wrote(_: nn.Module, __: Any, output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    hooks = [branch.register_forward_hook(wrote) for branch in branches]
    try:
        model.zero_grad(set_to_none=True)
        loss().backward()
    finally:
        for hook in hooks:
            hook.remove()
    tokens = outputs[0].shape[:-1].numel()
    return [float(tokens * o.grad.float().norm(dim=-1).mean()) for o in outputs]
