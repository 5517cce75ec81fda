"""Encoders with a head that names classes: trained and tested by the protocols, kept as run folders, opened again to name new clips."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..data.batches import ResidentClips
from ..errors import UserError
from ..motion.clip import Clip
from ..motion.convert import convert
from ..motion.skeleton import Skeleton
from ..training.checkpoint import load_model
from ..training.fit import fit
from ..training.stage import Stage
from .encoder import Encoder
from .heads import Classifier, HeadConfig
from .protocols import Score, Supervision, Task, by_clip, digest, evaluation_mode, percent, shares, weights_digest
from .recipes import Recipe, build_method, from_json, to_json
from .run import CLASSIFIER, Trained, read_config

BATCH = 64
"""Clips that are tested at a time."""


def head_of(encoder: Encoder, task: Task, how: Supervision, frozen: bool) -> HeadConfig:
    """CMD's single linear map where `how.hidden` is 0, else MAMP's: of its linear probe if `frozen`, else of its fine-tuning."""
    classes = len(task.classes)
    if not how.hidden:
        return HeadConfig("plain", encoder.width, classes, dropout=how.dropout)
    if frozen:
        return HeadConfig("normed", encoder.width, classes)
    return HeadConfig("mlp", encoder.width * token_joints(encoder, task), classes, how.hidden, how.dropout)


def token_joints(encoder: Encoder, task: Task) -> int:
    """`J'`: tokens over joints, found by running the encoder on one frame-resized clip."""
    clip = task.clips[0]
    shape = (1, encoder.frames, clip.people, len(clip.skeleton), clip.positions.shape[-1] + encoder.confidence)
    with evaluation_mode(encoder, "32"):
        return encoder.tokens(torch.zeros(shape, device=next(encoder.parameters()).device)).shape[3]


def train_classifier(
    protocol: str,
    trained: Trained,
    encoder: Encoder,
    task: Task,
    how: Supervision,
    folder: Path,
    *,
    seed: int,
    rows: np.ndarray | None = None,
    frozen: bool = False,
    quiet: bool = True,
) -> Classifier:
    """Trains `encoder` with a head on the training rows, and keeps the last epoch.

    `frozen` leaves the encoder untouched, without label smoothing; otherwise everything is trained, in place.
    `folder` becomes a run folder of its own, so that a long fine-tuning resumes like any training, and `open_recogniser` opens it.

    Args:
        trained: the run that the encoder is of. encoder: with the weights to begin from. rows: of the training rows, those to use.

    Raises:
        UserError: a single training clip; `folder` holds another run. KeyboardInterrupt: stopped; the same call goes on.
    """
    rows = task.split.train if rows is None else rows
    if len(rows) < 2:
        raise UserError(f"{protocol}: {len(rows)} training clip; batch normalisation needs 2 or more")
    torch.manual_seed(seed)
    head = head_of(encoder, task, how, frozen)
    smoothing = 0.0 if frozen else how.smoothing
    model = Classifier(encoder, head.build(), frozen=frozen, smoothing=smoothing, layer_decay=how.layer_decay)
    device = next(encoder.parameters()).device
    clips = [task.clips[i] for i in rows]
    source = ResidentClips(
        clips,
        frames=encoder.frames,
        people=clips[0].people,
        batch_size=min(how.batch_size, len(rows)),
        crop=how.crop,
        augment=how.augment,
        seed=seed,
        device=device,
        labels=task.labels[rows].tolist(),
        confidence=encoder.confidence,
    )
    config = {
        "kinema": __version__,
        "room": "recognition",
        "kind": CLASSIFIER,
        "recipe": to_json(replace(trained.recipe, supervision=how)),
        "skeleton": (task.skeleton or clips[0].skeleton).to_json(),
        "classes": list(task.classes),
        "head": asdict(head),
        "usual": float(np.median([clip.frames / clip.fps for clip in clips])),
        "protocol": protocol,
        "task": task.name,
        "seed": seed,
        # what it began from and learned from: another encoder, or a store built anew, must not find this classifier here
        "rows": digest(rows),
        "encoder": weights_digest(encoder),
        "clips": digest(task.labels[rows], *(clip.positions for clip in clips)),
    }
    result = fit(
        [Stage(protocol, model, source, how.epochs, how.optimiser, how.schedule)],
        folder,
        seed=seed,
        config=config,
        precision=how.precision,
        accelerator=device.type,  # the encoder's own: `auto` would move the model away from its clips
        resume=True,
        quiet=quiet,
        keep=1,
    )
    if result.interrupted:
        raise KeyboardInterrupt
    return model


def score_classifier(protocol: str, model: Classifier, task: Task, how: Supervision, **details: Any) -> Score:
    """How many of the clips that are scored a classifier names rightly."""
    start = time.perf_counter()
    truth = task.labels[task.split.test]
    values = logits_of(model, [task.clips[i] for i in task.split.test], how).cpu().numpy()
    details |= shares(values, np.arange(values.shape[1]), truth)
    predictions = values.argmax(1)
    return Score(protocol, percent(predictions, truth), predictions, truth, time.perf_counter() - start, details)


def logits_of(model: Classifier, clips: Sequence[Clip], how: Supervision) -> Tensor:
    """`(N, K)` float32 of prepared clips, in their order, through the evaluation crop."""
    encoder, device = model.encoder, next(model.parameters()).device
    source = ResidentClips(
        clips,
        frames=encoder.frames,
        people=clips[0].people,
        batch_size=BATCH,
        crop=how.crop,
        device=device,
        shuffle=False,
        confidence=encoder.confidence,
    )
    with evaluation_mode(model, how.precision):
        return by_clip(source.ordered(BATCH), lambda positions: model.logits(positions).float())


@dataclass(frozen=True)
class Recogniser:
    """A classifier that names clips.

    Attributes:
        folder: where it is. recipe: how it was made; its `supervision` is what trained it. skeleton: of the data it was trained on.
        classes: names, `K` of them. usual: seconds that a training clip lasts, the median. model: the network.
    """

    folder: Path
    recipe: Recipe
    skeleton: Skeleton
    classes: tuple[str, ...]
    usual: float
    model: Classifier = field(repr=False)

    def prepare(self, clip: Clip) -> Clip:
        """A clip as it was read -> as the network sees it; another skeleton is converted by the names of its joints.

        Raises:
            UserError: it cannot be converted or prepared, or has another number of coordinates.
        """
        if self.recipe.signs:
            return self.recipe.prepare(clip)
        if clip.skeleton.joints != self.skeleton.joints:
            clip = convert(clip, self.skeleton)
        found, expected = clip.positions.shape[-1], self.recipe.size.coordinates
        if found != expected:
            raise UserError(
                f"{clip.source or 'clip'}: {found} coordinates a joint, but {self.folder} was trained on {expected}; "
                "use a run of such clips"
            )
        return self.recipe.prepare(clip)

    def probabilities(self, clips: Sequence[Clip]) -> np.ndarray:
        """`(N, K)` float32, each row a softmax over `classes`, of clips as they were read.

        Raises:
            UserError: no clips, or one that `prepare` refuses.
        """
        if not clips:
            raise UserError("no clips to recognise")
        return logits_of(self.model, [self.prepare(clip) for clip in clips], self.recipe.supervision).softmax(1).cpu().numpy()


def open_recogniser(folder: Path, device: str = "cpu") -> Recogniser:
    """A classifier from its run folder.

    Raises:
        UserError: no run there, one that names nothing yet, or a damaged one. CheckpointError: no whole weights, or other ones.
    """
    folder = Path(folder)
    path, config = folder / "config.json", read_config(folder)
    if config.get("kind") != CLASSIFIER:
        raise UserError(
            f"{folder}: a pre-trained encoder, which names no classes yet; train a classifier on it with "
            f"`kinema finetune {folder} --data STORE --out OUT`"
        )
    recipe, skeleton = from_json(config.get("recipe"), path), Skeleton.from_json(config.get("skeleton"), path)
    classes, usual = config.get("classes"), config.get("usual")
    if (
        not isinstance(classes, list)
        or not all(isinstance(c, str) for c in classes)
        or not isinstance(usual, float)
        or not usual > 0
    ):
        raise UserError(f"{path}: damaged (classes or usual); train it again")
    try:
        head = HeadConfig(**config.get("head", {}))
        encoder = build_method(recipe).alone()
        model = Classifier(encoder, head.build())
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: damaged (head: {error}); train it again") from error
    load_model(folder, model)
    return Recogniser(folder, recipe, skeleton, tuple(classes), usual, model.to(device).eval())
