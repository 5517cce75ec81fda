"""MAMP: Masked Motion Predictors are Strong 3D Action Representation Learners (Mao et al., ICCV 2023).

A transformer sees a tenth of the (time patch, joint) tokens of a skeleton sequence and predicts the *motion* (frame difference) of the
rest. Which tokens are hidden is drawn so that tokens that move are hidden more often. `MAMPConfig()` is the published method and keeps
the authors' parameter names; its MAE baseline is ``MAMPConfig(mask="uniform", target="joint")``.

Options that the paper does not have, all off by default: a cross-attention decoder that computes masked queries only (`decoder="cross"`),
prediction of a random share of them (`predict_share`), packing of present people (`pack`), targets normalised over time (`normalise="time"`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from ..data.batches import ClipBatch
from ..nn.residual import enter, leave
from ..nn.transformer import Block, CrossBlock
from ..training.method import Losses, Step
from .encoder import SkeletonTransformer, TransformerConfig, patchify, unpatchify

EPSILON = 1e-10
"""Guards the logarithms of the mask draw, as in the published code."""


@dataclass(frozen=True)
class MAMPConfig:
    """MAMP's choices; the defaults are those published for NTU-60.

    Attributes:
        encoder: size of the encoder.
        decoder: ``self``: all tokens attend to one another (paper); ``cross``: masked queries attend to the encoder's output only.
        decoder_width, decoder_depth: its size (5 blocks for NTU-120 and PKU-MMD).
        mask: ``motion`` (paper) or ``uniform`` (MAE baseline). mask_ratio: share of hidden tokens.
        tau: how strongly motion attracts the mask; 0.75 for NTU-120. A value <= 0 means uniform.
        target: ``motion`` (paper) or ``joint`` (MAE baseline). stride: frames between the two ends of a motion.
        normalise: ``token``: each target patch has mean 0 and variance 1 (paper); ``time``: each joint coordinate has them over the
            clip (NAT: Rethinking masked data reconstruction, AAAI 2025); ``none``.
        predict_share: share of the hidden tokens whose prediction is computed (``cross`` only): an even stride over their scores, so another
            choice in each step.
        pack: leave absent people out of the computation and of the loss.
    """

    encoder: TransformerConfig = field(default_factory=TransformerConfig)
    decoder: Literal["self", "cross"] = "self"
    decoder_width: int = 256
    decoder_depth: int = 3
    mask: Literal["motion", "uniform"] = "motion"
    mask_ratio: float = 0.9
    tau: float = 0.8
    target: Literal["motion", "joint"] = "motion"
    stride: int = 1
    normalise: Literal["token", "time", "none"] = "token"
    predict_share: float = 1.0
    pack: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio {self.mask_ratio}: expected a share between 0 and 1")
        if self.decoder_width < 1 or self.decoder_depth < 1:
            raise ValueError(f"decoder_width {self.decoder_width}, decoder_depth {self.decoder_depth}: expected 1 or more")
        if not 1 <= self.stride < self.encoder.frames:
            raise ValueError(f"stride {self.stride}: expected 1 to {self.encoder.frames - 1} frames")
        if not 0 < self.predict_share <= 1 or (self.predict_share < 1 and self.decoder == "self"):
            raise ValueError(f"predict_share {self.predict_share}: expected 0 to 1, and 1 for the self-attention decoder")

    @property
    def kept(self) -> int:
        """Tokens that the encoder sees: 74 of 750, not 75, because the product is taken in floats and cut."""
        t, j = self.encoder.grid
        return max(1, int(t * j * (1 - self.mask_ratio)))


def motion_intensity(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """`(B, N, P)` patches -> `(B, N)`: mean absolute difference from the same joint's patch one time step before

    The first time step takes the second's. (This is a patch difference; the prediction target is a frame difference.)
    """
    t, j = grid
    x = patches.view(patches.shape[0], t, j, -1)
    difference = (x[:, 1:] - x[:, :-1]).abs().mean(-1)
    return torch.cat([difference[:, :1], difference], 1).flatten(1) if t > 1 else torch.zeros_like(x[..., 0]).flatten(1)


def mask_probability(intensity: Tensor, tau: float) -> Tensor:
    """`(B, N)` -> `(B, N)`: probability mass that draws the mask: softmax of intensity / (largest intensity * tau)."""
    return torch.softmax(intensity / (intensity.amax(1, keepdim=True) * tau + EPSILON), 1)


def gumbel_scores(probability: Tensor, uniform: Tensor) -> Tensor:
    """Gumbel-max draw without replacement: tokens with the *smallest* scores are kept, so high motion is hidden more often."""
    return torch.log(probability) - torch.log(-torch.log(uniform + EPSILON) + EPSILON)


def frame_motion(x: Tensor, stride: int) -> Tensor:
    """`(B, T, J, C)` -> the same shape: `x[t + stride] - x[t]`, the last `stride` frames zero."""
    return torch.cat([x[:, stride:] - x[:, :-stride], torch.zeros_like(x[:, :stride])], 1)


def normalise_tokens(patches: Tensor) -> Tensor:
    """`(B, N, P)`: each patch minus its mean, over its standard deviation (unbiased, 1e-6 inside the root)."""
    return (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()


def normalise_time(x: Tensor) -> Tensor:
    """`(B, T, J, C)`: each joint coordinate minus its mean over time, over its standard deviation over time."""
    return (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 1e-6).sqrt()


def take(tokens: Tensor, ids: Tensor) -> Tensor:
    """`(B, N, D)`, `(B, K)` -> `(B, K, D)`: the chosen tokens (rows of one flat table: much cheaper than `gather` with D copies)."""
    b, n, d = tokens.shape
    rows = (ids + torch.arange(b, device=ids.device)[:, None] * n).flatten()
    return tokens.reshape(b * n, d).index_select(0, rows).view(b, -1, d)


def look_up(table: Tensor, ids: Tensor) -> Tensor:
    """`(N, D)`, `(B, K)` -> `(B, K, D)`: the same as `table[ids]`.

    But the gradients of a row that is taken often are added up in a fixed order, also by several threads, so that a step gives the same bits
    again; and faster.
    """
    return table.index_select(0, ids.flatten()).view(*ids.shape, -1)


class MAMP(SkeletonTransformer):
    """The pre-training model. As an encoder it is a `SkeletonTransformer`; `loss` trains it."""

    def __init__(self, config: MAMPConfig):
        super().__init__(config.encoder)
        self.config = config
        e, width = config.encoder, config.decoder_width
        t, j = e.grid
        self.decoder_embed = nn.Linear(e.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_temp_embed = nn.Parameter(torch.zeros(1, t, 1, width))
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, 1, j, width))
        if config.decoder == "self":
            # the published decoder reuses the encoder's list of drop-path rates
            rates = torch.linspace(0, e.drop_path, e.depth).tolist()
            if config.decoder_depth > len(rates):
                raise ValueError(f"decoder_depth {config.decoder_depth}: at most the encoder's depth {len(rates)}")
            self.decoder_blocks = nn.ModuleList(
                Block(width, e.heads, e.mlp_ratio, e.qkv_bias, rates[i], e.residual, i) for i in range(config.decoder_depth)
            )
        else:
            self.decoder_blocks = nn.ModuleList(
                CrossBlock(width, e.heads, e.mlp_ratio, e.qkv_bias, e.residual, i) for i in range(config.decoder_depth)
            )
        self.decoder_norm = nn.LayerNorm(width)
        self.decoder_pred = nn.Linear(width, e.patch)
        self.initialise()

    def patches(self, x: Tensor) -> Tensor:
        """`(B, T, J, C)` -> `(B, N, P)`."""
        return patchify(x, self.size.frame_patch, self.size.joint_patch)

    def mask_scores(self, x: Tensor, uniform: Tensor) -> Tensor:
        """`(B, T, J, C)` and draws `(B, N)` in [0, 1) -> `(B, N)` scores; the smallest are kept (stable order)."""
        if self.config.mask == "uniform" or self.config.tau <= 0:
            return uniform
        intensity = motion_intensity(self.patches(x), self.size.grid)
        return gumbel_scores(mask_probability(intensity, self.config.tau), uniform)

    def targets(self, x: Tensor) -> Tensor:
        """`(B, T, J, C)` -> `(B, N, P)`: what is to be predicted."""
        target = frame_motion(x, self.config.stride) if self.config.target == "motion" else x
        if self.config.normalise == "time":
            return self.patches(normalise_time(target))
        patches = self.patches(target)
        return normalise_tokens(patches) if self.config.normalise == "token" else patches

    def encode_kept(self, x: Tensor, keep: Tensor) -> Tensor:
        """`(B, T, J, C)`, ids `(B, K)` -> `(B, K, D)`: only the kept tokens are embedded and encoded."""
        return self.encode(take(self.embed(x), keep))

    def decoder_positions(self) -> Tensor:
        """`(1, N, D)`."""
        return (self.decoder_temp_embed + self.decoder_pos_embed).flatten(1, 2)

    def decode_all(self, latent: Tensor, keep: Tensor) -> Tensor:
        """The published decoder: `(B, K, D)`, ids `(B, K)` -> predictions `(B, N, P)` of every token."""
        t, j = self.size.grid
        b, n = keep.shape[0], t * j
        seen = self.decoder_embed(latent)
        rows = (keep + torch.arange(b, device=keep.device)[:, None] * n).flatten()
        tokens = self.mask_token.to(seen.dtype).expand(b, n, -1).flatten(0, 1).index_copy(0, rows, seen.flatten(0, 1))
        tokens = enter(self.size.residual, tokens.view(b, n, -1) + self.decoder_positions())
        for block in self.decoder_blocks:
            tokens = block(tokens)
        return self.decoder_pred(self.decoder_norm(leave(self.size.residual, tokens)))

    def decode_queries(self, latent: Tensor, keep: Tensor, queries: Tensor) -> Tensor:
        """The cross-attention decoder: predictions `(B, Q, P)` at token ids `(B, Q)` from the encoder's output at `keep`."""
        positions = self.decoder_positions()[0]
        context = self.decoder_embed(latent) + look_up(positions, keep)
        tokens = enter(self.size.residual, self.mask_token + look_up(positions, queries))
        for block in self.decoder_blocks:
            tokens = block(tokens, context)
        return self.decoder_pred(self.decoder_norm(leave(self.size.residual, tokens)))

    def predict(self, x: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`(B, T, J, C)`, draws `(B, N)` -> predictions `(B, Q, P)`, their token ids `(B, Q)`, kept ids `(B, K)`.

        `Q` is all hidden tokens, or the first `predict_share` of them in order of score, evenly spread.
        """
        order = torch.argsort(self.mask_scores(x, uniform), dim=1, stable=True)
        keep, hidden = order[:, : self.config.kept], order[:, self.config.kept :]
        latent = self.encode_kept(x, keep)
        if self.config.decoder == "self":
            return take(self.decode_all(latent, keep), hidden), hidden, keep
        if self.config.predict_share < 1:
            # the hidden tokens lie in order of score; an even stride over them keeps the mask's mixture of fast and slow tokens
            count = max(1, round(hidden.shape[1] * self.config.predict_share))
            chosen = torch.linspace(0, hidden.shape[1] - 1, count, device=hidden.device).round().long()
            hidden = hidden[:, chosen]
        return self.decode_queries(latent, keep, hidden), hidden, keep

    def loss(self, batch: ClipBatch, step: Step) -> Losses:
        """Mean squared error over hidden tokens, people averaged, clips averaged.

        With `pack`, a clip's loss is the mean over the people that are there; otherwise absent people count with target 0, as published.
        """
        b, _, m, _, _ = batch.positions.shape
        t, j = self.size.grid
        x = self.see(batch.positions)
        uniform = step.uniform("mask", (b, m, t * j)).flatten(0, 1)
        weight = None
        if self.config.pack:
            present = batch.present.flatten()
            weight = (batch.present / batch.present.sum(1, keepdim=True).clamp(min=1)).flatten()[present] / b
            x, uniform = x[present], uniform[present]
        prediction, queries, _ = self.predict(x, uniform)
        error = (prediction.float() - take(self.targets(x), queries)).square().mean((1, 2))
        total = error.mean() if weight is None else (error * weight).sum()
        return Losses(total, {"prediction": total.detach()})

    @torch.no_grad()
    def reconstruct(self, x: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """A picture of what the model predicts: `(B, T, J, C)`, draws `(B, N)` -> positions `(B, T, J, C)`, hidden `(B, T, J)` bool.

        Predictions are put back on the scale of the true patch (its mean and spread are taken from the data, as is usual for pictures of
        masked autoencoders). Predicted motion is added up over time, starting anew at every patch that was seen.
        """
        size, was = self.size, self.training
        self.eval()
        # every hidden token is shown, also where training predicts a share of them
        order = torch.argsort(self.mask_scores(x, uniform), dim=1, stable=True)
        keep, hidden = order[:, : self.config.kept], order[:, self.config.kept :]
        latent = self.encode_kept(x, keep)
        if self.config.decoder == "self":
            predicted = take(self.decode_all(latent, keep), hidden)
        else:
            predicted = self.decode_queries(latent, keep, hidden)
        self.train(was)
        raw = frame_motion(x, self.config.stride) if self.config.target == "motion" else x
        patches = self.patches(raw)
        values = take(patches, hidden)
        if self.config.normalise == "token":
            predicted = predicted * (values.var(-1, keepdim=True) + 1e-6).sqrt() + values.mean(-1, keepdim=True)
        elif self.config.normalise == "time":
            scale = self.patches((raw.var(1, keepdim=True) + 1e-6).sqrt().expand_as(raw))
            centre = self.patches(raw.mean(1, keepdim=True).expand_as(raw))
            predicted = predicted * take(scale, hidden) + take(centre, hidden)
        rows = torch.arange(len(x), device=x.device)[:, None]
        filled = patches.clone()
        filled[rows, hidden] = predicted.to(filled.dtype)
        masked = torch.zeros_like(patches, dtype=torch.bool)
        masked[rows, hidden] = True
        grid, u, p = size.grid, size.frame_patch, size.joint_patch
        values, unseen = unpatchify(filled, grid, u, p), unpatchify(masked, grid, u, p).any(-1)
        return (values if self.config.target == "joint" else _integrate(x, values, unseen, self.config.stride)), unseen


def _integrate(x: Tensor, motion: Tensor, hidden: Tensor, stride: int) -> Tensor:
    """Positions from motions: true where seen, else the position `stride` frames before plus its motion (first frames: true)."""
    out = x.clone()
    for t in range(stride, x.shape[1]):
        out[:, t] = torch.where(hidden[:, t, :, None], out[:, t - stride] + motion[:, t - stride], x[:, t])
    return out
