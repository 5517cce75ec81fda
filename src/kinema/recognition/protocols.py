"""How the field measures an encoder: linear probe, nearest neighbour, fine-tuning, training from scratch, few labels, transfer.

They work for any `Encoder`. Whatever is chosen (the strength of a regulariser) is chosen on a validation part of the training split;
the test split is used once, for the number that is reported. The published code instead reports the best *test* accuracy over epochs,
so published figures are a little optimistic beside these.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..data.augment import CorruptJoints, JointDrop, Mirror, Noise, Rotate, Scale, Shear, ShearOrCorrupt, Yaw
from ..data.batches import ClipBatch, Crop, ResidentClips
from ..data.splits import Split, subset
from ..errors import UserError
from ..motion.clip import Clip
from ..training.fit import fit
from ..training.method import Optimiser, Schedule, Step
from ..training.stage import Stage
from . import logistic
from .encoder import Encoder
from .heads import Classifier, FineTuneHead, LinearHead, PlainHead
from .neighbours import nearest

Augmentations = Rotate | Yaw | Mirror | Shear | CorruptJoints | ShearOrCorrupt | JointDrop | Noise | Scale
"""What a recipe may name."""
Pooling = Literal["mean", "joints"]


@dataclass(frozen=True)
class Task:
    """Prepared clips with labels and a split: what an encoder is measured on.

    Attributes:
        clips: prepared, all with the same skeleton and number of people. labels: `(N,)` class indices. classes: names.
        split: row numbers of train, test, and of fit and validation, which together are train.
        name: for reports, for instance ``nw-ucla view``.
    """

    clips: Sequence[Clip]
    labels: np.ndarray
    classes: tuple[str, ...]
    split: Split
    name: str = ""


@dataclass(frozen=True)
class Score:
    """The outcome of one protocol with one seed.

    Attributes:
        protocol: its name. accuracy: percent of the clips that are scored. predictions, truth: `(N_test,)` class indices.
        seconds: wall time. details: what was chosen, and on what evidence.
    """

    protocol: str
    accuracy: float
    predictions: np.ndarray
    truth: np.ndarray
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)

    def confusion(self, classes: int) -> np.ndarray:
        """`(K, K)` counts: rows are the truth."""
        table = np.zeros((classes, classes), np.int64)
        np.add.at(table, (self.truth, self.predictions), 1)
        return table


@dataclass(frozen=True)
class Supervision:
    """How a classifier is trained. Defaults: MAMP's published fine-tuning.

    Attributes:
        epochs, batch_size: length. optimiser, schedule: as in `training`.
        layer_decay: rate factor from layer to layer, towards the input. smoothing: of labels. drop_path: highest rate.
        hidden, dropout: of the head; with `hidden` 0 it is one linear map of the averaged tokens, see `heads.PlainHead`.
        crop, augment: of training clips. precision: ``32`` or ``bf16``.
    """

    epochs: int = 100
    batch_size: int = 48
    optimiser: Optimiser = field(default_factory=lambda: Optimiser(lr=3e-4, betas=(0.9, 0.999), weight_decay=0.05))
    schedule: Schedule = field(default_factory=lambda: Schedule("cosine", warmup=5, final=1e-5 / 3e-4))
    layer_decay: float = 0.8
    smoothing: float = 0.1
    drop_path: float = 0.3
    hidden: int = 2048
    dropout: float = 0.3
    crop: Crop = field(default_factory=Crop)
    augment: tuple[Augmentations, ...] = ()
    precision: Literal["32", "bf16"] = "32"


@contextmanager
def evaluation_mode(module: torch.nn.Module, precision: str) -> Iterator[None]:
    """Evaluation mode without gradients, in bf16 where asked; the mode is put back afterwards."""
    was = module.training
    module.eval()
    device = next(module.parameters()).device.type
    try:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        module.train(was)


def pool(tokens: Tensor, how: Pooling) -> Tensor:
    """`(B, M, T', J', D)` -> `(B, D)` averaged over everything (published) or `(B, J' D)` with joints side by side."""
    return tokens.mean((1, 2, 3)) if how == "mean" else tokens.mean((1, 2)).flatten(1)


def features(
    encoder: Encoder,
    clips: Sequence[Clip],
    *,
    pooling: Pooling = "mean",
    crop: Crop | None = None,
    views: int = 0,
    batch_size: int = 128,
    precision: str = "32",
) -> np.ndarray:
    """Features `(N, D)` float32 of prepared clips, seen through the evaluation crop.

    With `views`, the mean of that and of so many random training crops; the crops are the same in every call.
    """
    device = next(encoder.parameters()).device
    people = clips[0].people
    source = ResidentClips(
        clips, frames=encoder.frames, people=people, batch_size=batch_size, crop=crop or Crop(), device=device, shuffle=False
    )
    with evaluation_mode(encoder, precision):

        def table(batches: Iterator[ClipBatch]) -> Tensor:
            return torch.cat([pool(encoder.tokens(batch.positions).float(), pooling) for batch in batches])

        total = table(source.ordered(batch_size))
        for view in range(views):
            total = total + table(source.cropped(Step(view, seed=0, device=device), batch_size))
        return (total / (views + 1)).cpu().numpy()


def _score(protocol: str, predictions: np.ndarray, truth: np.ndarray, start: float, **details: Any) -> Score:
    return Score(protocol, _percent(predictions, truth), predictions, truth, time.perf_counter() - start, details)


def _percent(predictions: np.ndarray, truth: np.ndarray) -> float:
    return 100.0 * float((predictions == truth).mean())


STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Inverse strengths of the regulariser that the linear probe chooses from, on the validation part."""


