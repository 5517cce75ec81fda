"""CMD: Self-supervised 3D Action Representation Learning with Cross-modal Mutual Distillation (Mao et al., ECCV 2022).

Three sequence encoders see the joints, their motion and the bones of two augmented views of a clip. Each learns by contrast against
a queue of past keys (MoCo), and each teaches the others which past clips are near: over the teacher's nearest slots, the student's
distribution is pulled towards the teacher's sharper one. Queues are filled in lock-step, so a slot is the same clip in all of them.

`CMDConfig(bones)` is the published method and keeps the authors' parameter names (`encoder_q_motion.encoder.gru.weight_ih_l0`, `queue_bone`).
Their "bidirectional" GRU is stepped a frame at a time and so runs forward in both streams; `GRUConfig(direction="both")` is a true one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.batches import ViewBatch
from ..errors import unknown
from ..nn.contrast import enqueue, follow, info_nce, logits_of, near, similarities, taught, unit_columns
from ..training.method import Losses, Step
from .encoder import Encoder, TransformerConfig
from .sequence import MODALITIES, GRUConfig, Modality, Sequential, Stream, features, see, sequence_encoder

Node = TypeVar("Node")
"""Whoever teaches and is taught, under whatever name."""
SUFFIX: dict[str, str] = {"joint": "", "motion": "_motion", "bone": "_bone"}
"""Of the authors' names."""
DIRECTIONS: tuple[tuple[Modality, Modality], ...] = tuple(
    (teacher, student) for teacher in MODALITIES for student in MODALITIES if teacher != student
)
"""Who teaches whom, as published: each every other."""


@dataclass(frozen=True)
class CMDConfig:
    """CMD's choices; the defaults are those published for NTU RGB+D.

    Attributes:
        bones: (child, parent) joint indices, for the bone modality.
        coordinates: `C`. joints: `J`. people: `M`, seen together as one vector a frame. frames: `T` the input is resized to.
        network: of each modality; a `TransformerConfig` instead of the GRU is no part of the paper.
        dim: `D` of queries and keys. mlp: a head is two maps with a ReLU between; False: a single one (the authors' class knows both).
        queue: `K` keys. momentum: of the key encoders.
        temperature: of InfoNCE. teacher, student: temperatures of the distillation. neighbours: slots that a teacher speaks of.
        directions: (teacher, student) pairs of modalities. weight: of their distillation terms.
        frozen: modalities that do not learn but only teach. They alone are taken over from the run begun from (``--init``).
    """

    bones: tuple[tuple[int, int], ...]
    coordinates: int = 3
    joints: int = 25
    people: int = 2
    frames: int = 64
    network: GRUConfig | TransformerConfig = field(default_factory=GRUConfig)
    dim: int = 128
    mlp: bool = True
    queue: int = 16384
    momentum: float = 0.999
    temperature: float = 0.07
    teacher: float = 0.05
    student: float = 0.1
    neighbours: int = 8192
    directions: tuple[tuple[Modality, Modality], ...] = DIRECTIONS
    weight: float = 1.0
    frozen: tuple[Modality, ...] = ()

    def __post_init__(self) -> None:
        for name in ("coordinates", "joints", "people", "frames", "dim", "queue", "neighbours"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: expected 1 or more")
        for name in ("temperature", "teacher", "student"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} {getattr(self, name)}: expected a temperature above 0")
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"weight {self.weight}: expected 0 or more")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum {self.momentum}: expected 0 to 1")
        if len(self.bones) != self.joints:
            raise ValueError(f"{len(self.bones)} bones for {self.joints} joints; expected one (child, parent) pair a joint")
        if len(set(self.directions)) < len(self.directions) or not set(self.directions) <= set(DIRECTIONS):
            raise ValueError(
                f"directions {self.directions}: expected different (teacher, student) pairs of {', '.join(MODALITIES)}"
            )
        if set(self.frozen) >= set(MODALITIES) or any(student in self.frozen for _, student in self.directions):
            raise ValueError(
                f"frozen {self.frozen}: what is frozen cannot be a student, and something has to learn; "
                "leave out of directions every (teacher, student) pair that ends in it"
            )
        if isinstance(self.network, TransformerConfig):
            theirs = (self.network.coordinates, self.network.joints, self.network.frames, self.network.modality)
            if theirs != (self.coordinates, self.joints, self.frames, "joint"):
                raise ValueError(
                    f"network: (coordinates, joints, frames, modality) {theirs}; expected those of the model and modality joint, "
                    f"{(self.coordinates, self.joints, self.frames, 'joint')}: it is given each modality"
                )


