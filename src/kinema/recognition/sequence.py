"""The networks that contrastive methods train: one a modality, from a motion to one feature and on to a vector to compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..data.augment import bone, motion
from ..nn.recurrent import Direction, TwoStreamGRU, several
from .encoder import Encoder, SkeletonTransformer, TransformerConfig

Modality = Literal["joint", "motion", "bone"]
MODALITIES: tuple[Modality, ...] = ("joint", "motion", "bone")


@dataclass(frozen=True)
class GRUConfig:
    """A recurrent network; the defaults are CMD's.

    Attributes:
        hidden: `H`; a clip's feature is `2 H` long. layers: how many. direction: see `nn.recurrent`.
    """

    hidden: int = 1024
    layers: int = 3
    direction: Direction = "forward"

    def __post_init__(self) -> None:
        for name in ("hidden", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: expected 1 or more")

    @property
    def width(self) -> int:
        """Of a feature."""
        return 2 * self.hidden

    @property
    def depth(self) -> int:
        """Layers."""
        return self.layers


def channels(x: Tensor) -> Tensor:
    """`(B, T, M, J, C)` -> `(B, T, J C M)`: the published order of a frame's numbers, joint, then coordinate, then person."""
    return x.permute(0, 1, 3, 4, 2).flatten(2)


def see(x: Tensor, modality: Modality, bones: Sequence[tuple[int, int]]) -> Tensor:
    """Joints as they are, their motion from frame to frame, or bones: `(B, T, M, J, C)` -> the same shape."""
    return x if modality == "joint" else motion(x) if modality == "motion" else bone(x, bones)


def head(width: int, dim: int, mlp: bool = True) -> nn.Module:
    """From a feature to a vector to compare: two maps with a ReLU between, or (`mlp` False) a single one."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dim)) if mlp else nn.Linear(width, dim)


class RecurrentEncoder(nn.Module):
    """Batch norm over channels and time, the GRU, and a head on the last step: `(B, T, M, J, C)` -> `(B, D)`.

    Parameter names are CMD's: `input_norm`, `encoder.gru.*`, `fc`.
    """

    def __init__(self, channels: int, network: GRUConfig, dim: int, mlp: bool = True):
        super().__init__()
        self.depth = network.layers
        self.input_norm = nn.BatchNorm1d(channels)
        self.encoder = nn.ModuleDict({"gru": TwoStreamGRU(channels, network.hidden, network.layers, network.direction)})
        self.fc = head(network.width, dim, mlp)

    @property
    def gru(self) -> TwoStreamGRU:
        """The recurrent part."""
        found = self.encoder["gru"]
        assert isinstance(found, TwoStreamGRU)
        return found

    def norm(self, x: Tensor) -> Tensor:
        """`(B, T, M, J, C)` -> `(B, T, J C M)`: what the recurrent part reads."""
        return self.input_norm(channels(x).transpose(1, 2)).transpose(1, 2)

    def last(self, steps: Tensor) -> Tensor:
        """`(B, T, 2 H)` -> `(B, 2 H)`: the last step, which has seen all others (a true bidirectional GRU: the end of each stream)."""
        hidden = steps.shape[-1] // 2
        both = self.gru.direction == "both"
        return torch.cat([steps[:, -1, :hidden], steps[:, 0, hidden:]], -1) if both else steps[:, -1]

    def feature(self, x: Tensor) -> Tensor:
        """`(B, T, M, J, C)` -> `(B, 2 H)`."""
        return features([self], [x])[0]

    def tokens(self, x: Tensor) -> Tensor:
        """`(B, T, M, J, C)` -> `(B, 1, 1, 1, 2 H)`: one token, all people together."""
        return self.feature(x)[:, None, None, None]

    def layer_of(self, parameter: str) -> int:
        """See `Encoder.layer_of`."""
        if "gru" in parameter:
            return int(parameter.split("_l")[-1].split("_")[0]) + 1
        return 0 if "input_norm" in parameter else self.depth + 1


class TransformerEncoder(nn.Module):
    """A skeleton transformer, the mean of its tokens, and a head: `(B, T, M, J, C)` -> `(B, D)`. No paper's; an option of CMD here.

    A person who is absent (all zero) does not count in the mean. Protocols pool `tokens` instead, as they do for MAMP: absent people count.
    """

    def __init__(self, network: TransformerConfig, dim: int, mlp: bool = True):
        super().__init__()
        self.encoder = SkeletonTransformer(network)
        self.encoder.initialise()
        self.fc = head(network.width, dim, mlp)

    def tokens(self, x: Tensor) -> Tensor:
        """`(B, T, M, J, C)` -> `(B, M, T', J', D)`."""
        return self.encoder.tokens(x)

    def feature(self, x: Tensor) -> Tensor:
        """`(B, T, M, J, C)` -> `(B, W)`."""
        present = (x != 0).flatten(3).any(3).any(1).to(x.dtype)  # (B, M)
        people = self.tokens(x).mean((2, 3))
        return (people * present[..., None]).sum(1) / present.sum(1, keepdim=True).clamp(min=1)

    def layer_of(self, parameter: str) -> int:
        """See `Encoder.layer_of`."""
        name = parameter.removeprefix("encoder.")
        return self.encoder.depth + 1 if name == parameter else self.encoder.layer_of(name)


Sequential = RecurrentEncoder | TransformerEncoder


def sequence_encoder(
    coordinates: int, joints: int, people: int, network: GRUConfig | TransformerConfig, dim: int, mlp: bool
) -> Sequential:
    """The network that a configuration asks for."""
    if isinstance(network, GRUConfig):
        return RecurrentEncoder(coordinates * joints * people, network, dim, mlp)
    return TransformerEncoder(network, dim, mlp)


def features(networks: Sequence[Sequential], xs: Sequence[Tensor]) -> list[Tensor]:
    """Each network on its own input `(B, T, M, J, C)` -> `(B, W)`; recurrent ones run at once."""
    recurrent = [n for n in networks if isinstance(n, RecurrentEncoder)]
    if len(recurrent) < len(networks):
        return [n.feature(x) for n, x in zip(networks, xs, strict=True)]
    steps = several([n.gru for n in recurrent], [n.norm(x) for n, x in zip(recurrent, xs, strict=True)])
    return [n.last(s) for n, s in zip(recurrent, steps, strict=True)]


class Stream(Encoder):
    """One modality's network as an encoder of its own; its weights are shared with whatever it was taken from.

    Args:
        network: the query encoder. modality: what it sees. bones: for the bone modality. frames, joints: of its input.
    """

    def __init__(self, network: Sequential, modality: Modality, bones: Sequence[tuple[int, int]], frames: int, joints: int):
        super().__init__()
        self.network, self.bones = network, tuple(bones)
        self.modality: Modality = modality
        self.frames, self.joints = frames, joints
        if isinstance(network, RecurrentEncoder):
            self.width, self.depth = 2 * network.gru.hidden, network.depth
        else:
            self.width, self.depth = network.encoder.width, network.encoder.depth

    def tokens(self, x: Tensor) -> Tensor:
        """See `Encoder.tokens`."""
        return self.network.tokens(see(x, self.modality, self.bones))

    def layer_of(self, parameter: str) -> int:
        """See `Encoder.layer_of`."""
        return self.network.layer_of(parameter.removeprefix("network."))

    def is_encoder_parameter(self, name: str) -> bool:
        """See `Encoder.is_encoder_parameter`."""
        return name.startswith(("network.input_norm.", "network.encoder."))