@dataclass(frozen=True)
class Decisions:
    """What linear probes say of clips.

    Attributes:
        classes, scored: `(K,)` labels and `(Q, K)` decision values of the clips of `split.test`, by probes trained on all of `train`.
        fit_classes, held: `(K,)` and `(V, K)` of the validation part, by probes trained on `fit`.
        strengths: chosen for each stream, on the validation part. alone: validation accuracy of each stream, percent.
        validation: that of all streams together.
    """

    classes: np.ndarray
    scored: np.ndarray
    fit_classes: np.ndarray
    held: np.ndarray
    strengths: tuple[float, ...]
    alone: tuple[float, ...]
    validation: float


def linear_decisions(table: np.ndarray, labels: np.ndarray, split: Split) -> Decisions:
    """Logistic regression on frozen features `(N, D)`, standardised; its regulariser is chosen on the validation part.

    Raises:
        UserError: the split gives fewer than two classes to fit, or nothing to validate.
    """
    from threadpoolctl import threadpool_limits

    if len(np.unique(labels[split.fit])) < 2 or not len(split.validation):
        raise UserError(
            f"split {split.name}: {len(split.train)} training clips do not give two classes to fit and some clips to validate; "
            "a linear probe needs more"
        )

    def decided(rows: np.ndarray, queries: np.ndarray, strengths: Sequence[float]) -> list[tuple[np.ndarray, np.ndarray]]:
        return logistic.decisions(table[rows], labels[rows], table[queries], strengths)

    # the products are small: more BLAS threads make each iteration slower, ten times so on a busy machine
    with threadpool_limits(1, user_api="blas"):
        candidates = decided(split.fit, split.validation, STRENGTHS)
        accuracies = [_percent(classes[values.argmax(1)], labels[split.validation]) for classes, values in candidates]
        best = accuracies.index(max(accuracies))  # the strongest of equals
        [(classes, scored)] = decided(split.train, split.test, STRENGTHS[best : best + 1])
    return Decisions(classes, scored, *candidates[best], (STRENGTHS[best],), (accuracies[best],), accuracies[best])