class CMD(Encoder):
    """The pre-training model. As an encoder it gives the joint stream's feature; `stream` gives each."""

    pairs = True
    streams = MODALITIES

    def __init__(self, config: CMDConfig):
        super().__init__()
        self.config = config
        self.width, self.depth = config.network.width, config.network.depth
        self.frames, self.joints = config.frames, config.joints
        for name in MODALITIES:
            query = sequence_encoder(config.coordinates, config.joints, config.people, config.network, config.dim, config.mlp)
            query.requires_grad_(name not in config.frozen)
            key = deepcopy(query).requires_grad_(False)
            self.add_module(f"encoder_q{SUFFIX[name]}", query)
            self.add_module(f"encoder_k{SUFFIX[name]}", key)
            self.register_buffer(f"queue{SUFFIX[name]}", unit_columns(config.dim, config.queue))
            self.register_buffer(f"queue_ptr{SUFFIX[name]}", torch.zeros(1, dtype=torch.int64))

    @property
    def learners(self) -> list[Modality]:
        """Modalities that learn."""
        return [name for name in MODALITIES if name not in self.config.frozen]

    def query(self, modality: str) -> Sequential:
        """The encoder that learns."""
        return getattr(self, f"encoder_q{SUFFIX[modality]}")

    def key(self, modality: str) -> Sequential:
        """The encoder that follows it."""
        return getattr(self, f"encoder_k{SUFFIX[modality]}")

    def queue_of(self, modality: str) -> tuple[Tensor, Tensor]:
        """Keys `(D, K)` and the next slot `(1,)`."""
        return getattr(self, f"queue{SUFFIX[modality]}"), getattr(self, f"queue_ptr{SUFFIX[modality]}")

    def train(self, mode: bool = True) -> CMD:
        """Training mode, but for what is frozen."""
        super().train(mode)
        for name in self.config.frozen:
            self.query(name).eval()
            self.key(name).eval()
        return self

    def taken_over(self) -> tuple[str, ...]:
        """See `Encoder.taken_over`: what is frozen, or all if nothing is."""
        return tuple(f"encoder_{side}{SUFFIX[name]}." for name in self.config.frozen for side in "qk")

    def see(self, x: Tensor, modality: Modality) -> Tensor:
        """`(B, T, M, J, C)` -> the same shape, as a modality shows it."""
        return see(x, modality, self.config.bones)

    def query_features(self, x: Tensor) -> dict[Modality, Tensor]:
        """Features `(B, W)` of a view `(B, T, M, J, C)`, of the encoders that learn."""
        found = features([self.query(name) for name in self.learners], [self.see(x, name) for name in self.learners])
        return dict(zip(self.learners, found, strict=True))

    @torch.no_grad()
    def key_features(self, x: Tensor) -> dict[Modality, Tensor]:
        """Features `(B, W)` of a view, of all encoders that follow."""
        found = features([self.key(name) for name in MODALITIES], [self.see(x, name) for name in MODALITIES])
        return dict(zip(MODALITIES, found, strict=True))

    def losses(self, queries: dict[Modality, Tensor], keys: dict[Modality, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Total and parts, from unit vectors `(B, D)` of each modality; queries of those that learn."""
        c = self.config
        queues = {name: self.queue_of(name)[0] for name in MODALITIES}
        to_queue = {name: similarities(q, queues[name]) for name, q in queries.items()}
        parts = {f"contrast_{n}": info_nce(logits_of(q, keys[n], to_queue[n], c.temperature)) for n, q in queries.items()}
        total = sum(parts.values(), torch.zeros((), device=queues["joint"].device))
        teaching = {teacher for teacher, _ in c.directions}
        teachers = {name: similarities(keys[name], queues[name]) for name in MODALITIES if name in teaching}
        for (teacher, student), part in distil(c.directions, teachers, to_queue, c).items():
            parts[f"{teacher}_to_{student}"] = part
            total = total + c.weight * part
        return total, parts

    def loss(self, batch: ViewBatch, step: Step) -> Losses:
        """InfoNCE of each modality and six distillation terms; gradients reach the queries alone. Carries the keys to enqueue."""
        queries: dict[Modality, Tensor] = {
            name: unit(self.query(name).fc(x)) for name, x in self.query_features(batch.first).items()
        }
        with torch.no_grad():
            keys: dict[Modality, Tensor] = {name: unit(self.key(name).fc(x)) for name, x in self.key_features(batch.second).items()}
        total, parts = self.losses(queries, keys)
        return Losses(total, {name: value.detach() for name, value in parts.items()}, carry=keys)

    def after_step(self, carry: list[Any]) -> None:
        """Enqueues the keys of the whole batch, then moves the key encoders."""
        for name in MODALITIES:
            enqueue(*self.queue_of(name), torch.cat([keys[name] for keys in carry]))
        for name in self.learners:
            follow(self.key(name), self.query(name), self.config.momentum)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One: the published optimiser decays everything."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def stream(self, name: str) -> Stream:
        """See `Encoder.stream`."""
        if name not in MODALITIES:
            raise unknown("stream", name, MODALITIES)
        return Stream(self.query(name), name, self.config.bones, self.frames, self.joints)

    def tokens(self, x: Tensor) -> Tensor:
        """`(B, T, M, J, C)` -> tokens of the joint stream; of a GRU `(B, 1, 1, 1, 2 H)`."""
        return self.query("joint").tokens(x)

    def layer_of(self, parameter: str) -> int:
        """See `Encoder.layer_of`."""
        return self.query("joint").layer_of(parameter.split(".", 1)[-1])

    def is_encoder_parameter(self, name: str) -> bool:
        """See `Encoder.is_encoder_parameter`."""
        return name.startswith("encoder_q.") and not name.startswith("encoder_q.fc.")


def distil(
    pairs: Iterable[tuple[Node, Node]], teachers: Mapping[Node, Tensor], students: Mapping[Node, Tensor], config: CMDConfig
) -> dict[tuple[Node, Node], Tensor]:
    """A divergence for each (teacher, student) pair, from similarities `(B, K)` of keys and of queries to their own queues.

    What a teacher says is worked out once for all of its students.
    """
    students_of: dict[Node, list[Node]] = {}
    for teacher, student in pairs:
        students_of.setdefault(teacher, []).append(student)
    found: dict[tuple[Node, Node], Tensor] = {}
    for teacher, several in students_of.items():
        slots, target = near(teachers[teacher], config.neighbours, config.teacher)
        found |= {(teacher, student): taught(students[student], slots, target, config.student) for student in several}
    return found


def unit(x: Tensor) -> Tensor:
    """`(B, D)` rows of length one, float32."""
    return F.normalize(x.float(), dim=1)
