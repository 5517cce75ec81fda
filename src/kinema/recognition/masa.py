"""MASA: Motion-aware Masked Autoencoder with Semantic Alignment for Sign Language Recognition (Zhao et al., TCSVT 2024).

Two views of a signing person: the query does not see nine tenths of the frames in which a part moves, and predicts how far its joints
move there; the key, a random half of each part's frames hidden, is what the query's pooled feature must find again among past keys (MoCo, as
CMD).

The released code and the paper differ; `MASAConfig.code()` is the code and `MASAConfig.paper()` the paper, and every difference is an option.
Parameter names are the authors'; what their checkpoints hold but none of their code uses is listed in `UNUSED` and left out by
`from_authors`. The queue takes a batch of any size (theirs stops unless the queue is a multiple of it).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..data.batches import ClipBatch
from ..nn.contrast import contrast_logits, enqueue, follow, info_nce, unit_columns
from ..nn.decay import decayed
from ..nn.graph import BODY, HAND
from ..training.method import Losses, Step
from .cmd import unit
from .encoder import Encoder
from .masa_batch import JOINTS, Parts, SignBatch
from .masa_motion import Motion, MotionConfig, hide_parts, motions, prediction_loss
from .masa_network import Encoded, PostNormTransformer, SignEncoder, SignNetworkConfig, View
from .sequence import head

UNUSED = ("target_decoder.", "embed.pe.", ".conv2.", ".non_local.", ".fcn.")
"""What names in the authors' checkpoints begin with or hold that none of their code uses: a second decoder, positions, graph layers."""


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' weights as `MASA` loads them strictly: without what is `UNUSED` and the ``module.`` of distributed training."""
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    return {name: value for name, value in plain.items() if not any(unused in name for unused in UNUSED)}


