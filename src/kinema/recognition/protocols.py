"""How the field measures an encoder: linear probe, nearest neighbour, fine-tuning, training from scratch, few labels, transfer.

They work for any `Encoder`. Whatever is chosen (the strength of a regulariser) is chosen on a validation part of the training split;
the test split is used once, for the number that is reported. The published code instead reports the best *test* accuracy over epochs,
so published figures are a little optimistic beside these.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..data.augment import CorruptJoints, JointDrop, Mirror, Noise, Rotate, Scale, Shear, ShearOrCorrupt, Yaw
from ..data.batches import ClipBatch, ResidentClips
from ..data.pieces import Crop, Window
from ..data.sign_augment import JitterParts, SwapHands
from ..data.splits import Split, subset
from ..errors import UserError
from ..motion.clip import Clip
from ..motion.skeleton import Skeleton
from ..training.method import Optimiser, Schedule, Step
from ..training.precision import Precision, for_inference
from . import logistic
from .encoder import Encoder
from .neighbours import nearest

SignAugmentations = SwapHands | JitterParts
"""What a recipe may name for coordinates with confidences."""
Augmentations = Rotate | Yaw | Mirror | Shear | CorruptJoints | ShearOrCorrupt | JointDrop | Noise | Scale | SignAugmentations
"""What a recipe may name."""
Pooling = Literal["mean", "joints"]


@dataclass(frozen=True)
class Task:
    """Prepared clips with labels and a split: what an encoder is measured on.

    Attributes:
        clips: prepared, all with the same skeleton and number of people. labels: `(N,)` class indices. classes: names.
        split: row numbers of train, test, and of fit and validation, which together are train.
        name: for reports, for instance ``nw-ucla view``. skeleton: of the clips as they were read; None: of the prepared ones.
        seconds: `(N,)` how long each clip lasts as it was read; None: as long as the prepared one. units: `(N,)` of the clips as they
            were read; None: not known.
    """

    clips: Sequence[Clip]
    labels: np.ndarray
    classes: tuple[str, ...]
    split: Split
    name: str = ""
    skeleton: Skeleton | None = None
    seconds: np.ndarray | None = None
    units: np.ndarray | None = None


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
        crop, augment: of training clips; a `Window` for MASA. precision: as in `Recipe`.
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
    crop: Crop | Window = field(default_factory=Crop)
    augment: tuple[Augmentations, ...] = ()
    precision: Precision = "32"

    def reopened(self) -> Supervision:
        """The same where nobody asks for a precision: bf16 may have paid on the machine that the recipe comes from, so ``auto``."""
        return replace(self, precision="auto") if self.precision == "bf16" else self


@contextmanager
def evaluation_mode(module: torch.nn.Module, precision: Precision) -> Iterator[None]:
    """Evaluation mode without gradients, in bf16 where the recipe allows it and it pays; the mode is put back afterwards."""
    was = module.training
    module.eval()
    device = next(module.parameters()).device.type
    low = for_inference(precision, device) == "bf16"
    try:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=low):
            yield
    finally:
        module.train(was)


def pool(tokens: Tensor, how: Pooling) -> Tensor:
    """`(B, M, T', J', D)` -> `(B, D)` averaged over everything (published) or `(B, J' D)` with joints side by side."""
    return tokens.mean((1, 2, 3)) if how == "mean" else tokens.mean((1, 2)).flatten(1)


FEATURE_BATCH = 128
"""Clips that an encoder looks at together."""


def features(
    encoder: Encoder,
    clips: Sequence[Clip] | ResidentClips,
    *,
    pooling: Pooling = "mean",
    crop: Crop | Window | None = None,
    views: int = 0,
    batch_size: int = FEATURE_BATCH,
    precision: Precision = "32",
    seen: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Features `(N, D)` float32 of prepared clips, seen through the evaluation crop.

    With `views`, the mean of that and of so many random training crops; the crops are the same in every call. `seen` is called with the
    number of clips that were looked at, each once for every view of it. Several encoders of one kind may share what `resident` made of
    the clips.
    """
    done = 0
    device = next(encoder.parameters()).device
    source = clips if isinstance(clips, ResidentClips) else resident(encoder, clips, crop, batch_size)
    with evaluation_mode(encoder, precision):

        def see(positions: Tensor) -> Tensor:
            nonlocal done
            pooled = pool(encoder.tokens(positions).float(), pooling)
            done += len(positions)
            seen(done)
            return pooled

        def table(batches: Iterator[ClipBatch]) -> Tensor:
            return by_clip(batches, see)

        total = table(source.ordered(batch_size))
        for view in range(views):
            total = total + table(source.cropped(Step(view, seed=0, device=device), batch_size))
        return (total / (views + 1)).cpu().numpy()


def resident(encoder: Encoder, clips: Sequence[Clip], crop: Crop | Window | None, batch_size: int = FEATURE_BATCH) -> ResidentClips:
    """Prepared clips as an encoder reads them, on its device and in their order."""
    return ResidentClips(
        clips,
        frames=encoder.frames,
        people=clips[0].people,
        batch_size=batch_size,
        crop=crop,
        device=next(encoder.parameters()).device,
        shuffle=False,
        confidence=encoder.confidence,
    )


