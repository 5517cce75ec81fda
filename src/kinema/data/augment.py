"""Batched changes of motion on the device: resampling, augmentation, and the bone and motion modalities.

Positions are `(B, T, M, J, C)`; there is no loop over rows and no wait for the device. A person or joint that is absent (zero)
stays zero. An augmentation is a small frozen description that is called with the batch and the step; all its draws come from the
step, under its `purpose`, so that a step can be replayed alone and two views of a clip differ by their purposes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..errors import UserError


class Draws(Protocol):
    """What of a training step is used here: random draws `(B, ...)` for the `B` rows at hand."""

    def uniform(self, purpose: str, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform draws in [low, high)."""
        ...

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Standard normal draws."""
        ...


class Augmentation(Protocol):
    """Anything that changes a batch with the draws of a step."""

    def __call__(self, positions: Tensor, step: Draws) -> Tensor:
        """`(B, T, M, J, C)` -> the same shape."""
        ...


def crop_resize(flat: Tensor, starts: Tensor, lengths: Tensor, frames: int) -> Tensor:
    """Cuts a piece out of each row's clip and resamples it linearly in time.

    Half-pixel centres, as `torch.nn.functional.interpolate(mode="linear", align_corners=False)`.

    Args:
        flat: `(sum of T, ...)` frames of all clips end to end.
        starts: `(B,)` int64 first frame of each piece in `flat`.
        lengths: `(B,)` int64 frames of each piece, >= 1.
        frames: `T` of the result.

    Returns:
        `(B, frames, ...)`.
    """
    scale = (lengths.to(torch.float32) / frames)[:, None]
    # rounded to float32 once at the end, as the library's fused arithmetic does; in a long clip a second rounding is visible
    exact = torch.float32 if flat.device.type == "mps" else torch.float64
    centres = torch.arange(frames, device=flat.device, dtype=exact) + 0.5
    place = (centres * scale.to(exact) - 0.5).to(torch.float32).clamp_(min=0)
    last = lengths[:, None] - 1
    # rounding may push the last place beyond the last frame by an ulp
    left = torch.minimum(place.long(), last)
    weight = (place - left).clamp_(0, 1).to(flat.dtype).reshape(*left.shape, *[1] * (flat.ndim - 1))
    right = torch.minimum(left + 1, last)
    first = starts[:, None]
    return flat[first + left] * (1 - weight) + flat[first + right] * weight


def rotation(angles: Tensor) -> Tensor:
    """`(B, 3)` angles about x, y, z in radians -> `(B, 3, 3)` matrices Rz Ry Rx, which turn clockwise as MAMP and CMD have it."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    one, zero = torch.ones_like(cx), torch.zeros_like(cx)

    def matrix(*rows: Tensor) -> Tensor:
        return torch.stack(rows, -1).unflatten(-1, (3, 3))

    x = matrix(one, zero, zero, zero, cx, sx, zero, -sx, cx)
    y = matrix(cy, zero, -sy, zero, one, zero, sy, zero, cy)
    z = matrix(cz, sz, zero, -sz, cz, zero, zero, zero, one)

    def product(a: Tensor, b: Tensor) -> Tensor:
        # not matmul: its precision may be reduced (TF32), and its rounding may depend on the size of the batch
        return (a[..., None] * b[..., None, :, :]).sum(-2)

    return product(product(z, y), x)


def transform(positions: Tensor, matrices: Tensor) -> Tensor:
    """Applies to each row its own `(B, C, C)` matrix, about the origin, to all frames, people and joints.

    Raises:
        UserError: the positions have another number of coordinates.
    """
    axes = matrices.shape[-1]
    if positions.shape[-1] != axes:
        raise UserError(f"positions have {positions.shape[-1]} coordinates; rotation needs {axes}. Leave it out for 2D poses")
    columns = matrices.to(positions).reshape(-1, *[1] * (positions.ndim - 2), axes, axes).unbind(-1)
    first, *others = (positions[..., i : i + 1] * column for i, column in enumerate(columns))
    return sum(others, first)


