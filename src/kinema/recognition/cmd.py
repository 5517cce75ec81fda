"""CMD: Self-supervised 3D Action Representation Learning with Cross-modal Mutual Distillation (Mao et al., ECCV 2022).

Three sequence encoders see the joints, their motion and the bones of two augmented views of a clip. Each learns by contrast against
a queue of past keys (MoCo), and each teaches the others which past clips are near: over the teacher's nearest slots, the student's
distribution is pulled towards the teacher's sharper one. Queues are filled in lock-step, so a slot is the same clip in all of them.

`CMDConfig()` is the published method and keeps the authors' parameter names (`encoder_q_motion.encoder.gru.weight_ih_l0`, `queue_bone`).
Their "bidirectional" GRU is stepped a frame at a time and so runs forward in both streams; `direction="both"` is a true one.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.augment import bone, motion
from ..data.batches import ViewBatch
from ..nn.contrast import enqueue, follow, info_nce, logits_of, near, taught, unit_columns
from ..nn.recurrent import Direction, TwoStreamGRU
from ..training.method import Losses, Step
from .encoder import Encoder

MODALITIES = ("joint", "motion", "bone")
SUFFIX = {"joint": "", "motion": "_motion", "bone": "_bone"}
"""Of the authors' names."""


@dataclass(frozen=True)
class CMDConfig:
    """CMD's choices; the defaults are those published for NTU RGB+D.

    Attributes:
        coordinates: `C`. joints: `J`. people: `M` seen together, as one vector a frame. frames: `T` the input is resized to.
        bones: (child, parent) joint indices, for the bone modality.
        hidden: `H`; a clip's feature is `2 H` long. layers: of the GRU. direction: see `nn.recurrent`.
        dim: `D` of queries and keys. queue: `K` keys. momentum: of the key encoders.
        temperature: of InfoNCE. teacher, student: temperatures of the distillation. neighbours: slots that a teacher speaks of.
        weight: of the six distillation terms together.
    """

    bones: tuple[tuple[int, int], ...]
    coordinates: int = 3
    joints: int = 25
    people: int = 2
    frames: int = 64
    hidden: int = 1024
    layers: int = 3
    direction: Direction = "forward"
    dim: int = 128
    queue: int = 16384
    momentum: float = 0.999
    temperature: float = 0.07
    teacher: float = 0.05
    student: float = 0.1
    neighbours: int = 8192
    weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("coordinates", "joints", "people", "frames", "hidden", "layers", "dim", "queue", "neighbours"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: expected 1 or more")
        for name in ("temperature", "teacher", "student"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} {getattr(self, name)}: expected a temperature above 0")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum {self.momentum}: expected 0 to 1")
        if len(self.bones) != self.joints:
            raise ValueError(f"{len(self.bones)} bones for {self.joints} joints; expected one (child, parent) pair a joint")

    @property
    def channels(self) -> int:
        """Numbers of one frame."""
        return self.coordinates * self.joints * self.people


class SequenceEncoder(nn.Module):
    """Batch norm over channels and time, the GRU, and a head on the last step: `(B, T, C J M)` -> `(B, D)`."""

    def __init__(self, config: CMDConfig):
        super().__init__()
        width = 2 * config.hidden
        self.input_norm = nn.BatchNorm1d(config.channels)
        self.encoder = nn.ModuleDict({"gru": TwoStreamGRU(config.channels, config.hidden, config.layers, config.direction)})
        self.fc = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.dim))

    def sequence(self, x: Tensor) -> Tensor:
        """`(B, T, C J M)` -> `(B, T, 2 H)`."""
        return self.encoder["gru"](self.input_norm(x.transpose(1, 2)).transpose(1, 2))

    def feature(self, x: Tensor) -> Tensor:
        """`(B, T, C J M)` -> `(B, 2 H)`: the last step, which has seen all others (a true bidirectional GRU: the end of each stream)."""
        steps = self.sequence(x)
        hidden = steps.shape[-1] // 2
        both = self.encoder["gru"].direction == "both"
        return torch.cat([steps[:, -1, :hidden], steps[:, 0, hidden:]], -1) if both else steps[:, -1]

    def forward(self, x: Tensor) -> Tensor:
        """Not yet of unit length."""
        return self.fc(self.feature(x))


def channels(x: Tensor) -> Tensor:
    """`(B, T, M, J, C)` -> `(B, T, J C M)`: the published order of a frame's numbers, joint, then coordinate, then person."""
    return x.permute(0, 1, 3, 4, 2).flatten(2)