@dataclass(frozen=True)
class MASAConfig:
    """MASA's choices; the defaults are those of the published code.

    Attributes:
        network: of the encoders. motion: what moves and is hidden.
        decoder_depth: blocks of the decoder. head_hidden: hidden width of the two predicting heads.
        relu: whether predictions are cut at 0 (they are never negative, as positive motion is not).
        regression: ``l1`` (code) or ``l2`` (paper), see `prediction_loss`.
        dim: of queries and keys. queue: `K` keys. momentum: of the key encoder. temperature: of InfoNCE.
        align: weight of InfoNCE. align_epochs: over which it rises from 0; 0: there from the first.
        frames: clips are at most so long.
    """

    network: SignNetworkConfig = field(default_factory=SignNetworkConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    decoder_depth: int = 2
    head_hidden: int = 256
    relu: bool = True
    regression: Literal["l1", "l2"] = "l1"
    dim: int = 128
    queue: int = 6912
    momentum: float = 0.999
    temperature: float = 0.07
    align: float = 0.05
    align_epochs: int = 100
    frames: int = 300

    joints: ClassVar[int] = JOINTS
    coordinates: ClassVar[int] = 2

    def __post_init__(self) -> None:
        for name in ("decoder_depth", "head_hidden", "dim", "queue", "frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: expected 1 or more")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum {self.momentum}: expected 0 to 1")
        if not self.temperature > 0:
            raise ValueError(f"temperature {self.temperature}: expected a temperature above 0")
        if self.align < 0 or self.align_epochs < 0:
            raise ValueError(f"align {self.align}, align_epochs {self.align_epochs}: expected 0 or more")
        if self.relu and self.motion.direction == "both":
            raise ValueError("relu with direction both: motion that is negative could never be predicted; choose relu=False")

    @classmethod
    def code(cls) -> MASAConfig:
        """The released code with the options of its script."""
        return cls()

    @classmethod
    def paper(cls) -> MASAConfig:
        """The paper's text. Where it says nothing the code speaks, but padding is not seen."""
        return cls(
            network=SignNetworkConfig(hidden="skip", padding=False, pool="average"),
            motion=MotionConfig.paper(),
            relu=False,
            regression="l2",
            queue=6144,
            momentum=0.996,
        )


class MASA(Encoder):
    """The pre-training model. As an encoder it gives the pooled feature of a signer."""

    confidence = True

    queue: Tensor
    queue_ptr: Tensor

    def __init__(self, config: MASAConfig):
        super().__init__()
        self.config = config
        net = config.network
        width = net.graph.width
        self.width, self.depth, self.frames, self.joints = width, net.depth, config.frames, JOINTS
        self.encoder_q = SignEncoder(net, head(width, config.dim))
        self.encoder_q.initialise()
        self.encoder_k = deepcopy(self.encoder_q).requires_grad_(False)
        self.reg_decoder = nn.ModuleDict(
            {"GCN_Tran": PostNormTransformer(net.width, config.decoder_depth, net.heads, net.mlp, net.dropout, net.residual)}
        )
        self.hand_decoder = _predictor(width, config.head_hidden, 2 * len(HAND.joints.distance), config.relu)
        self.body_decoder = _predictor(width, config.head_hidden, 2 * len(BODY.joints.distance), config.relu)
        self.register_buffer("queue", unit_columns(config.dim, config.queue))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.int64))

    def decode(self, tokens: Tensor, real: Tensor) -> Tensor:
        """The decoder alone: `(B, T, 3 D)`, `(B, T)` bool of frames that are not padding -> `(B, T, 3 D)`."""
        return self.reg_decoder["GCN_Tran"](tokens, real)

    def predict(self, decoded: Tensor) -> Parts:
        """Pixels (of 256) that each joint moves: `(B, T, 3 D)` -> `(B, T, J, 2)` of each part."""
        right, left, body = decoded.chunk(3, 2)
        found = (self.hand_decoder(right), self.hand_decoder(left), self.body_decoder(body))
        return Parts(*(x.unflatten(2, (-1, 2)) for x in found))

    def query_view(self, batch: SignBatch, moving: tuple[Motion, Motion, Motion], draws: Tensor) -> View:
        """Frames that move are hidden, each part's by themselves; `draws` `(B, 3, T)` or longer."""
        right, left, body = moving
        candidates = Parts(right.candidate, left.candidate, body.candidate)
        hidden = hide_parts(candidates, self.config.motion.hide, draws)
        return View.of(batch, self.config.motion.confident, hidden)

    def key_view(self, batch: SignBatch, draws: Tensor) -> View:
        """Any frames are hidden, of each part or whole; `draws` `(B, 3, T)` or longer."""
        real = batch.real
        if self.config.motion.hide_key_by == "frame":
            draws = draws[:, :1].expand_as(draws)
        hidden = hide_parts(Parts(real, real, real), self.config.motion.hide_key, draws)
        return View.of(batch, self.config.motion.confident, hidden)

    def alignment(self, query: Encoded, key: View) -> tuple[Tensor, Tensor]:
        """Logits `(B, 1 + K)` of InfoNCE, and keys `(B, D)`."""
        q = unit(self.encoder_q.proj(query.hands, query.body))
        with torch.no_grad():
            seen = self.encoder_k(key)
            k = unit(self.encoder_k.proj(seen.hands, seen.body))
        return contrast_logits(q, k, self.queue, self.config.temperature), k

    def weight(self, epoch: int) -> float:
        """Of InfoNCE in an epoch."""
        c = self.config
        return c.align * (min(epoch / c.align_epochs, 1.0) if c.align_epochs else 1.0)

    def loss(self, batch: ClipBatch | SignBatch, step: Step) -> Losses:
        """InfoNCE and the prediction of each part's motion; gradients reach the query encoder and the decoder. Carries the keys.

        Predictions are averaged over the hidden frames of this call's rows, not over rows, as published.
        """
        c = self.config
        if isinstance(batch, ClipBatch):
            batch = SignBatch.of_positions(batch.positions)
        if batch.frames > c.frames:
            raise ValueError(f"clips of {batch.frames} frames; expected at most {c.frames}")
        moving = motions(batch, c.motion)
        # drawn for the longest clip there may be, so that they do not depend on what a clip is batched with
        draws = {name: step.uniform(f"mask.{name}", (len(batch), 3, c.frames)) for name in ("query", "key")}
        return self.losses(
            self.query_view(batch, moving, draws["query"]), self.key_view(batch, draws["key"]), moving, self.weight(step.epoch)
        )

    def losses(self, query: View, key: View, moving: tuple[Motion, Motion, Motion], align: float) -> Losses:
        """The loss of given views; `align`: weight of InfoNCE."""
        encoded = self.encoder_q(query)
        predicted = self.predict(self.decode(encoded.tokens, query.real))
        assert query.hidden is not None
        parts = {
            name: prediction_loss(guess, motion, hidden, self.config.regression)
            for name, guess, motion, hidden in zip(Parts._fields, predicted, moving, query.hidden, strict=True)
        }
        logits, keys = self.alignment(encoded, key)
        parts["contrast"] = info_nce(logits)
        total = align * parts["contrast"] + parts["right"] + parts["left"] + parts["body"]
        return Losses(total, {name: value.detach() for name, value in parts.items()}, carry=keys)

    def after_step(self, carry: list[Any]) -> None:
        """Enqueues the keys of the whole batch, then moves the key encoder."""
        enqueue(self.queue, self.queue_ptr, torch.cat(carry))
        follow(self.encoder_k, self.encoder_q, self.config.momentum)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The published optimiser decays everything; only what belongs to hyper-connections is decayed as they want it."""
        takes = decayed(self)
        learned = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        bare = [p for name, p in learned if (".join1." in name or ".join2." in name) and not takes[name]]
        left_out = {id(p) for p in bare}
        groups = [{"params": [p for _, p in learned if id(p) not in left_out]}]
        return [*groups, {"params": bare, "weight_decay": 0.0}] if bare else groups

    def tokens(self, x: Tensor) -> Tensor:
        """`(B, T, 1, 49, 3)`: `SIGN49` as `prepare_clip` gives it, with confidences -> `(B, 1, 1, 1, D)`: the pooled feature."""
        return pooled(self.encoder_q, x, self.config.motion.confident)

    def alone(self) -> SignFeatures:
        """See `Encoder.alone`."""
        return SignFeatures(self.encoder_q, self.config.frames, self.config.motion.confident)

    def layer_of(self, parameter: str) -> int:
        """See `Encoder.layer_of`."""
        return layer_of(parameter, self.depth)

    def is_encoder_parameter(self, name: str) -> bool:
        """See `Encoder.is_encoder_parameter`."""
        return name.startswith("encoder_q.") and not name.startswith("encoder_q.proj.fc.")


class SignFeatures(Encoder):
    """The encoder that pre-training leaves: the pooled feature of a signer, nothing hidden from it. With a `PlainHead` it is the
    published classifier, whose dropout before the last layer is the head's.

    Args:
        encoder: its head is left out. frames: clips are at most so long. confident: a joint is confident above this.
    """

    confidence = True

    def __init__(self, encoder: SignEncoder, frames: int, confident: float):
        super().__init__()
        self.width, self.depth, self.frames, self.joints = encoder.config.graph.width, encoder.config.depth, frames, JOINTS
        self.confident = confident
        self.encoder_q = deepcopy(encoder)
        self.encoder_q.proj.fc = nn.Identity()

    def tokens(self, x: Tensor) -> Tensor:
        """`(B, T, 1, 49, 3)`: `SIGN49` as `prepare_clip` gives it, with confidences -> `(B, 1, 1, 1, D)`."""
        return pooled(self.encoder_q, x, self.confident)

    def layer_of(self, parameter: str) -> int:
        """See `Encoder.layer_of`."""
        return layer_of(parameter, self.depth)

    def is_encoder_parameter(self, name: str) -> bool:
        """See `Encoder.is_encoder_parameter`."""
        return True


def pooled(encoder: SignEncoder, x: Tensor, confident: float) -> Tensor:
    """The feature of signers from whom nothing is hidden: `(B, T, 1, 49, 3)` -> `(B, 1, 1, 1, D)`, as `Encoder.tokens` wants it."""
    return encoder(View.of(SignBatch.of_positions(x), confident)).feature[:, None, None, None]


def layer_of(parameter: str, depth: int) -> int:
    """Layer of a parameter for rate decay: 0 graph encoders and the first norm, then the blocks, then pooling, heads and all else."""
    name = parameter.removeprefix("encoder_q.")
    if name.startswith("GCN_Tran.blocks."):
        return int(name.split(".")[2]) + 1
    return 0 if name.startswith(("embed.", "GCN_Tran.norm.")) else depth + 1


def _predictor(width: int, hidden: int, out: int, relu: bool) -> nn.Sequential:
    layers = [nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out)]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)