def by_clip(batches: Iterable[ClipBatch], see: Callable[[Tensor], Tensor]) -> Tensor:
    """What `see` makes of the positions of every batch, one row a clip, in the order of the clips."""
    found = [(batch.index, see(batch.positions)) for batch in batches]
    rows, order = torch.cat([row for _, row in found]), torch.cat([index for index, _ in found]).argsort()
    return rows[order]


SHARES = ("top5", "per_class", "per_class_top5")
"""What `shares` may give."""
GUESSES = 5
"""Of so many likeliest classes it is told how often the right one is among them, where there are more than these."""


def shares(values: np.ndarray, classes: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Percent of clips whose class is among the five likeliest, and the means over classes of the shares right at one and at five guesses.

    Of at most five classes the right one is always among the five likeliest, so only the mean at one guess is given.

    Args:
        values: `(Q, K)` decision values. classes: `(K,)` what its columns stand for. truth: `(Q,)`.
    """
    likeliest = classes[np.argsort(-values, axis=1, kind="stable")[:, :GUESSES]] == truth[:, None]
    each = [truth == c for c in np.unique(truth)]

    def over_classes(right: np.ndarray) -> float:
        return 100 * float(np.mean([right[rows].mean() for rows in each]))

    one, five = likeliest[:, 0], likeliest.any(1)
    if len(classes) <= GUESSES:
        return {"per_class": over_classes(one)}
    return {"top5": 100 * float(five.mean()), "per_class": over_classes(one), "per_class_top5": over_classes(five)}


def shares_told(found: Mapping[str, Any]) -> str:
    """What `shares` found, for a person; `found` may hold more."""
    classes = f"{found['per_class']:.1f} %"
    if "top5" not in found:
        return f"over classes {classes}"
    return f"top 5 {found['top5']:.1f} %; over classes {classes} and {found['per_class_top5']:.1f} %"


def _score(protocol: str, predictions: np.ndarray, truth: np.ndarray, start: float, **details: Any) -> Score:
    return Score(protocol, percent(predictions, truth), predictions, truth, time.perf_counter() - start, details)


def percent(predictions: np.ndarray, truth: np.ndarray) -> float:
    """Of `(Q,)` predictions, how many are right."""
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


def check_linear(labels: np.ndarray, split: Split) -> None:
    """Raises UserError where a split gives fewer than two classes to fit, or nothing to validate."""
    if len(np.unique(labels[split.fit])) < 2 or not len(split.validation):
        raise UserError(
            f"split {split.name}: {len(split.train)} training clips do not give two classes to fit and some clips to validate; "
            "a linear probe needs more"
        )


def linear_decisions(table: np.ndarray, labels: np.ndarray, split: Split) -> Decisions:
    """Logistic regression on frozen features `(N, D)`, standardised; its regulariser is chosen on the validation part.

    Raises:
        UserError: the split gives fewer than two classes to fit, or nothing to validate.
    """
    from threadpoolctl import threadpool_limits

    check_linear(labels, split)

    def decided(rows: np.ndarray, queries: np.ndarray, strengths: Sequence[float]) -> list[tuple[np.ndarray, np.ndarray]]:
        return logistic.decisions(table[rows], labels[rows], table[queries], strengths)

    # the products are small: more BLAS threads make each iteration slower, ten times so on a busy machine
    with threadpool_limits(1, user_api="blas"):
        candidates = decided(split.fit, split.validation, STRENGTHS)
        accuracies = [percent(classes[values.argmax(1)], labels[split.validation]) for classes, values in candidates]
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
        percent(first.fit_classes[held.argmax(1)], labels[split.validation]),
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
    predictions, truth = found.classes[found.scored.argmax(1)], labels[split.test]
    return _score("linear", predictions, truth, start, **details, **evidence(split), **shares(found.scored, found.classes, truth))


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


def few_labels(task: Task, ratio: float, seed: int) -> np.ndarray:
    """Training rows of which `ratio` keep their label: int(N * ratio) of them, drawn plainly, as published.

    Raises:
        UserError: the ratio leaves fewer than two rows, or rows of one class alone.
    """
    if not 0 < ratio <= 1 or int(len(task.split.train) * ratio) < 2:
        raise UserError(f"semi-supervised ratio {ratio}: leaves fewer than 2 of {len(task.split.train)} training clips")
    rows = subset(task.split, ratio, seed).train
    if len(np.unique(task.labels[rows])) < 2:
        raise UserError(f"semi-supervised ratio {ratio}: the {len(rows)} clips that seed {seed} draws are all of one class")
    return rows


def raw_positions(task: Task, frames: int = 32) -> np.ndarray:
    """The floor that a learned encoder must beat: prepared positions resized to `frames`, flattened, `(N, frames M J C)`."""
    source = ResidentClips(
        task.clips, frames=frames, people=task.clips[0].people, batch_size=256, crop=Crop(evaluation=1.0), shuffle=False
    )
    return by_clip(source.ordered(256), lambda positions: positions.flatten(1)).numpy()
