"""Graph convolution over joints, pooling of joints into parts, and convolution over time: one vector for each frame.

The networks of ST-GCN's family as MASA uses them for hands and bodies (Zhao et al. 2024), with its parameter names. A graph's edges are sorted
into four classes, each with weights of its own: a joint itself, neighbours further from the root, neighbours nearer to it, and links across.
Inside, channels are the first axis, frames of all clips the second, joints the last: a 1x1 convolution is one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 4
"""`K`: self, from further out, from nearer in, across."""


@dataclass(frozen=True)
class Graph:
    """Joints and how they hang together.

    Attributes:
        distance: of each of the `J` joints, links to the root.
        edges: pairs of joints. across: more pairs, between joints of one distance. An edge (not `across`) of one distance has no class,
            so nothing flows along it, though it counts in the degrees.
    """

    distance: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]
    across: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        joints = range(len(self.distance))
        for a, b in (*self.edges, *self.across):
            if a not in joints or b not in joints or a == b:
                raise ValueError(f"edge {a}, {b}: expected two different joints of 0 to {len(joints) - 1}")

    def partitions(self) -> Tensor:
        """`(K, J, J)` float32: weight from a joint (row) to a joint (column), each column over its joint's degree."""
        joints = len(self.distance)
        linked, across = torch.eye(joints), torch.zeros(joints, joints)
        for a, b in (*self.edges, *self.across):
            linked[a, b] = linked[b, a] = 1
        for a, b in self.across:
            across[a, b] = across[b, a] = 1
        distance = torch.tensor(self.distance)
        row, column = distance[:, None], distance[None, :]
        classes = torch.stack([torch.eye(joints), (row > column).float(), (row < column).float(), across])
        return classes * (linked / linked.sum(0))


@dataclass(frozen=True)
class Anatomy:
    """A part of the body as a graph of its joints, and as a graph of groups of them.

    Attributes:
        joints: `J` joints. groups: `G` sets of joints. parts: the graph of the `G` groups.
    """

    joints: Graph
    groups: tuple[tuple[int, ...], ...]
    parts: Graph


def _fingers() -> tuple[tuple[int, ...], ...]:
    """Thumb to little finger, each from its base to its tip; joint 0 is the wrist."""
    return tuple(tuple(range(1 + 4 * f, 5 + 4 * f)) for f in range(5))


HAND = Anatomy(
    Graph(
        (0, *(1, 2, 3, 4) * 5),
        tuple(pair for f in _fingers() for pair in zip((0, *f), f, strict=False)),
        tuple(pair for a, b in zip(_fingers(), _fingers()[1:], strict=False) for pair in zip(a, b, strict=True)),
    ),
    (*(f[1:] for f in _fingers()), (0, *(f[0] for f in _fingers()))),
    Graph((1, 1, 1, 1, 1, 0), tuple((f, 5) for f in range(5)), ((0, 1), (1, 2), (2, 3), (3, 4))),
)
"""21 joints: the wrist, then thumb, index, middle, ring and little finger; pooled into the five fingers and the palm."""
BODY = Anatomy(
    Graph((0, 1, 2, 3, 1, 2, 3), ((0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6)), ((1, 4), (2, 5), (3, 6))),
    ((1, 2, 3), (4, 5, 6), (0,)),
    Graph((0, 0, 0), ((0, 2),), ((0, 1),)),
)
"""7 joints: nose, then shoulder, elbow and wrist of the left and of the right; pooled into two arms and the head."""


def pointwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution of kernel 1: `(C, N)` -> `(D, N)`."""
    assert conv.bias is not None
    return torch.addmm(conv.bias[:, None], conv.weight.flatten(1), x)


def normalised(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """A batch norm of channels: `(C, N)` -> the same. As one sample of `N` steps, whose statistics are summed in double precision on CPUs."""
    return norm(x[None])[0]


class GraphConvolution(nn.Module):
    """What flows in along each class of edges, mapped by weights of that class: `(C, N, J)` -> `(D, N J)`.

    The weight is held as the 1x1 convolution `conv` to `K D` channels of the published code. Joints are mixed before that map and not
    after it, which is the same and handles `K C` numbers a joint in place of `K D`.
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, CLASSES * width, 1)

    def forward(self, x: Tensor, partitions: Tensor) -> Tensor:
        """`partitions`: `(K, J, J)`, see `Graph.partitions`."""
        c, n, j = x.shape
        assert self.conv.bias is not None
        mixed = torch.matmul(x.reshape(c * n, j), partitions).view(CLASSES * c, n * j)
        weight = self.conv.weight.view(CLASSES, -1, c).transpose(0, 1).flatten(1)  # (K D, C) -> (D, K C)
        bias = self.conv.bias.view(CLASSES, -1).T @ partitions.sum(1)  # (D, J)
        return ((weight @ mixed).view(-1, n, j) + bias[:, None]).flatten(1)