def mirrored(positions: Tensor, order: Sequence[int]) -> Tensor:
    """Left and right exchanged (`order` is `Skeleton.mirror()`) and x negated."""
    sign = torch.ones(positions.shape[-1], device=positions.device, dtype=positions.dtype)
    sign[0] = -1
    return positions[..., _index(order, positions.device), :] * sign


def bone(positions: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """The bone modality of `(..., J, C)`: joint minus parent for the `pairs` of `Skeleton.bone_pairs()`; other joints are zero."""
    children, parents = [c for c, _ in pairs], [p for _, p in pairs]
    result = torch.zeros_like(positions)
    difference = positions[..., _index(children, positions.device), :] - positions[..., _index(parents, positions.device), :]
    result[..., _index(children, positions.device), :] = difference
    return result


def motion(positions: Tensor) -> Tensor:
    """The motion modality of `(B, T, ...)`: next frame minus this one, the last frame zero."""
    return torch.cat([positions[:, 1:] - positions[:, :-1], torch.zeros_like(positions[:, :1])], 1)


def _index(order: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor(order, dtype=torch.int64).to(device, non_blocking=True)


def _rows(values: Tensor, positions: Tensor) -> Tensor:
    """`(B,)` draws on the device of the positions, shaped to multiply them."""
    return values.to(positions.device).reshape(-1, *[1] * (positions.ndim - 1))


@dataclass(frozen=True)
class Rotate:
    """One random rotation a clip: three angles in U(-angle, angle) radians, R = Rz Ry Rx (MAMP: 0.3)."""

    angle: float = 0.3
    purpose: str = "rotate"

    def __call__(self, positions: Tensor, step: Draws) -> Tensor:
        """`(B, T, M, J, 3)` -> the same shape."""
        angles = step.uniform(self.purpose, (len(positions), 3), -self.angle, self.angle)
        return transform(positions, rotation(angles.to(positions.device)))


@dataclass(frozen=True)
class Yaw:
    """One random turn about the vertical axis a clip, in U(-angle, angle) radians."""

    angle: float = math.pi
    purpose: str = "yaw"

    def __call__(self, positions: Tensor, step: Draws) -> Tensor:
        """`(B, T, M, J, 3)` -> the same shape."""
        turn = step.uniform(self.purpose, (len(positions),), -self.angle, self.angle).to(positions.device)
        return transform(positions, rotation(torch.stack([torch.zeros_like(turn), turn, torch.zeros_like(turn)], -1)))


@dataclass(frozen=True)
class Mirror:
    """Left and right exchanged in a clip with probability `p`; `order` is `Skeleton.mirror()`."""

    order: tuple[int, ...]
    p: float = 0.5
    purpose: str = "mirror"

    def __call__(self, positions: Tensor, step: Draws) -> Tensor:
        """`(B, T, M, J, C)` -> the same shape."""
        chosen = _rows(step.uniform(self.purpose, (len(positions),)) < self.p, positions)
        return torch.where(chosen, mirrored(positions, self.order), positions)


@dataclass(frozen=True)
class Shear:
    """One random shear a clip with probability `p`: a matrix with diagonal 1 and the rest in U(-beta, beta)."""

    beta: float = 0.5
    p: float = 1.0
    purpose: str = "shear"

    def __call__(self, positions: Tensor, step: Draws) -> Tensor:
        """`(B, T, M, J, C)` -> the same shape."""
        rows, axes = len(positions), positions.shape[-1]
        matrices = step.uniform(self.purpose, (rows, axes, axes), -self.beta, self.beta).to(positions.device)
        one = torch.eye(axes, device=positions.device)
        chosen = _rows(step.uniform(f"{self.purpose}.chosen", (rows,)) < self.p, matrices)
        return transform(positions, torch.where(chosen, matrices * (1 - one) + one, one))


@dataclass(frozen=True)
class CorruptJoints:
    """CMD's joint corruption: in each clip `count` joints, in all frames and people, are zero or turned by a random matrix.

    Which of the two is a fair coin a clip; the matrix has entries U(-1, 1) and is applied to row vectors, ``p C``. With probability `p`
    a clip is corrupted at all.

    Raises:
        UserError: `count` is more than the joints.
    """

    count: int = 15
    p: float = 1.0
    purpose: str = "corrupt"

    def __call__(self, positions: Tensor, step: Draws) -> Tensor:
        """`(B, T, M, J, C)` -> the same shape."""
        rows, joints, axes = len(positions), positions.shape[3], positions.shape[4]
        if not 0 <= self.count <= joints:
            raise UserError(f"CorruptJoints: count {self.count}, but there are {joints} joints")
        order = step.uniform(f"{self.purpose}.joints", (rows, joints)).argsort(1).argsort(1)
        zero = step.uniform(f"{self.purpose}.zero", (rows,)) < 0.5
        chosen = step.uniform(f"{self.purpose}.chosen", (rows,)) < self.p
        matrices = step.uniform(self.purpose, (rows, axes, axes), -1, 1).to(positions.device)
        hit = ((order < self.count) & chosen[:, None]).to(positions.device)[:, None, None, :, None]
        # `transform` takes matrices for column vectors
        changed = transform(positions, matrices.transpose(1, 2) * _rows(~zero, matrices))
        return torch.where(hit, changed, positions)


@dataclass(frozen=True)
class ShearOrCorrupt:
    """CMD's spatial augmentation of a view: with probability `p` either shear (`beta` 1) or joint corruption, by a fair coin."""

    p: float = 0.5
    beta: float = 1.0
    joints: int = 15
    purpose: str = "spatial"

    def __call__(self, positions: Tensor, step: Draws) -> Tensor:
        """`(B, T, M, J, C)` -> the same shape."""
        rows = len(positions)
        sheared = Shear(self.beta, purpose=f"{self.purpose}.shear")(positions, step)
        corrupted = CorruptJoints(self.joints, purpose=f"{self.purpose}.corrupt")(positions, step)
        coin = _rows(step.uniform(f"{self.purpose}.which", (rows,)) < 0.5, positions)
        chosen = _rows(step.uniform(f"{self.purpose}.chosen", (rows,)) < self.p, positions)
        return torch.where(chosen, torch.where(coin, sheared, corrupted), positions)


@dataclass(frozen=True)
class JointDrop:
    """Each joint of a clip is zero in all frames and people with probability `p`."""

    p: float = 0.1
    purpose: str = "joint_drop"

    def __call__(self, positions: Tensor, step: Draws) -> Tensor:
        """`(B, T, M, J, C)` -> the same shape."""
        kept = step.uniform(self.purpose, (len(positions), positions.shape[3])) >= self.p
        return positions * kept.to(positions.device)[:, None, None, :, None]


@dataclass(frozen=True)
class Noise:
    """Normal noise of standard deviation `std` (in the units of the positions) on every coordinate of every present joint."""

    std: float = 0.01
    purpose: str = "noise"

    def __call__(self, positions: Tensor, step: Draws) -> Tensor:
        """`(B, T, M, J, C)` -> the same shape."""
        noise = step.normal(self.purpose, tuple(positions.shape)).to(positions.device)
        return positions + self.std * noise * (positions != 0).any(-1, keepdim=True)


@dataclass(frozen=True)
class Scale:
    """One random factor in U(low, high) a clip."""

    low: float = 0.9
    high: float = 1.1
    purpose: str = "scale"

    def __call__(self, positions: Tensor, step: Draws) -> Tensor:
        """`(B, T, M, J, C)` -> the same shape."""
        return positions * _rows(step.uniform(self.purpose, (len(positions),), self.low, self.high), positions)
