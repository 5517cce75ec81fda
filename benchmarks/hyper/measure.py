"""What happens inside a network, branch by branch: how alike inputs are, which gradients arrive, and how far the mixing can amplify.

"Collapse" (Zhu et al., sec. 1) is cosines near 1: a layer reads what the one before it read. "Vanishing" is a gradient that shrinks on its way
to the first layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.nn.hyper_connections import HyperConnection
from kinema.nn.transformer import Block


def inside(model: nn.Module, blocks: Iterable[Block], loss: Callable[[], Tensor]) -> dict[str, Any]:
    """Of one batch; leaves neither hooks nor gradients behind.

    Args:
        model: all of it. blocks: its blocks in order, two branches each (attention, MLP).
        loss: one forward pass of `model`, the mean over tokens.

    Returns:
        cosine: `[[5 %, median, 95 %]]` over tokens, between what branches k and k - 1 read, for k = 1, 2, ...
        arriving: per branch, the mean over tokens of the norm of d(loss of all tokens)/d(the branch's output of a token).
        weights: per branch, the norm of the gradient of its weights (those of its norm and connection left out).
        gain: with hyper-connections, the largest row and column sums of |product of all carry matrices|, means over tokens
            (mHC's "amax gain": of the signal forward, of the gradient backward); None without.
    """
    branches = [b for block in blocks for b in ((block.join1, block.norm1, block.attn), (block.join2, block.norm2, block.mlp))]
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    product: list[Tensor] = []

    def read(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs.append(arguments[0].detach())

    def wrote(_: nn.Module, __: Any, output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    @torch.no_grad()
    def carried(join: HyperConnection, arguments: tuple[Any, ...]) -> None:
        streams = arguments[0].unflatten(-1, (join.n, -1)) if join.fractions else arguments[0]
        carry = join.coefficients(streams).carry
        product[:] = [product[0] @ carry if product else carry]

    hooks = []
    for join, norm, branch in branches:
        # after the sum, a post-norm's norm sees more than its branch has read
        hooks += [(branch if join == "postnorm" else norm).register_forward_pre_hook(read), branch.register_forward_hook(wrote)]
        if isinstance(join, HyperConnection):
            hooks.append(join.register_forward_pre_hook(carried))
    try:
        model.zero_grad(set_to_none=True)
        loss().backward()
        tokens = inputs[0].shape[:-1].numel()
        levels = torch.tensor([0.05, 0.5, 0.95], device=inputs[0].device)
        similar = [F.cosine_similarity(a.float(), b.float(), dim=-1).flatten() for a, b in zip(inputs[1:], inputs, strict=False)]
        found = {
            "cosine": [s.quantile(levels).tolist() for s in similar],
            "arriving": [float(tokens * o.grad.float().norm(dim=-1).mean()) for o in outputs],
            "weights": [
                float(torch.stack([p.grad.float().norm() for p in branch.parameters() if p.grad is not None]).norm())
                for _, _, branch in branches
            ],
            "gain": None,
        }
    finally:
        for hook in hooks:
            hook.remove()
        model.zero_grad(set_to_none=True)
    if product:
        size = product[0].abs()
        found["gain"] = {"forward": float(size.sum(-2).amax(-1).mean()), "backward": float(size.sum(-1).amax(-1).mean())}
    return found