class CMD(Encoder):
    """The pre-training model. As an encoder it gives the joint stream's feature."""

    pairs = True

    def __init__(self, config: CMDConfig):
        super().__init__()
        self.config = config
        self.width, self.frames, self.joints, self.depth = 2 * config.hidden, config.frames, config.joints, config.layers
        for name in MODALITIES:
            query = SequenceEncoder(config)
            key = deepcopy(query).requires_grad_(False)
            self.add_module(f"encoder_q{SUFFIX[name]}", query)
            self.add_module(f"encoder_k{SUFFIX[name]}", key)
            self.register_buffer(f"queue{SUFFIX[name]}", unit_columns(config.dim, config.queue))
            self.register_buffer(f"queue_ptr{SUFFIX[name]}", torch.zeros(1, dtype=torch.int64))

    def query(self, modality: str) -> SequenceEncoder:
        """The encoder that learns."""
        return getattr(self, f"encoder_q{SUFFIX[modality]}")

    def key(self, modality: str) -> SequenceEncoder:
        """The encoder that follows it."""
        return getattr(self, f"encoder_k{SUFFIX[modality]}")

    def queue_of(self, modality: str) -> tuple[Tensor, Tensor]:
        """Keys `(D, K)` and the next slot `(1,)`."""
        return getattr(self, f"queue{SUFFIX[modality]}"), getattr(self, f"queue_ptr{SUFFIX[modality]}")

    def see(self, x: Tensor) -> dict[str, Tensor]:
        """`(B, T, M, J, C)` -> each modality `(B, T, J C M)`."""
        return {"joint": channels(x), "motion": channels(motion(x)), "bone": channels(bone(x, self.config.bones))}

    def losses(self, queries: dict[str, Tensor], keys: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Total and parts, from unit vectors `(B, D)` of each modality."""
        c = self.config
        parts: dict[str, Tensor] = {}
        queues = {name: self.queue_of(name)[0] for name in MODALITIES}
        to_queue = {name: queries[name] @ queues[name] for name in MODALITIES}
        for name in MODALITIES:
            parts[f"contrast_{name}"] = info_nce(logits_of(queries[name], keys[name], to_queue[name], c.temperature))
        for teacher in MODALITIES:
            slots, target = near(keys[teacher] @ queues[teacher], c.neighbours, c.teacher)
            for student in MODALITIES:
                if teacher != student:
                    parts[f"{teacher}_to_{student}"] = taught(to_queue[student], slots, target, c.student)
        total = sum(value if name.startswith("contrast") else c.weight * value for name, value in parts.items())
        assert isinstance(total, Tensor)
        return total, parts

    def loss(self, batch: ViewBatch, step: Step) -> Losses:
        """Three InfoNCE and six distillation terms; gradients reach the queries alone. Carries the keys to enqueue."""
        first, second = (self.see(view) for view in (batch.first, batch.second))
        queries = {name: F.normalize(self.query(name)(first[name]).float(), dim=1) for name in MODALITIES}
        with torch.no_grad():
            keys = {name: F.normalize(self.key(name)(second[name]).float(), dim=1) for name in MODALITIES}
        total, parts = self.losses(queries, keys)
        return Losses(total, {name: value.detach() for name, value in parts.items()}, carry=keys)

    def after_step(self, carry: list[Any]) -> None:
        """Enqueues the keys of the whole batch, then moves the key encoders."""
        for name in MODALITIES:
            enqueue(*self.queue_of(name), torch.cat([keys[name] for keys in carry]))
            follow(self.key(name), self.query(name), self.config.momentum)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One: the published optimiser decays everything."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def tokens(self, x: Tensor) -> Tensor:
        """`(B, T, M, J, C)` -> `(B, 1, 1, 1, 2 H)`: one token, all people together."""
        return self.query("joint").feature(channels(x))[:, None, None, None]

    def layer_of(self, parameter: str) -> int:
        """See `Encoder.layer_of`."""
        if "gru" in parameter:
            return int(parameter.split("_l")[-1].split("_")[0]) + 1
        return 0 if "input_norm" in parameter else self.depth + 1

    def is_encoder_parameter(self, name: str) -> bool:
        """See `Encoder.is_encoder_parameter`."""
        return name.startswith("encoder_q.") and not name.startswith("encoder_q.fc.")