class GraphBlock(nn.Module):
    """Graph convolution, then a map of each joint by itself, around a residual: `(C, N, J)` -> `(D, N, J)`.

    Parameter names are the authors': `gcn.conv`, `tcn.{0,3,4}`, `residual.{0,1}`.

    Args:
        channels: `C`. width: `D`. residual: False leaves the first block of a network without one. dropout: rate.
    """

    def __init__(self, channels: int, width: int, residual: bool, dropout: float):
        super().__init__()
        self.gcn = GraphConvolution(channels, width)
        norm, conv, last = nn.BatchNorm1d(width), nn.Conv2d(width, width, 1), nn.BatchNorm1d(width)
        self.tcn = nn.Sequential(norm, nn.ReLU(), nn.Dropout(dropout), conv, last, nn.Dropout(dropout))
        projected = residual and channels != width
        self.residual = nn.Sequential(nn.Conv2d(channels, width, 1), nn.BatchNorm1d(width)) if projected else None
        self.identity = residual and not projected

    def forward(self, x: Tensor, partitions: Tensor) -> Tensor:
        """One block."""
        norm, relu, drop, conv, last, again = self.tcn
        y = drop(relu(normalised(norm, self.gcn(x, partitions))))  # type: ignore[arg-type]
        y = again(normalised(last, pointwise(conv, y)))  # type: ignore[arg-type]
        if self.residual is not None:
            conv, norm = self.residual
            y = y + normalised(norm, pointwise(conv, x.flatten(1)))  # type: ignore[arg-type]
        elif self.identity:
            y = y + x.flatten(1)
        return F.relu(y).view(-1, *x.shape[1:])


class There(NamedTuple):
    """Which frames of a batch are there. Made once for all that asks: to count them, a GPU has to be waited for.

    Attributes:
        frames: `(B, T)` bool. rows: `(N,)` int64, places of these `N` frames among the `B T`.
    """

    frames: Tensor
    rows: Tensor

    @classmethod
    def of(cls, frames: Tensor) -> There:
        """From a mask `(B, T)`."""
        return cls(frames, frames.flatten().nonzero().squeeze(1))

    def twice(self) -> There:
        """Of a batch that is given twice, `(2 B, T)`."""
        return There(self.frames.repeat(2, 1), torch.cat([self.rows, self.rows + self.frames.numel()]))

    def taken(self, x: Tensor) -> Tensor:
        """`(B, T, ...)` -> `(N, ...)`."""
        return x.flatten(0, 1).index_select(0, self.rows)

    def placed(self, y: Tensor) -> Tensor:
        """`(N, D)` -> `(B, T, D)`: each row to its place, zeros elsewhere."""
        b, t = self.frames.shape
        return y.new_zeros(b * t, y.shape[1]).index_copy(0, self.rows, y).view(b, t, -1)


class TemporalBlock(nn.Module):
    """Two convolutions over time side by side, of reach 2 frames each way, and a map of both: `(B, D, T)` -> `(B, D, T)`.

    With `real` a clip ends where its frames do: what lies after is zero and counts in no statistics.
    """

    def __init__(self, width: int):
        super().__init__()
        self.conv1d_5 = nn.Sequential(nn.Conv1d(width, width, 5, padding=2), nn.ReLU())
        self.conv1d_3_1 = nn.Sequential(nn.Conv1d(width, width, 3, padding=1), nn.ReLU())
        self.conv1d_3_2 = nn.Sequential(nn.Conv1d(width, width, 3, padding=1), nn.ReLU())
        self.conv1x1 = nn.Conv1d(2 * width, width, 1)
        self.bn = nn.BatchNorm1d(width)

    def forward(self, x: Tensor, real: There | None = None) -> Tensor:
        """One block."""
        within = self.conv1d_3_1(x)
        if real is not None:
            within = within * real.frames[:, None]
        y = self.conv1x1(torch.cat([self.conv1d_5(x), self.conv1d_3_2(within)], 1))
        if real is None:
            return F.relu(self.bn(y))
        return real.placed(F.relu(self.bn(real.taken(y.transpose(1, 2))))).transpose(1, 2)


