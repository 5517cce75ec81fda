"""Stacked gated recurrent units with two streams a layer, under the parameter names of `torch.nn.GRU`, several networks at once.

One step of one small stream leaves a processor idle. `several` runs equal networks (CMD has one a modality) side by side: the products
with the inputs are one product for all steps, those with the states one batched product a step for all streams of all networks, and
the gradients of the recurrent weights one product after the last step. Under autocast the products are in low precision, states and gates in
fp32. On a GPU cuDNN's own recurrence does a stream at a time, in fp32 or TF32 whatever autocast says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Direction = Literal["forward", "both"]
KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class TwoStreamGRU(nn.Module):
    """Layers of two GRUs on the same input, outputs side by side: `(B, T, C)` -> `(B, T, 2 H)`.

    Parameters are those of ``nn.GRU(C, H, layers, batch_first=True, bidirectional=True)``.

    Args:
        inputs: `C`. hidden: `H`. layers: how many.
        direction: ``forward``: both streams run forward in time, also the one whose weights are named ``reverse``; so do published networks
            that step a bidirectional GRU a frame at a time with a carried state (CMD). ``both``: a true bidirectional GRU.

    Raises:
        ValueError: a size below 1 or an unknown direction.
    """

    def __init__(self, inputs: int, hidden: int, layers: int, direction: Direction = "forward"):
        super().__init__()
        if min(inputs, hidden, layers) < 1:
            raise ValueError(f"inputs {inputs}, hidden {hidden}, layers {layers}: expected 1 or more")
        if direction not in get_args(Direction):
            raise ValueError(f"direction {direction!r}: expected one of {', '.join(get_args(Direction))}")
        self.inputs, self.hidden, self.layers, self.direction = inputs, hidden, layers, direction
        for layer in range(layers):
            width = 2 * hidden if layer else inputs
            for stream in ("", "_reverse"):
                for kind, shape in (("ih", (3 * hidden, width)), ("hh", (3 * hidden, hidden))):
                    self.register_parameter(f"weight_{kind}_l{layer}{stream}", nn.Parameter(torch.empty(shape)))
                    self.register_parameter(f"bias_{kind}_l{layer}{stream}", nn.Parameter(torch.empty(3 * hidden)))
        self.initialise()

    def initialise(self) -> None:
        """CMD's: stacked gate matrices Xavier-uniform as one matrix, biases uniform as PyTorch has them."""
        bound = 1 / math.sqrt(self.hidden)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.uniform_(parameter, -bound, bound)

    def weights(self, layer: int) -> list[list[Tensor]]:
        """Of both streams of a layer: input weights `(3 H, C)`, recurrent ones `(3 H, H)` and their biases; gates reset, update, new."""
        return [[getattr(self, f"{kind}_l{layer}{stream}") for kind in KINDS] for stream in ("", "_reverse")]

    def forward(self, x: Tensor) -> Tensor:
        """All steps of the last layer; with ``forward`` the last step has seen everything."""
        return several([self], [x])[0]


def several(networks: Sequence[TwoStreamGRU], xs: Sequence[Tensor]) -> list[Tensor]:
    """Each network on its own input, all of them at once: `(B, T, C)` -> `(B, T, 2 H)`.

    Raises:
        ValueError: networks or inputs of different shapes.
    """
    first = networks[0]
    if len({(n.inputs, n.hidden, n.layers, n.direction) for n in networks}) > 1 or len({x.shape for x in xs}) > 1:
        raise ValueError("networks that run at once must have the same sizes and direction, and inputs of one shape")
    if len(networks) != len(xs):
        raise ValueError(f"{len(networks)} networks for {len(xs)} inputs")
    both = first.direction == "both"
    if xs[0].is_cuda:
        return [_library(network, x, both) for network, x in zip(networks, xs, strict=True)]
    x = torch.stack(list(xs))
    for layer in range(first.layers):
        streams = [network.weights(layer) for network in networks]
        w_in, w_state, b_in, b_state = (
            torch.stack([torch.stack([s[k] for s in pair]) for pair in streams]) for k in range(len(KINDS))
        )
        x = _layer(x, w_in, w_state, b_in, b_state, both)
    return list(x.unbind())


def _library(network: TwoStreamGRU, x: Tensor, both: bool) -> Tensor:
    """PyTorch's recurrence, a stream at a time."""
    # under autocast PyTorch runs cuDNN's in float16, also where bfloat16 was asked for, and unscaled gradients vanish in it
    with torch.autocast(x.device.type, enabled=False):
        x = x.float()
        start = x.new_zeros(1, x.shape[0], network.hidden)
        for layer in range(network.layers):
            outputs = []
            for back, weights in zip((False, both), network.weights(layer), strict=True):
                y, _ = torch.gru(x.flip(1) if back else x, start, weights, True, 1, 0.0, network.training, False, True)
                outputs.append(y.flip(1) if back else y)
            x = torch.cat(outputs, -1)
    return x


