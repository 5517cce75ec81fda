"""I²MD: 3D Action Representation Learning with Inter- and Intra-modal Mutual Distillation (Mao et al., IJCV 2025, arXiv 2310.15568).

Status: a reconstruction from the paper's abstract, on top of CMD. The authors' repository is empty, so nothing here was checked against
their code, and what the abstract leaves open is an option of `I2MDConfig` or named in docs/papers/i2md.md.

The abstract gives three things. Between modalities there is CMD. In each modality there is a second branch, at the level of clusters, whose
key gathers near neighbours (dynamic neighbours aggregation, DNA). And the two branches of a modality teach one another (intra-modal mutual
distillation, IMD). Here a branch is a head of its own on the shared feature, with a queue of its own that is in lock-step with all others;
neighbours are slots of that queue, weighed by a softmax of their similarity; and whoever teaches does so as in CMD.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..data.batches import ViewBatch
from ..nn.contrast import enqueue, follow, info_nce, logits_of, near, similarities, unit_columns
from ..training.method import Losses, Step
from .cmd import CMD, SUFFIX, CMDConfig, distil, unit
from .sequence import MODALITIES, Modality, head

Level = Literal["instance", "cluster"]
LEVELS: tuple[Level, Level] = ("instance", "cluster")
Branch = tuple[Modality, Level]
"""A level of a modality: what has queries, keys and a queue."""
Term = tuple[str, float, Tensor]
"""Of the loss: what it is logged as, its weight, its value."""


@dataclass(frozen=True)
class I2MDConfig(CMDConfig):
    """CMD's choices, and what I²MD adds. No default of the latter is known from the paper.

    A weight of 0 switches its term off, and with it the options that only this term reads.

    Attributes:
        aggregated: neighbours whose cluster vectors are blended into a cluster key; 0: the key is the sample's own.
        aggregate_temperature: of the neighbours' weights. share: of their blend, beside the sample's own cluster key, which counts 1.
        pick: the similarities by which neighbours are picked and weighed.
        exclude: the aggregated slots are no negatives of the cluster contrast; with `aggregated` 0 there is nothing to exclude.
        cluster_weight: of the cluster contrast; it alone aggregates.
        intra: weight of the distillation between the two branches of a modality, each way.
        between: where modalities teach one another; each level in `directions`, by `weight`.
    """

    aggregated: int = 16
    aggregate_temperature: float = 0.05
    share: float = 1.0
    pick: Level = "instance"
    exclude: bool = True
    cluster_weight: float = 1.0
    intra: float = 1.0
    between: Literal["instance", "cluster", "both"] = "instance"

    def __post_init__(self) -> None:
        super().__post_init__()
        most = self.queue - 1 if self.exclude else self.queue
        if not 0 <= self.aggregated <= most:
            why = ", which must keep negatives" if self.exclude else ""
            raise ValueError(f"aggregated {self.aggregated}: expected 0 to {most} of a queue of {self.queue}{why}")
        if not self.aggregate_temperature > 0:
            raise ValueError(f"aggregate_temperature {self.aggregate_temperature}: expected a temperature above 0")
        for name in ("share", "cluster_weight", "intra"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)}: expected 0 or more")
        for name, known in (("pick", LEVELS), ("between", (*LEVELS, "both"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r}: expected one of {', '.join(known)}")

    def lessons(self) -> dict[tuple[Branch, Branch], tuple[str, float]]:
        """Who teaches whom, (teacher, student), what it is logged as and its weight. What has weight 0 is not there."""
        found: dict[tuple[Branch, Branch], tuple[str, float]] = {}
        for level in LEVELS if self.weight else ():
            if self.between in (level, "both"):
                suffix = "" if level == "instance" else "_cluster"
                found |= {((t, level), (s, level)): (f"{t}_to_{s}{suffix}", self.weight) for t, s in self.directions}
        for name in MODALITIES if self.intra else ():
            if name not in self.frozen:
                for teacher, student in LEVELS, LEVELS[::-1]:
                    found[(name, teacher), (name, student)] = f"{name}_{teacher}_to_{student}", self.intra
        return found

    def learns_clusters(self, modality: Modality) -> bool:
        """Whether any term teaches the cluster branch of a modality."""
        taught = (modality, "cluster") in (student for _, student in self.lessons())
        return modality not in self.frozen and (self.cluster_weight > 0 or taught)


class I2MD(CMD):
    """The pre-training model: CMD with a cluster branch in each modality. As an encoder it is CMD's."""

    config: I2MDConfig

    def __init__(self, config: I2MDConfig):
        super().__init__(config)
        self.lessons = config.lessons()
        for name in MODALITIES:
            query = head(self.width, config.dim, config.mlp).requires_grad_(config.learns_clusters(name))
            self.add_module(f"cluster_q{SUFFIX[name]}", query)
            self.add_module(f"cluster_k{SUFFIX[name]}", deepcopy(query).requires_grad_(False))
            self.register_buffer(f"queue_cluster{SUFFIX[name]}", unit_columns(config.dim, config.queue))

    def taken_over(self) -> tuple[str, ...]:
        """See `Encoder.taken_over`: a frozen modality that teaches at the level of clusters does so by the head it had."""
        teaching = [name for name in self.config.frozen if any(teacher == (name, "cluster") for teacher, _ in self.lessons)]
        return (*super().taken_over(), *(f"cluster_{side}{SUFFIX[name]}." for name in teaching for side in "qk"))

    def query_head(self, modality: str, level: Level) -> nn.Module:
        """The head of a branch that learns: features `(B, W)` -> `(B, D)`."""
        return self.query(modality).fc if level == "instance" else getattr(self, f"cluster_q{SUFFIX[modality]}")

    def key_head(self, modality: str, level: Level) -> nn.Module:
        """The head that follows it."""
        return self.key(modality).fc if level == "instance" else getattr(self, f"cluster_k{SUFFIX[modality]}")

    def queued(self, modality: str, level: Level) -> Tensor:
        """Past keys `(D, K)` of a branch. The next slot is that of `queue_of` for both levels."""
        return self.queue_of(modality)[0] if level == "instance" else getattr(self, f"queue_cluster{SUFFIX[modality]}")

    def queries(self, x: Tensor) -> dict[Branch, Tensor]:
        """Unit vectors `(B, D)` of a view `(B, T, M, J, C)`, of the branches that learn."""
        features = self.query_features(x)
        learning = {"instance": self.learners, "cluster": [name for name in self.learners if self.config.learns_clusters(name)]}
        return {(name, level): unit(self.query_head(name, level)(features[name])) for level in LEVELS for name in learning[level]}

    @torch.no_grad()
    def keys(self, x: Tensor) -> dict[Branch, Tensor]:
        """Unit vectors `(B, D)` of a view, of all branches."""
        features = self.key_features(x)
        return {(name, level): unit(self.key_head(name, level)(features[name])) for level in LEVELS for name in MODALITIES}

    def losses(self, queries: dict[Branch, Tensor], keys: dict[Branch, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Total and parts, from unit vectors `(B, D)` of each branch; queries of those that learn."""
        c, queues = self.config, {branch: self.queued(*branch) for branch in keys}
        asked = {branch: similarities(q, queues[branch]) for branch, q in queries.items()}  # `(B, K)`, to the branch's own queue
        held = {branch: similarities(k, queues[branch]) for branch, k in keys.items()}
        terms: list[Term] = []
        for (name, level), q in queries.items():
            own, others = keys[name, level], asked[name, level]
            if level == "instance":
                terms.append((f"contrast_{name}", 1.0, info_nce(logits_of(q, own, others, c.temperature))))
            elif c.cluster_weight:
                slots, weights = near(held[name, c.pick], c.aggregated, c.aggregate_temperature)
                own = aggregate(own, queues[name, level], slots, weights, c.share)
                others = others.scatter(1, slots, -math.inf) if c.exclude else others
                terms.append((f"cluster_{name}", c.cluster_weight, info_nce(logits_of(q, own, others, c.temperature))))
        terms += [(*self.lessons[pair], part) for pair, part in distil(self.lessons, held, asked, c).items()]
        total = sum((weight * value for _, weight, value in terms), torch.zeros((), device=queues["joint", "instance"].device))
        return total, {name: value for name, _, value in terms}

    def loss(self, batch: ViewBatch, step: Step) -> Losses:
        """InfoNCE of each branch, and distillation between modalities and between levels; gradients reach the queries alone.

        Carries both kinds of keys to enqueue, by level and modality.
        """
        keys = self.keys(batch.second)
        total, parts = self.losses(self.queries(batch.first), keys)
        carry = {level: {name: keys[name, level] for name in MODALITIES} for level in LEVELS}
        return Losses(total, {name: value.detach() for name, value in parts.items()}, carry=carry)

    def after_step(self, carry: list[Any]) -> None:
        """Enqueues both kinds of keys of the whole batch at the same slots, then moves key encoders and key heads."""
        for name in MODALITIES:
            place = self.queue_of(name)[1].clone()  # the instances' queue moves the real one
            enqueue(self.queued(name, "cluster"), place, torch.cat([keys["cluster"][name] for keys in carry]))
        super().after_step([keys["instance"] for keys in carry])
        for name in self.learners:
            follow(self.key_head(name, "cluster"), self.query_head(name, "cluster"), self.config.momentum)


def aggregate(own: Tensor, queue: Tensor, slots: Tensor, weights: Tensor, share: float) -> Tensor:
    """Dynamic neighbours aggregation: unit vectors `(B, D)`, each key with `share` times the weighted sum of its neighbours.

    Args:
        own: keys `(B, D)`. queue: `(D, K)`. slots, weights: `(B, n)` of the neighbours, see `nn.contrast.near`.
    """
    return unit(own + share * (weights[..., None] * queue.T[slots]).sum(1))