@dataclass(frozen=True)
class GraphConfig:
    """Size of a `GraphEncoder`; the defaults are MASA's.

    Attributes:
        width: `D` of a frame. channels: of the three blocks on joints. input_eps: of the batch norm of the input (published: 0.1, a hundred
            thousand times PyTorch's). dropout: rate inside blocks. feature_dropout: rate after the last map.
    """

    width: int = 512
    channels: tuple[int, int, int] = (128, 128, 256)
    input_eps: float = 0.1
    dropout: float = 0.05
    feature_dropout: float = 0.25

    def __post_init__(self) -> None:
        if min(self.width, *self.channels) < 1:
            raise ValueError(f"width {self.width}, channels {self.channels}: expected 1 or more")
        if not self.input_eps > 0:
            raise ValueError(f"input_eps {self.input_eps}: expected a number above 0")
        for name in ("dropout", "feature_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: expected a rate from 0 to below 1")


class GraphEncoder(nn.Module):
    """A part of the body over time, one vector a frame: `(B, T, J, 2)` -> `(B, T, D)`. A frame sees 4 frames before and after it.

    In training, batch norms count the frames of all clips alike, padding and absent hands too, as published; unless they are told which
    frames are there.
    """

    A: Tensor
    A_pool: Tensor

    def __init__(self, anatomy: Anatomy, config: GraphConfig):
        super().__init__()
        self.groups = anatomy.groups
        first, second, third = config.channels
        drop, width = config.dropout, config.width
        self.width = width
        self.register_buffer("A", anatomy.joints.partitions())
        self.register_buffer("A_pool", anatomy.parts.partitions())
        self.data_bn = nn.BatchNorm1d(2 * len(anatomy.joints.distance), eps=config.input_eps)
        self.st_gcn_networks = nn.ModuleList(
            [GraphBlock(2, first, False, drop), GraphBlock(first, second, True, drop), GraphBlock(second, third, True, drop)]
        )
        self.st_gcn_pool = nn.ModuleList([GraphBlock(third, width, True, drop), GraphBlock(width, width, True, drop)])
        self.conv4 = nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(config.feature_dropout))
        self.tcn_full_b1 = TemporalBlock(width)
        self.tcn_full_b2 = TemporalBlock(width)

    def spatial(self, x: Tensor, there: There | None = None) -> Tensor:
        """`(B, T, J, 2)` -> `(B, T, D)`, each frame by itself; frames that are not `there` are zero and not computed."""
        b, t, j, c = x.shape
        frames = x.flatten(0, 1) if there is None else there.taken(x)
        if not len(frames):
            return x.new_zeros(b, t, self.width)
        y = normalised(self.data_bn, frames.permute(1, 2, 0).reshape(j * c, -1))
        y = y.view(j, c, -1).permute(1, 2, 0).contiguous()
        for block in self.st_gcn_networks:
            y = block(y, self.A)
        y = _pooled(y, self.groups)
        for block in self.st_gcn_pool:
            y = block(y, self.A_pool)
        conv, norm, relu, drop = self.conv4
        y = drop(relu(normalised(norm, pointwise(conv, y.amax(2)))))  # type: ignore[arg-type]
        return y.view(-1, b, t).permute(1, 2, 0) if there is None else there.placed(y.T)

    def temporal(self, x: Tensor, real: There | None = None) -> Tensor:
        """`(B, T, D)` -> `(B, T, D)`: convolution over time; `real`: see `TemporalBlock`."""
        return self.tcn_full_b2(self.tcn_full_b1(x.transpose(1, 2), real), real).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Space, then time."""
        return self.temporal(self.spatial(x))


def _pooled(x: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """`(C, N, J)` -> `(C, N, G)`: the largest of each group's joints.

    Joints are taken by slicing and not by an index tensor, which would be moved to the device in every step.
    """
    return torch.stack([torch.stack([x[..., j] for j in group], 2).amax(2) for group in groups], 2)
