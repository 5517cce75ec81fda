"""Batches of signers for MASA: three parts of the body, each with coordinates and confidences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..motion.keypoints import SIGN49_BODY, SIGN49_LEFT, SIGN49_RIGHT
from .masa_prepare import BODY, HAND

JOINTS = 2 * HAND + BODY


class Parts(NamedTuple):
    """Something of each part of the body; the left hand is mirrored, so that both hands look alike."""

    right: Tensor
    left: Tensor
    body: Tensor


@dataclass(frozen=True, eq=False)
class SignBatch:
    """Clips of signers, padded with zeros to the longest.

    Attributes:
        right, left: `(B, T, 21, 2)` float32 coordinates of the hands, 0 to 1 within their boxes. body: `(B, T, 7, 2)`, within the image.
        right_confidence, left_confidence: `(B, T, 21)` float32. body_confidence: `(B, T, 7)`. Zero: the joint is not there.
        lengths: `(B,)` int64 frames of each clip before the padding.
    """

    right: Tensor
    left: Tensor
    body: Tensor
    right_confidence: Tensor
    left_confidence: Tensor
    body_confidence: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def frames(self) -> int:
        """`T`."""
        return self.right.shape[1]

    @property
    def coordinates(self) -> Parts:
        """`(B, T, J, 2)` of each part."""
        return Parts(self.right, self.left, self.body)

    @property
    def confidence(self) -> Parts:
        """`(B, T, J)` of each part."""
        return Parts(self.right_confidence, self.left_confidence, self.body_confidence)

    @property
    def real(self) -> Tensor:
        """`(B, T)` bool: not padding."""
        return torch.arange(self.frames, device=self.lengths.device) < self.lengths[:, None]

    @classmethod
    def of_positions(cls, x: Tensor) -> SignBatch:
        """`(B, T, 1, 49, 3)`: x, y and confidence of `SIGN49`; a clip ends with its last frame in which a joint is there.

        Raises:
            ValueError: another shape.
        """
        if x.ndim != 5 or x.shape[2:] != (1, JOINTS, 3):
            raise ValueError(f"positions {tuple(x.shape)}: expected (B, T, 1, {JOINTS}, 3), the last x, y and confidence")
        t = x.shape[1]
        right, left, body = (x[:, :, 0, joints] for joints in (SIGN49_RIGHT, SIGN49_LEFT, SIGN49_BODY))
        places = torch.arange(1, t + 1, device=x.device)
        lengths = ((x[:, :, 0, :, 2] > 0).any(2) * places).amax(1).clamp(min=1)
        return cls(
            right=right[..., :2],
            left=left[..., :2],
            body=body[..., :2],
            right_confidence=right[..., 2],
            left_confidence=left[..., 2],
            body_confidence=body[..., 2],
            lengths=lengths,
        )
