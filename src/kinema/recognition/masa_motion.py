"""What moves in a clip of a signer, which frames are hidden because of it, and how well the motion is predicted (MASA, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .masa_batch import Parts, SignBatch
from .masa_prepare import CANVAS


@dataclass(frozen=True)
class MotionConfig:
    """What counts as motion; the defaults are those of the published code, `paper` has the paper's.

    Attributes:
        stride: frames between the two ends of a motion.
        threshold: pixels (of 256) above which a coordinate, or with `share` a joint, moves.
        direction: ``positive``: only coordinates that grow move, as in the code; ``both``.
        candidate: a frame may be hidden if ``count``: more than one coordinate moves, however confident; ``share``: at least `share` of
            the joints move and are confident at both ends (their motion is its length); ``any``: always, whatever moves (no part of MASA:
            what its motion-aware mask is measured against).
        share: see `candidate`.
        target: what is predicted: ``motion``; or ``position``, pixels of the frame itself (no part of MASA, likewise).
        confident: a joint is confident above this.
        hide: share of the candidates that the query does not see. hide_key: share of all frames that are hidden from the key: of each
            ``part`` other ones, so that it sees an eighth of the frames whole; or whole frames (``frame``).
    """

    stride: int = 3
    threshold: float = 3.0
    direction: Literal["positive", "both"] = "positive"
    candidate: Literal["count", "share", "any"] = "count"
    share: float = 0.5
    target: Literal["motion", "position"] = "motion"
    confident: float = 0.5
    hide: float = 0.9
    hide_key: float = 0.5
    hide_key_by: Literal["part", "frame"] = "part"

    def __post_init__(self) -> None:
        if self.stride < 1 or not self.threshold >= 0:
            raise ValueError(f"stride {self.stride}, threshold {self.threshold}: expected 1 frame or more, and 0 pixels or more")
        for name in ("share", "confident", "hide", "hide_key"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)}: expected 0 to 1")

    @classmethod
    def paper(cls) -> MotionConfig:
        """As the paper has it."""
        return cls(threshold=5.0, direction="both", candidate="share", confident=0.4, hide_key_by="frame")


@dataclass(frozen=True, eq=False)
class Motion:
    """The motion of one part.

    Attributes:
        residual: `(B, T, J, 2)` pixels (of 256) that a coordinate moves in `stride` frames; 0 in a clip's last `stride` frames and after.
            With the target ``position``: where it is.
        weight: `(B, T, J, 2)` product of the confidences at both ends where the coordinate moves, else 0. With the target ``position``:
            the confidence.
        both: `(B, T, J)` bool, the joint is confident at both ends (or where it is).
        candidate: `(B, T)` bool, the frame may be hidden.
    """

    residual: Tensor
    weight: Tensor
    both: Tensor
    candidate: Tensor


def motion_of(coordinates: Tensor, confidence: Tensor, lengths: Tensor, config: MotionConfig) -> Motion:
    """The motion of a part: `(B, T, J, 2)` 0 to 1, `(B, T, J)`, `(B,)`."""
    stride, frames = config.stride, coordinates.shape[1]
    start = torch.arange(frames, device=coordinates.device)
    ended = start + stride >= lengths[:, None]

    def later(x: Tensor) -> Tensor:
        return torch.cat([x[:, stride:], torch.zeros_like(x[:, :stride])], 1)

    pixels = coordinates * CANVAS
    residual = (later(pixels) - pixels).masked_fill(ended[..., None, None], 0)
    size = residual if config.direction == "positive" else residual.abs()
    moves = size > config.threshold
    weight = (confidence * later(confidence))[..., None] * moves
    sure = confidence > config.confident
    both = (sure & later(sure)).masked_fill(ended[..., None], False)
    if config.candidate == "any":
        candidate = start < lengths[:, None]
    elif config.candidate == "count":
        candidate = moves.sum((2, 3)) > 1
    else:
        travelled = residual.clamp(min=0) if config.direction == "positive" else residual
        moving = both & (travelled.square().sum(-1) > config.threshold**2)
        candidate = moving.sum(2) >= config.share * moving.shape[2]
    if config.candidate != "any":
        candidate = candidate & ~ended
    if config.target == "position":
        return Motion(pixels, confidence[..., None].expand_as(pixels), sure, candidate)
    return Motion(residual, weight, both, candidate)


def motions(batch: SignBatch, config: MotionConfig) -> tuple[Motion, Motion, Motion]:
    """Of right hand, left hand and body."""
    right, left, body = (motion_of(x, c, batch.lengths, config) for x, c in zip(batch.coordinates, batch.confidence, strict=True))
    return right, left, body


def hide(candidate: Tensor, share: float, draws: Tensor) -> Tensor:
    """`(B, T)` bool: for each row `int(share n)` of its `n` candidates `(B, T)`, those with the smallest draws `(B, T)`."""
    order = draws.masked_fill(~candidate, torch.inf).argsort(dim=1, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    count = (candidate.sum(1, keepdim=True).double() * share).long()  # double: int(0.9 * n) as Python has it
    return rank < count


def hide_parts(candidates: Parts, share: float, draws: Tensor) -> Parts:
    """`hide` for each part by itself; `draws`: `(B, 3, T)` or longer, so that they do not depend on how far a batch is padded."""
    frames = candidates.right.shape[1]
    return Parts(*(hide(c, share, draws[:, i, :frames]) for i, c in enumerate(candidates)))


def prediction_loss(predicted: Tensor, motion: Motion, hidden: Tensor, form: Literal["l1", "l2"]) -> Tensor:
    """How far predictions `(B, T, J, 2)` are from the motion of hidden frames `(B, T)`.

    ``l1``, the code's: ten times the absolute error, weighted by confidence and only where a coordinate moves, over the number of hidden
    joints (not coordinates) and one. ``l2``, the paper's: the squared error of a hidden frame, summed over the joints that are confident
    at both ends (where others are, nobody knows), mean over hidden frames.
    """
    error = predicted.float() - motion.residual
    frames = hidden.sum()
    if form == "l1":
        joints = predicted.shape[2]
        return 10 * (error.abs() * motion.weight * hidden[..., None, None]).sum() / (frames * joints + 1)
    return (error.square().sum(-1) * motion.both * hidden[..., None]).sum() / frames.clamp(min=1)
