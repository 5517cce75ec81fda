"""Batch normalisation over the whole batch of all processes, on any device (PyTorch's own needs a GPU)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _Sum(torch.autograd.Function):
    """A sum over processes whose gradient is one too: each process's statistics reach the losses of all."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        total = grad.clone()
        distributed.all_reduce(total)
        return total


class SharedBatchNorm(_BatchNorm):
    """A batch norm whose statistics in training are those of the rows of all processes: `(B, C)` or `(B, C, ...)` -> the same shape.

    Processes may have different numbers of rows. Gradients are those of one process with the whole batch, if the losses are averaged
    over processes as distributed data-parallel training does. In evaluation, and where no process group runs, it is what it was.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm of {tuple(input.shape)}: expected (B, C, ...)")

    def forward(self, input: Tensor) -> Tensor:
        """Normalises, and in training moves the running statistics."""
        self._check_input_dim(input)
        own = self.training or self.running_mean is None
        if not (own and distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
            return super().forward(input)
        axes = [0, *range(2, input.ndim)]
        wide = input.float()
        count = input.new_full((1,), input.numel() / input.shape[1], dtype=torch.float32)
        total, rows = _Sum.apply(torch.cat([wide.sum(axes), count])).split([input.shape[1], 1])
        mean = total / rows
        shape = (1, -1, *[1] * (input.ndim - 2))
        centred = wide - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / rows
        if self.training and self.running_mean is not None and self.running_var is not None:
            self._move(mean.detach(), (variance * rows / (rows - 1).clamp(min=1)).detach())
        y = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(input.dtype)

    @torch.no_grad()
    def _move(self, mean: Tensor, variance: Tensor) -> None:
        """Running statistics towards those of this batch, as PyTorch does."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean += share * (mean - self.running_mean)
        self.running_var += share * (variance - self.running_var)


def share_statistics(module: nn.Module) -> None:
    """Every batch norm in a module becomes a `SharedBatchNorm`, in place; parameters, buffers and their names stay.

    The class is swapped, so that optimisers and checkpoints keep what they refer to.
    """
    for child in module.modules():
        if isinstance(child, _BatchNorm) and not isinstance(child, SharedBatchNorm | nn.SyncBatchNorm):
            child.__class__ = SharedBatchNorm
