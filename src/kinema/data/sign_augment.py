"""Batched changes of signers' poses on the device, where confidences come with coordinates.

Positions are `(B, T, 1, 49, 3)`: x, y, confidence of `SIGN49` as MASA's preparation leaves them, so that a left hand is seen as a right
one. A joint without confidence is not there and stays zero. None of this is published with MASA, which augments nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError
from ..motion.keypoints import SIGN49, SIGN49_BODY, SIGN49_LEFT, SIGN49_RIGHT
from .augment import Draws


def _check(positions: Tensor, name: str) -> None:
    if positions.shape[2:] != (1, len(SIGN49), 3):
        shape = tuple(positions.shape)
        raise UserError(f"{name}: positions {shape}; expected (B, T, 1, {len(SIGN49)}, 3), signers with confidences. Leave it out")


@dataclass(frozen=True)
class SwapHands:
    """The signer as a mirror shows them, with probability `p` a clip: the hands change places and the body turns over.

    Raises:
        UserError: not poses of signers with confidences.
    """

    p: float = 0.5
    purpose: str = "swap_hands"

    def __call__(self, positions: Tensor, step: Draws) -> Tensor:
        """`(B, T, 1, 49, 3)` -> the same shape."""
        _check(positions, "SwapHands")
        chosen = (step.uniform(self.purpose, (len(positions),)) < self.p).to(positions.device)
        return torch.where(chosen[:, None, None, None, None], swapped(positions), positions)


def swapped(positions: Tensor) -> Tensor:
    """`(B, T, 1, 49, 3)` -> the same shape, mirrored; twice is what it was."""
    order = torch.tensor(SIGN49.mirror()).to(positions.device, non_blocking=True)
    turned = positions.index_select(-2, order)
    x, _, confidence = turned[..., SIGN49_BODY, :].unbind(-1)
    x.copy_(torch.where(confidence > 0, 1 - x, x))
    return turned


@dataclass(frozen=True)
class JitterParts:
    """Each hand within its box and the body within the image, the same through a clip, is turned, stretched and shifted.

    Attributes:
        angle: up to so many radians either way. stretch: each axis by a factor in 1 - stretch to 1 + stretch.
        shift: each axis by up to this share of the box or image.

    Raises:
        UserError: not poses of signers with confidences.
    """

    angle: float = 0.2
    stretch: float = 0.1
    shift: float = 0.05
    purpose: str = "jitter_parts"

    def __call__(self, positions: Tensor, step: Draws) -> Tensor:
        """`(B, T, 1, 49, 3)` -> the same shape."""
        _check(positions, "JitterParts")
        draws = step.uniform(self.purpose, (len(positions), 3, 5), -1, 1).to(positions)
        # one row of draws for each joint of its part, without an index that a GPU would be waited for
        sizes = [part.stop - part.start for part in (SIGN49_LEFT, SIGN49_RIGHT, SIGN49_BODY)]
        each = [row.expand(-1, size, -1) for row, size in zip(draws.split(1, 1), sizes, strict=True)]
        draws = torch.cat(each, 1)[:, None, None]
        cos, sin = (draws[..., 0] * self.angle).cos(), (draws[..., 0] * self.angle).sin()
        x, y, confidence = positions.unbind(-1)
        u, v = (x - 0.5) * (1 + self.stretch * draws[..., 1]), (y - 0.5) * (1 + self.stretch * draws[..., 2])
        x, y = cos * u - sin * v + 0.5 + self.shift * draws[..., 3], sin * u + cos * v + 0.5 + self.shift * draws[..., 4]
        there = confidence > 0
        return torch.stack([x * there, y * there, confidence], -1)