def mean_decisions(streams: Sequence[Decisions], labels: np.ndarray, split: Split) -> Decisions:
    """Late fusion of streams: the mean of their decision values, as they are. The streams' probes saw the same clips."""
    first, held = streams[0], np.mean([s.held for s in streams], 0)
    return Decisions(
        first.classes,
        np.mean([s.scored for s in streams], 0),
        first.fit_classes,
        held,
        tuple(strength for s in streams for strength in s.strengths),
        tuple(accuracy for s in streams for accuracy in s.alone),
        _percent(first.fit_classes[held.argmax(1)], labels[split.validation]),
    )


def linear_probe(table: np.ndarray, labels: np.ndarray, split: Split) -> Score:
    """The score of a linear probe on frozen features `(N, D)`, see `linear_decisions`."""
    start = time.perf_counter()
    return replace(linear_score(linear_decisions(table, labels, split), labels, split), seconds=time.perf_counter() - start)


def linear_score(found: Decisions, labels: np.ndarray, split: Split) -> Score:
    """How many clips linear probes name correctly, and what was chosen for them."""
    start = time.perf_counter()
    if len(found.strengths) == 1:
        details: dict[str, Any] = {"strength": found.strengths[0], "validation": found.validation}
    else:
        details = {"strengths": found.strengths, "alone": found.alone, "validation": found.validation}
    predictions = found.classes[found.scored.argmax(1)]
    return _score("linear", predictions, labels[split.test], start, **details, **evidence(split))


def evidence(split: Split) -> dict[str, str]:
    """What to say beside a choice that was made on the very clips that are scored; nothing where it was not."""
    return {"chosen_on": "the clips that are scored"} if np.array_equal(split.validation, split.test) else {}


def knn_probe(
    tables: Sequence[np.ndarray],
    labels: np.ndarray,
    split: Split,
    *,
    k: int = 1,
    standardise: bool = True,
    device: torch.device | str = "cpu",
) -> Score:
    """Vote of the `k` nearest training clips by cosine similarity of frozen features `(N, D)`, averaged over `tables`, one a stream.

    Features are standardised by the mean and spread of the training part, unless `standardise` is False, as CMD publishes.
    """
    start = time.perf_counter()
    # the cosine of rows of unit length side by side is the mean of the cosines
    whole = np.concatenate([_unit(_standard(t, split) if standardise else t) for t in tables], 1)
    votes = labels[split.train][nearest(whole[split.test], whole[split.train], k, device=device)]
    predictions = np.array([np.bincount(v, minlength=1).argmax() for v in votes])
    return _score(f"{k}-nn", predictions, labels[split.test], start, k=k)


def _standard(table: np.ndarray, split: Split) -> np.ndarray:
    return (table - table[split.train].mean(0)) / (table[split.train].std(0) + 1e-6)


def _unit(table: np.ndarray) -> np.ndarray:
    return table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)