def _layer(x: Tensor, w_in: Tensor, w_state: Tensor, b_in: Tensor, b_state: Tensor, both: bool) -> Tensor:
    """`(N, B, T, C)` with the stacked weights of N networks' two streams, `(N, 2, 3 H, ...)` -> `(N, B, T, 2 H)`."""
    n, b, t, c = x.shape
    given = torch.baddbmm(b_in.view(n, 1, -1), x.reshape(n, b * t, c), w_in.flatten(1, 2).transpose(1, 2))
    given = given.view(n, b, t, 2, -1)
    if both:
        given = torch.stack([given[:, :, :, 0], given[:, :, :, 1].flip(2)], 3)
    kind = given.device.type
    low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
    arguments = given.float(), w_state.float(), b_state.float()
    with torch.autocast(kind, enabled=False):
        y = _Recurrence.apply(*arguments, low) if torch.is_grad_enabled() else _recur(*arguments, low, None)
    assert isinstance(y, Tensor)
    forward, reverse = y[1:].unbind(2)  # (T, N, B, H) each
    return torch.cat([forward, reverse.flip(0) if both else reverse], -1).permute(1, 2, 0, 3)


def _recur(given: Tensor, weight: Tensor, bias: Tensor, low: torch.dtype, kept: Tensor | None) -> Tensor:
    """Steps through time.

    Args:
        given: `(N, B, T, 2, 3 H)` what the inputs give to the gates. weight, bias: `(N, 2, 3 H, H)`, `(N, 2, 3 H)` of the state.
        low: precision of the products.
        kept: `(T, N, 2, B, 4 H)` to fill with what the gradient needs: reset, update, new, and the state's part of new; or None.

    Returns:
        States `(T + 1, N, 2, B, H)`, the first is zero.
    """
    n, b, steps, _, width = given.shape
    h = width // 3
    states = given.new_zeros(steps + 1, n, 2, b, h)
    matrix, constant = weight.to(low).flatten(0, 1).transpose(1, 2), bias.to(low).view(2 * n, 1, width)
    scratch = given.new_empty(n, 2, b, 4 * h)
    for t in range(steps):
        own = torch.baddbmm(constant, states[t].flatten(0, 1).to(low), matrix).view(n, 2, b, width)
        at = given[:, :, t].transpose(1, 2)
        gates, new, part = (scratch if kept is None else kept[t]).split([2 * h, h, h], -1)
        reset, update = torch.add(at[..., : 2 * h], own[..., : 2 * h], out=gates).sigmoid_().chunk(2, -1)
        part.copy_(own[..., 2 * h :])
        torch.addcmul(at[..., 2 * h :], reset, part, out=new).tanh_()
        torch.lerp(new, states[t], update, out=states[t + 1])
    return states


class _Recurrence(torch.autograd.Function):
    """`_recur` with its gradient: back through time step by step, the weights' gradient in one product at the end."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, weight: Tensor, bias: Tensor, low: torch.dtype) -> Tensor:
        n, b, steps, _, width = given.shape
        kept = given.new_empty(steps, n, 2, b, 4 * (width // 3))
        states = _recur(given, weight, bias, low, kept)
        ctx.save_for_backward(states, kept, weight)
        ctx.low = low
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[override]
        states, kept, weight = ctx.saved_tensors
        steps, (n, _, b, h) = len(grad) - 1, grad.shape[1:]
        to_given = grad.new_empty(n, b, steps, 2, 3 * h)
        to_own = grad.new_empty(n, 2, steps, b, 3 * h)
        matrix = weight.flatten(0, 1).to(ctx.low)
        carried = torch.zeros_like(grad[0])
        for t in range(steps - 1, -1, -1):
            reset, update, new, part = kept[t].chunk(4, -1)
            carried = carried + grad[t + 1]
            through = carried * update  # what the state before gets directly
            at_new = torch.ops.aten.tanh_backward(carried - through, new)
            own = to_own[:, :, t]
            own[..., :h] = torch.ops.aten.sigmoid_backward(at_new * part, reset)
            own[..., h : 2 * h] = torch.ops.aten.sigmoid_backward(carried * (states[t] - new), update)
            torch.mul(at_new, reset, out=own[..., 2 * h :])
            step = to_given[:, :, t].transpose(1, 2)
            step[..., : 2 * h] = own[..., : 2 * h]
            step[..., 2 * h :] = at_new
            carried = through + torch.bmm(own.flatten(0, 1).to(ctx.low), matrix).view(n, 2, b, h)
        flat = to_own.view(2 * n, steps * b, 3 * h)
        before = states[:-1].permute(1, 2, 0, 3, 4).reshape(2 * n, steps * b, h)
        to_weight = torch.bmm(flat.to(ctx.low).transpose(1, 2), before.to(ctx.low)).float()
        return to_given, to_weight.view(n, 2, 3 * h, h), flat.sum(1).view(n, 2, 3 * h), None
