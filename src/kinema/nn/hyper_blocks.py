"""What a block becomes in `hyperize`: an object of its own class's subclass, which takes and gives streams.

The class is swapped rather than the module, so that names of parameters stay, a checkpoint of the plain network still loads, and
whatever asks for the block's class (checkpointing, sharding, hooks on layers of a class) finds it.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .hyper_adapters import Adapter
from .hyper_connections import HyperConnections


@dataclass(frozen=True)
class Place:
    """Where a block stands in its run of blocks.

    Attributes:
        name: dotted name and class, for messages. how: the connections of the run. dim, channel_dim: width and axis of features.
        first, last: whether streams enter, or leave, here.
    """

    name: str
    how: HyperConnections
    dim: int
    channel_dim: int
    first: bool
    last: bool

    def enter(self, x: Tensor) -> Tensor:
        """`(..., D)` -> `(..., n, D)` in the first block."""
        if not self.first:
            return x
        if x.is_nested:
            raise ValueError(f"{self.name}: got a nested tensor, expected a padded one with a mask")
        if x.ndim <= self.channel_dim or x.shape[self.channel_dim] != self.dim:
            raise ValueError(f"{self.name}: got {tuple(x.shape)}, expected {self.dim} features on axis {self.channel_dim}")
        return self.how.expand(x, self.channel_dim)

    def leave(self, streams: Tensor) -> Tensor:
        """`(..., n, D)` -> `(..., D)` after the last block."""
        return self.how.collapse(streams, self.channel_dim) if self.last else streams


class HyperBlock(nn.Module):
    """Mixed into a block's class by `hyper_class`: calls its branches, or the whole block, between streams.

    The first block of a run takes `(..., D)` and the last one gives it; between blocks streams are `(..., n, D)`.
    """

    adapter: ClassVar[Adapter | None]
    """Its branches; None for the block as a whole, as the branch ``block(x) - x``."""
    base: ClassVar[type[nn.Module]]
    stream_name: ClassVar[str]

    hyper: nn.ModuleList
    hyper_place: Place

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The block's own arguments and results, with streams in place of the first of them."""
        if args:
            x, args = args[0], args[1:]
        elif self.stream_name in kwargs:
            x = kwargs.pop(self.stream_name)
        else:
            raise TypeError(f"{self.hyper_place.name}: forward() misses {self.stream_name!r}")
        streams = self.hyper_place.enter(x)
        if self.adapter is not None:
            streams, extras = _split(self.adapter.forward(self, self.hyper, streams, *args, **kwargs), self.hyper_place.name)
        else:
            h, carry = self.hyper[0].read(streams)  # type: ignore[operator]
            output, extras = _split(super().forward(h, *args, **kwargs), self.hyper_place.name)
            if output.shape != h.shape:
                raise ValueError(
                    f"{self.hyper_place.name}: gave {tuple(output.shape)} for {tuple(h.shape)}; hyper-connections need residual blocks, "
                    "which keep the shape"
                )
            streams = self.hyper[0].write(carry, output - h)  # type: ignore[operator]
        x = self.hyper_place.leave(streams)
        return x if extras is None else (x, *extras)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # a class made on the fly cannot be found by its name: copies and pickles make it again
        _, _, *rest = super().__reduce_ex__(max(int(protocol), 2))
        return (_again, (self.base, self.adapter), *rest)


def _split(found: Any, name: str) -> tuple[Tensor, tuple[Any, ...] | None]:
    if isinstance(found, Tensor):
        return found, None
    if isinstance(found, tuple) and found and isinstance(found[0], Tensor):
        return found[0], tuple(found[1:])
    raise ValueError(f"{name}: gave {type(found).__name__}, expected a tensor or a tuple that begins with one")


@functools.cache
def hyper_class(base: type[nn.Module], adapter: Adapter | None) -> type[HyperBlock]:
    """The subclass of `base` for these branches, under the same name."""
    parameters = list(inspect.signature(inspect.unwrap(base.forward)).parameters)
    members = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "adapter": adapter,
        "base": base,
        "stream_name": parameters[1] if len(parameters) > 1 else "x",
    }
    return type(base.__name__, (HyperBlock, base), members)


def _again(base: type[nn.Module], adapter: Adapter | None) -> HyperBlock:
    made = hyper_class(base, adapter)
    return made.__new__(made)


class ReducedHiddenStates:
    """A forward hook for models of `transformers`: `hidden_states` in their results are `(B, T, D)`, without the axis of streams."""

    def __init__(self, place: Place):
        self.place = place

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        """The results with every collected state reduced."""
        if isinstance(output, dict):
            for key, value in list(output.items()):
                if str(key).endswith("hidden_states") and not str(key).startswith("reshaped") and isinstance(value, tuple | list):
                    output[key] = self._reduced(value)
        elif isinstance(output, tuple):
            # results without names: only hidden states mix plain and expanded tensors of this width
            values = [self._reduced(v) if isinstance(v, tuple) and v and self._plain(v[0]) else v for v in output]
            return type(output)(*values) if hasattr(output, "_fields") else tuple(values)
        return output

    def _plain(self, x: Any) -> bool:
        return isinstance(x, Tensor) and x.ndim == 3 and x.shape[-1] == self.place.dim

    def _reduced(self, states: Any) -> Any:
        shape = (self.place.how.n, self.place.dim)
        return type(states)(
            self.place.how.collapse(x) if isinstance(x, torch.Tensor) and x.ndim == 4 and tuple(x.shape[-2:]) == shape else x
            for x in states
        )