def train_classifier(
    protocol: str,
    encoder: Encoder,
    task: Task,
    how: Supervision,
    folder: Path,
    *,
    seed: int,
    rows: np.ndarray | None = None,
    frozen: bool = False,
    quiet: bool = True,
) -> Score:
    """Trains `encoder` with a head on the training rows and tests the last epoch.

    `frozen` leaves the encoder untouched, without label smoothing; otherwise everything is trained. The head is CMD's single linear map
    where `how.hidden` is 0, else MAMP's: of its linear probe (batch norm + linear map) if `frozen`, else of its fine-tuning.
    The encoder is changed in place. `folder` becomes a run folder of its own, so that a long fine-tuning resumes like any training.
    """
    start = time.perf_counter()
    rows = task.split.train if rows is None else rows
    if len(rows) < 2:
        raise UserError(f"{protocol}: {len(rows)} training clip; batch normalisation needs 2 or more")
    torch.manual_seed(seed)
    people, classes = task.clips[0].people, len(task.classes)
    if not how.hidden:
        head: torch.nn.Module = PlainHead(encoder.width, classes, how.dropout)
    elif frozen:
        head = LinearHead(encoder.width, classes)
    else:
        head = FineTuneHead(encoder.width * token_joints(encoder, task), classes, how.hidden, how.dropout)
    model = Classifier(encoder, head, frozen=frozen, smoothing=0.0 if frozen else how.smoothing, layer_decay=how.layer_decay)
    device = next(encoder.parameters()).device
    shared = {"frames": encoder.frames, "people": people, "crop": how.crop, "device": device}
    source = ResidentClips(
        [task.clips[i] for i in rows],
        labels=task.labels[rows].tolist(),
        batch_size=min(how.batch_size, len(rows)),
        augment=how.augment,
        seed=seed,
        **shared,
    )
    stage = Stage(protocol, model, source, how.epochs, how.optimiser, how.schedule)
    # first weights and clips are part of what the folder holds: another encoder, or a store built anew, must not find this classifier there
    config = {"protocol": protocol, "task": task.name, "seed": seed, "rows": digest(rows), "encoder": weights_digest(encoder)}
    config["clips"] = digest(task.labels[rows], *(task.clips[i].positions for i in rows))
    config["supervision"] = repr(how)  # crop, augmentation, head and decay too: `fit` knows only the optimiser's part
    # on the encoder's own device: `auto` would move the model to a GPU that the caller declined, away from its clips
    fit(
        [stage],
        folder,
        seed=seed,
        config=config,
        precision=how.precision,
        accelerator=device.type,
        resume=True,
        quiet=quiet,
        keep=1,
    )
    test = task.split.test
    tests = ResidentClips([task.clips[i] for i in test], labels=task.labels[test].tolist(), batch_size=128, shuffle=False, **shared)
    with evaluation_mode(model, how.precision):
        found = [model.logits(batch.positions).argmax(1) for batch in tests.ordered(128)]
    return _score(protocol, torch.cat(found).cpu().numpy(), task.labels[test], start, rows=len(rows), epochs=how.epochs)


def digest(*arrays: np.ndarray) -> str:
    """A short hash of arrays of any shapes, one after the other."""
    found = hashlib.blake2b(digest_size=8)
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def weights_digest(encoder: Encoder) -> str:
    """A short hash of all weights and buffers."""
    found = hashlib.blake2b(digest_size=8)
    for name, tensor in encoder.state_dict().items():
        found.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def token_joints(encoder: Encoder, task: Task) -> int:
    """`J'`: tokens over joints, found by running the encoder on one frame-resized clip."""
    device = next(encoder.parameters()).device
    clip = task.clips[0]
    with evaluation_mode(encoder, "32"):
        probe = torch.zeros(1, encoder.frames, clip.people, len(clip.skeleton), clip.positions.shape[-1], device=device)
        return encoder.tokens(probe).shape[3]


def few_labels(task: Task, ratio: float, seed: int) -> np.ndarray:
    """Training rows of which `ratio` keep their label: int(N * ratio) of them, drawn plainly, as published.

    Raises:
        UserError: the ratio leaves no row.
    """
    if not 0 < ratio <= 1 or int(len(task.split.train) * ratio) < 2:
        raise UserError(f"semi-supervised ratio {ratio}: leaves fewer than 2 of {len(task.split.train)} training clips")
    return subset(task.split, ratio, seed).train


def raw_positions(task: Task, frames: int = 32) -> np.ndarray:
    """The floor that a learned encoder must beat: prepared positions resized to `frames`, flattened, `(N, frames M J C)`."""
    source = ResidentClips(
        task.clips, frames=frames, people=task.clips[0].people, batch_size=256, crop=Crop(evaluation=1.0), shuffle=False
    )
    batches: list[ClipBatch] = list(source.ordered(256))
    return torch.cat([b.positions for b in batches]).flatten(1).numpy()
