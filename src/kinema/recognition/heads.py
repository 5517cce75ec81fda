"""What is put on top of an encoder to name actions: the published heads of MAMP and CMD, and the classifier that trains them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batches import ClipBatch
from ..nn.decay import decayed
from ..training.method import Losses, Method, Step
from .encoder import Encoder

HeadKind = Literal["plain", "normed", "mlp"]


@dataclass(frozen=True)
class HeadConfig:
    """Which head, and its size.

    Attributes:
        kind: ``plain``: `PlainHead`; ``normed``: `LinearHead`; ``mlp``: `FineTuneHead`.
        width: numbers that it maps. classes: `K`. hidden: of the MLP. dropout: of the plain head and the MLP.
    """

    kind: HeadKind
    width: int
    classes: int
    hidden: int = 0
    dropout: float = 0.0

    @property
    def numbers(self) -> int:
        """About how many it has."""
        return self.width * (self.hidden if self.kind == "mlp" else self.classes) + self.hidden * self.classes

    def build(self) -> nn.Module:
        """A new one; its first weights come from torch's global generator."""
        if self.kind == "plain":
            return PlainHead(self.width, self.classes, self.dropout)
        if self.kind == "normed":
            return LinearHead(self.width, self.classes)
        return FineTuneHead(self.width, self.classes, self.hidden, self.dropout)


class LinearHead(nn.Module):
    """Batch norm without affine, then one linear map, on tokens averaged over people, time and joints (MAMP's linear probe).

    Shapes: tokens `(B, M, T', J', D)` -> logits `(B, K)`.
    """

    def __init__(self, width: int, classes: int):
        super().__init__()
        linear = nn.Linear(width, classes)
        nn.init.trunc_normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)
        self.fc = nn.Sequential(nn.BatchNorm1d(width, affine=False, eps=1e-6), linear)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits."""
        return self.fc(tokens.mean((1, 2, 3)))


class PlainHead(nn.Module):
    """Dropout, then one linear map and nothing else, on tokens averaged over people, time and joints (CMD's head of every protocol).

    Shapes: tokens `(B, M, T', J', D)` -> logits `(B, K)`; weights begin at N(0, 0.01).
    """

    def __init__(self, width: int, classes: int, dropout: float = 0.0):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(width, classes)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits."""
        return self.fc(self.dropout(tokens.mean((1, 2, 3))))


class FineTuneHead(nn.Module):
    """Dropout, mean over time, joints side by side, mean over people, then a two-layer MLP with batch norm (MAMP's fine-tuning).

    Shapes: tokens `(B, M, T', J', D)` -> logits `(B, K)`; `width` is `J' D`.
    """

    def __init__(self, width: int, classes: int, hidden: int = 2048, dropout: float = 0.3):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(width, hidden)
        self.bn = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, classes)
        for layer in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits."""
        x = self.dropout(tokens).mean(2).flatten(2).mean(1)
        return self.fc2(F.relu(self.bn(self.fc1(x))))


class Classifier(Method):
    """An encoder with a head, trained with cross-entropy.

    Args:
        encoder: any `Encoder`. head: maps its tokens to logits.
        frozen: the encoder stays in evaluation mode and gets no gradient (linear probe).
        smoothing: label smoothing.
        layer_decay: learning rate of layer `l` is scaled by `layer_decay ** (depth + 1 - l)`; the head's by 1.
    """

    def __init__(
        self, encoder: Encoder, head: nn.Module, *, frozen: bool = False, smoothing: float = 0.0, layer_decay: float = 1.0
    ):
        super().__init__()
        self.encoder, self.head = encoder, head
        self.frozen, self.smoothing, self.layer_decay = frozen, smoothing, layer_decay
        for name, parameter in encoder.named_parameters():
            # decoders of pre-training are no part of the classifier: they would only slow the optimiser down
            parameter.requires_grad_(not frozen and encoder.is_encoder_parameter(name))

    def train(self, mode: bool = True) -> Classifier:
        """Training mode for the head; for the encoder only if it is not frozen."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def logits(self, positions: Tensor) -> Tensor:
        """`(B, T, M, J, C)` -> `(B, K)`."""
        if self.frozen:
            with torch.no_grad():
                tokens = self.encoder.tokens(positions)
        else:
            tokens = self.encoder.tokens(positions)
        return self.head(tokens.float())

    def loss(self, batch: ClipBatch, step: Step) -> Losses:
        """Cross-entropy; logs the share of right answers."""
        logits = self.logits(batch.positions).float()
        total = F.cross_entropy(logits, batch.label, label_smoothing=self.smoothing)
        return Losses(total, {"accuracy": (logits.argmax(1) == batch.label).float().mean().detach()})

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One group for each (layer, decayed or not)."""
        last = self.encoder.depth + 1
        groups: dict[tuple[int, bool], dict[str, Any]] = {}
        takes = decayed(self)
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            layer = self.encoder.layer_of(name.removeprefix("encoder.")) if name.startswith("encoder.") else last
            bare = not takes[name]
            group = groups.setdefault((layer, bare), {"params": [], "lr_scale": self.layer_decay ** (last - layer)})
            group["params"].append(parameter)
            if bare:
                group["weight_decay"] = 0.0
        return list(groups.values())
