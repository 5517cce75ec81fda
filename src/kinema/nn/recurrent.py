"""Stacked gated recurrent units with two streams a layer, under the parameter names of `torch.nn.GRU`."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

Direction = Literal["forward", "both"]


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
        self.hidden, self.layers, self.direction = hidden, layers, direction
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

    def forward(self, x: Tensor) -> Tensor:
        """All steps of the last layer; with ``forward`` the last step has seen everything."""
        start = x.new_zeros(1, x.shape[0], self.hidden)
        for layer in range(self.layers):
            streams = []
            for stream in ("", "_reverse"):
                back = stream == "_reverse" and self.direction == "both"
                names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                weights = [getattr(self, f"{name}_l{layer}{stream}") for name in names]
                y, _ = torch.gru(x.flip(1) if back else x, start, weights, True, 1, 0.0, self.training, False, True)
                streams.append(y.flip(1) if back else y)
            x = torch.cat(streams, -1)
        return x
