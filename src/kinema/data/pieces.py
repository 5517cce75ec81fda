"""Which part of each clip goes into a batch: a crop resized to a fixed number of frames, or frames as they are, padded with zeros."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import UserError
from .augment import Draws, crop_resize


@dataclass(frozen=True)
class Crop:
    """Which part of a clip of `n` frames is taken, before it is resized (MAMP's rule; CMD pretrains with low 0.1).

    Training: p in U(low, high), length min(max(floor(n p), minimum), n), start uniform in 0 to n - length.
    Evaluation: the middle `evaluation` of the clip, int((1 - evaluation) n / 2) frames cut off at each end.
    """

    low: float = 0.5
    high: float = 1.0
    minimum: int = 64
    evaluation: float = 0.95

    def __post_init__(self) -> None:
        if not (0 <= self.low <= self.high <= 1 and 0 < self.evaluation <= 1 and self.minimum >= 1):
            raise UserError(
                f"low {self.low}, high {self.high}, minimum {self.minimum}, evaluation {self.evaluation}: "
                "expected 0 <= low <= high <= 1, minimum >= 1 and 0 < evaluation <= 1"
            )

    def length(self, frames: Tensor, share: Tensor) -> Tensor:
        """`(B,)` int64 length of the piece for the drawn share p of clips of `frames` `(B,)`."""
        return torch.minimum((frames * share).floor().long().clamp(min=self.minimum), frames)

    def draw(self, frames: Tensor, step: Draws, purpose: str = "crop") -> tuple[Tensor, Tensor]:
        """`(B,)` random starts and lengths for clips of `frames` `(B,)`."""
        length = self.length(frames, step.uniform(f"{purpose}.share", (len(frames),), self.low, self.high).to(frames.device))
        room = frames - length
        start = (step.uniform(f"{purpose}.start", (len(frames),)).to(frames.device) * (room + 1)).long()
        return torch.minimum(start, room), length

    def middle(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """`(B,)` starts and lengths of the evaluation crop."""
        bias = ((1 - self.evaluation) * frames.double() / 2).long()
        return bias, frames - 2 * bias

    def cut(self, flat: Tensor, starts: Tensor, lengths: Tensor, frames: int, step: Draws | None) -> Tensor:
        """Crops `(B, frames, M, J, C)` of the clips that begin at `starts` `(B,)` of `flat` `(N, M, J, C)`; `step` None: evaluation."""
        start, length = self.middle(lengths) if step is None else self.draw(lengths, step)
        return crop_resize(flat, starts + start, length, frames)


@dataclass(frozen=True)
class Window:
    """Which frames of a clip are taken. Clips of a batch are padded with zeros to the longest of them.

    Attributes:
        frames: at most so many; a shorter clip is taken whole.
        take: of a longer clip ``first``: the first ones; ``run``: as many in a row, from anywhere in training and from the middle in
            evaluation; ``spread``: one of each of `frames` equal stretches, any in training and the middle one in evaluation.
    """

    frames: int = 300
    take: Literal["first", "run", "spread"] = "first"

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise UserError(f"frames {self.frames}: expected 1 or more")

    def places(self, lengths: Tensor, longest: int, step: Draws | None, purpose: str = "window") -> tuple[Tensor, Tensor]:
        """Frames `(B, longest)` int64 of clips of `lengths` `(B,)`, and `(B, longest)` bool: False is padding.

        Args:
            lengths: frames of each clip. longest: `T` of the batch. step: of training; None: evaluation.
        """
        kept = lengths.clamp(max=self.frames)[:, None]
        place = torch.arange(longest, device=lengths.device).expand(len(lengths), -1)
        if self.take == "run":
            room = lengths[:, None] - kept
            share = 0.5 if step is None else step.uniform(purpose, (len(lengths), 1)).to(lengths.device).double()
            place = place + torch.minimum(((room + 1) * share).long(), room)
        elif self.take == "spread":
            total = lengths[:, None]
            if step is None:
                place = (2 * place + 1) * total // (2 * kept)
            else:
                # drawn for the longest batch that there may be, so that a clip's frames do not depend on what it is batched with
                within = step.uniform(purpose, (len(lengths), self.frames)).to(lengths.device)[:, :longest].double()
                # of whole frames, so that no frame is in two stretches
                start, end = place * total // kept, (place + 1) * total // kept
                place = start + (within * (end - start)).long()
        real = torch.arange(longest, device=lengths.device) < kept
        return place * real, real

    def cut(self, flat: Tensor, starts: Tensor, lengths: Tensor, frames: int, step: Draws | None) -> Tensor:
        """As `Crop.cut`, with zeros after a clip's end; `frames`: of the longest clip of the batch."""
        places, real = self.places(lengths, frames, step)
        return flat[starts[:, None] + places] * real[..., None, None, None]
