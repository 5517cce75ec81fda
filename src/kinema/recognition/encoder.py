"""What every skeleton encoder offers to protocols, prediction and the command line; and the transformer that MAMP trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.augment import bone, motion
from ..errors import UserError, unknown
from ..nn.residual import Residual, enter, leave
from ..nn.transformer import Block, xavier_init
from ..training.method import Method


class Encoder(Method):
    """A network that turns motion into tokens. Methods that train one inherit from it.

    Attributes:
        width: `D` of a token. frames: `T` the input is resized to. joints: `J`. depth: number of layers for layer decay.
        pairs: whether pre-training takes two views of each clip (`ViewBatch`) and not one (`ClipBatch`).
        confidence: whether what it reads has the confidence of each joint as its last coordinate.
        streams: names of the networks inside that can be used apart, see `stream`; the first is the one that `tokens` shows.
    """

    pairs: ClassVar[bool] = False
    confidence: ClassVar[bool] = False
    streams: ClassVar[tuple[str, ...]] = ()

    width: int
    frames: int
    joints: int
    depth: int

    def tokens(self, x: Tensor) -> Tensor:
        """`(B, T, M, J, C)` -> `(B, M', T', J', D)`; `M'` is `M`, or 1 for a network that sees all people together."""
        raise NotImplementedError

    def alone(self) -> Encoder:
        """What is kept after pre-training as an encoder of its own, without decoders, heads and teachers where they can be left out."""
        return self.stream(self.streams[0]) if self.streams else self

    def taken_over(self) -> tuple[str, ...]:
        """Prefixes of the parameters and buffers that a run takes over from the one it is begun from (``--init``); none: all."""
        return ()

    def layer_of(self, parameter: str) -> int:
        """Layer of a parameter for layer-wise rate decay: 0 embeddings, 1..depth blocks, depth + 1 the rest."""
        raise NotImplementedError

    def is_encoder_parameter(self, name: str) -> bool:
        """Whether a parameter belongs to the part that is kept after pre-training (False: decoders, heads)."""
        raise NotImplementedError

    def stream(self, name: str) -> Encoder:
        """One of `streams` as an encoder of its own, with the same weights; it reads the same positions as the whole.

        Raises:
            UserError: no such stream.
        """
        if not self.streams:
            raise UserError(f"stream {name!r}: this method has a single network; leave the stream out")
        raise unknown("stream", name, self.streams)


@dataclass(frozen=True)
class TransformerConfig:
    """Size of a skeleton transformer. Names follow the MAMP paper; its values are the defaults.

    Attributes:
        coordinates: `C`. width: `D`. depth: blocks. heads: attention heads. mlp_ratio: MLP hidden width / `D`.
        frames: `T`. joints: `J`. frame_patch: frames of one token. joint_patch: joints of one token.
        qkv_bias: bias of queries, keys, values. drop_path: highest rate of dropped branches, rising linearly over the blocks.
        residual: how branches join the stream: ``prenorm``, ``postnorm``, or `HyperConnections`.
        modality: what is seen of the joints: themselves, bone vectors, or their motion from frame to frame.
        bones: (child, parent) joint indices, for the bone modality.
    """

    coordinates: int = 3
    width: int = 256
    depth: int = 8
    heads: int = 8
    mlp_ratio: float = 4.0
    frames: int = 120
    joints: int = 25
    frame_patch: int = 4
    joint_patch: int = 1
    qkv_bias: bool = True
    drop_path: float = 0.0
    residual: Residual = "prenorm"
    modality: Literal["joint", "bone", "motion"] = "joint"
    bones: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for name in ("coordinates", "width", "depth", "heads", "frames", "joints", "frame_patch", "joint_patch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: expected 1 or more")
        if not self.mlp_ratio * self.width >= 1:
            raise ValueError(f"mlp_ratio {self.mlp_ratio}: expected a number that leaves the MLP a width of 1 or more")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path {self.drop_path}: expected a rate from 0 to below 1")
        if self.modality == "bone" and len(self.bones) != self.joints:
            raise ValueError(
                f"modality bone: {len(self.bones)} bones for {self.joints} joints; expected one (child, parent) pair a joint"
            )
        if self.frames % self.frame_patch or self.joints % self.joint_patch:
            raise ValueError(
                f"{self.frames} frames x {self.joints} joints cannot be cut into patches of {self.frame_patch} x {self.joint_patch}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """`(T', J')`: tokens over time and joints."""
        return self.frames // self.frame_patch, self.joints // self.joint_patch

    @property
    def patch(self) -> int:
        """Numbers in one patch."""
        return self.frame_patch * self.joint_patch * self.coordinates


def patchify(x: Tensor, frame_patch: int, joint_patch: int) -> Tensor:
    """`(B, T, J, C)` -> `(B, T' J', u p C)`: tokens time-major; inside one, frame, joint, coordinate."""
    b, t, j, c = x.shape
    x = x.view(b, t // frame_patch, frame_patch, j // joint_patch, joint_patch, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(b, (t // frame_patch) * (j // joint_patch), -1)


def unpatchify(tokens: Tensor, grid: tuple[int, int], frame_patch: int, joint_patch: int) -> Tensor:
    """The inverse of `patchify`: `(B, T' J', u p C)` -> `(B, T, J, C)`."""
    b, (t, j) = tokens.shape[0], grid
    x = tokens.view(b, t, j, frame_patch, joint_patch, -1)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(b, t * frame_patch, j * joint_patch, -1)


def fold_people(x: Tensor) -> Tensor:
    """`(B, T, M, J, C)` -> `(B M, T, J, C)`: every person is a sample of its own."""
    b, t, m, j, c = x.shape
    return x.transpose(1, 2).reshape(b * m, t, j, c)


class PatchEmbedding(nn.Module):
    """Linear map of patches, held as the convolution `proj` of the published weights. `(B, T, J, C)` -> `(B, N, D)`."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        kernel = (config.frame_patch, config.joint_patch)
        self.proj = nn.Conv2d(config.coordinates, config.width, kernel, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """One matrix product: stride equals kernel, so the convolution is a linear map of each patch."""
        u, p = self.proj.kernel_size
        weight = self.proj.weight.permute(0, 2, 3, 1).flatten(1)  # (D, C, u, p) -> (D, u p C), the order of `patchify`
        return F.linear(patchify(x, int(u), int(p)), weight, self.proj.bias)


class SkeletonTransformer(Encoder):
    """Pre-norm transformer over (time patch, joint) tokens with factorised position embeddings (MAMP, section 3; STTFormer's patches).

    Parameter names are the authors': `joints_embed.proj`, `temp_embed`, `pos_embed`, `blocks.i.*`, `norm`.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.size = config
        self.width, self.frames, self.joints, self.depth = config.width, config.frames, config.joints, config.depth
        t, j = config.grid
        self.joints_embed = PatchEmbedding(config)
        self.temp_embed = nn.Parameter(torch.zeros(1, t, 1, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1, j, config.width))
        rates = torch.linspace(0, config.drop_path, config.depth).tolist()
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_ratio, config.qkv_bias, rate, config.residual, i)
            for i, rate in enumerate(rates)
        )
        self.norm = nn.LayerNorm(config.width)

    def initialise(self) -> None:
        """The published initialisation; convolutions keep PyTorch's."""
        self.apply(xavier_init)
        for name, parameter in self.named_parameters():
            if name.endswith("_embed") or name == "mask_token":
                nn.init.trunc_normal_(parameter, std=0.02, a=-2.0, b=2.0)

    def see(self, x: Tensor) -> Tensor:
        """`(B, T, M, J, C)` -> `(B M, T, J, C)`: the modality, every person a sample of its own."""
        if self.size.modality == "bone":
            x = bone(x, self.size.bones)
        elif self.size.modality == "motion":
            x = motion(x)
        return fold_people(x)

    def embed(self, x: Tensor) -> Tensor:
        """`(B, T, J, C)` -> `(B, N, D)`: patches with their positions added. Fewer frames than `T`: positions are resized."""
        patches = self.joints_embed(x)
        temporal = resize_positions(self.temp_embed, x.shape[1] // self.size.frame_patch)
        return patches + (temporal + self.pos_embed).flatten(1, 2)

    def encode(self, tokens: Tensor) -> Tensor:
        """`(B, N, D)` -> `(B, N, D)`: all blocks and the final norm."""
        tokens = enter(self.size.residual, tokens)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(leave(self.size.residual, tokens))

    def tokens(self, x: Tensor) -> Tensor:
        """`(B, T, M, J, C)` -> `(B, M, T', J', D)`: every token seen."""
        b, t, m, j, _ = x.shape
        encoded = self.encode(self.embed(self.see(x)))
        return encoded.view(b, m, t // self.size.frame_patch, j // self.size.joint_patch, self.width)

    def layer_of(self, parameter: str) -> int:
        """See `Encoder.layer_of`."""
        if parameter.startswith("blocks."):
            return int(parameter.split(".")[1]) + 1
        return 0 if parameter.startswith(("joints_embed.", "temp_embed", "pos_embed")) else self.depth + 1

    def is_encoder_parameter(self, name: str) -> bool:
        """See `Encoder.is_encoder_parameter`."""
        return name.startswith(("joints_embed.", "temp_embed", "pos_embed", "blocks.", "norm."))


def resize_positions(positions: Tensor, length: int) -> Tensor:
    """`(1, T', 1, D)` -> `(1, length, 1, D)`, bicubic along time without aligned corners, as the published code does."""
    if positions.shape[1] == length:
        return positions
    grid = positions.permute(0, 3, 1, 2)
    return F.interpolate(grid, size=(length, 1), mode="bicubic", align_corners=False).permute(0, 2, 3, 1)
