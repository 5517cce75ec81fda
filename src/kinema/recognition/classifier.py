"""Encoders with a head that names classes: trained and tested by the protocols, kept as run folders, opened again to name new clips."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..data.batches import ResidentClips
from ..errors import FormatError, Interrupted, UserError
from ..motion.clip import Clip
from ..motion.convert import convert
from ..motion.prepare import Preparation
from ..motion.skeleton import Skeleton
from ..motion.skeletons import root_joint
from ..schema import Table
from ..text import one_line
from ..training.checkpoint import held, load_model
from ..training.fit import fit
from ..training.stage import Stage
from . import limits
from .encoder import Encoder
from .heads import Classifier, HeadConfig
from .masa_prepare import SignPreparation, check_signer, shows_limbs
from .protocols import Score, Supervision, Task, by_clip, digest, evaluation_mode, percent, resident, shares, weights_digest
from .recipes import Recipe, build_method, from_json, to_json
from .run import CLASSIFIER, Trained, check_coordinates, read_config

BATCH = 64
"""Clips that are tested at a time."""
_HEAD = Table(
    kind=Literal["plain", "normed", "mlp"],
    width=Annotated[int, 1, 2**24],
    classes=Annotated[int, 1, 2**24],
    hidden=NotRequired[Annotated[int, 0, 2**24]],
    dropout=NotRequired[Annotated[float, 0, 1]],
    more=False,
)
_CONFIG = Table(
    classes=list[str],
    usual=Annotated[float, 1e-6, 1e9],
    units=NotRequired[list[Literal["metres", "pixels", "normalised"]] | None],  # None: before units were kept
    head=dict[str, Any],
)


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
) -> tuple[Classifier, Supervision]:
    """Trains `encoder` with a head on the training rows, and keeps the last epoch.

    Returns it and how it was trained: `how` with the precision that was settled on; a classifier that was begun before keeps its own.

    `frozen` leaves the encoder untouched, without label smoothing; otherwise everything is trained, in place.
    `folder` becomes a run folder of its own, so that a long fine-tuning resumes like any training, and `open_recogniser` opens it.

    Args:
        trained: the run that the encoder is of. encoder: with the weights to begin from. rows: of the training rows, those to use.

    Raises:
        UserError: a single training clip; `folder` holds another run. Interrupted: a signal stopped it; the same call goes on.
    """
    recipe = replace(trained.recipe, supervision=how)  # which refuses numbers out of range
    rows = task.split.train if rows is None else rows
    if len(rows) < 2:
        raise UserError(f"{protocol}: {len(rows)} training clip; batch normalisation needs 2 or more")
    config = classifier_config(protocol, trained, encoder, task, how, rows, seed=seed, frozen=frozen)
    torch.manual_seed(seed)
    head = HeadConfig(**config["head"])
    smoothing = 0.0 if frozen else how.smoothing
    model = Classifier(encoder, head.build(), frozen=frozen, smoothing=smoothing, layer_decay=how.layer_decay)
    device = next(encoder.parameters()).device
    clips = [task.clips[i] for i in rows]
    rows_at_once, size = min(how.batch_size, len(rows)), recipe.size
    limits.check_batch(rows_at_once, encoder.frames, clips[0].people, size.joints, size.coordinates)
    source = ResidentClips(
        clips,
        frames=encoder.frames,
        people=clips[0].people,
        batch_size=rows_at_once,
        crop=how.crop,
        augment=how.augment,
        seed=seed,
        device=device,
        labels=task.labels[rows].tolist(),
        confidence=encoder.confidence,
    )
    result = fit(
        [Stage(protocol, model, source, how.epochs, how.optimiser, how.schedule)],
        folder,
        seed=seed,
        config=lambda settled: {**config, "recipe": to_json(replace(recipe, supervision=replace(how, precision=settled)))},
        precision=how.precision,
        accelerator=device.type,  # the encoder's own: `auto` would move the model away from its clips
        resume=True,
        quiet=quiet,
        keep=1,
    )
    if result.signal:  # also one that came with the last step: whoever called has more to do
        raise Interrupted(result.signal)
    return model, replace(how, precision=result.precision)


def classifier_config(
    protocol: str,
    trained: Trained,
    encoder: Encoder,
    task: Task,
    how: Supervision,
    rows: np.ndarray,
    *,
    seed: int,
    frozen: bool,
) -> dict[str, Any]:
    """What the folder of a classifier says of it; arguments as of `train_classifier`, before anything is trained."""
    clips = [task.clips[i] for i in rows]
    # as they were read: clips to recognise come so, while a preparation leaves out frames
    seconds = [clip.frames / clip.fps for clip in clips] if task.seconds is None else task.seconds[rows]
    return {
        "kinema": __version__,
        "room": "recognition",
        "kind": CLASSIFIER,
        "recipe": to_json(replace(trained.recipe, supervision=how)),
        "skeleton": (task.skeleton or clips[0].skeleton).to_json(),
        "classes": list(task.classes),
        "head": asdict(head_of(encoder, task, how, frozen)),
        "usual": float(np.median(seconds)),
        "units": None if task.units is None else np.unique(task.units[rows]).tolist(),
        "protocol": protocol,
        "task": task.name,
        "seed": seed,
        # what it began from and learned from: another encoder, or a store built anew, must not find this classifier here
        "rows": digest(rows),
        "encoder": weights_digest(encoder),
        "clips": digest(task.labels[rows], *(clip.positions for clip in clips)),
    }


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
    source = resident(model.encoder, clips, how.crop, BATCH)
    with evaluation_mode(model, how.precision):
        return by_clip(source.ordered(BATCH), lambda positions: model.logits(positions).float())


@dataclass(frozen=True)
class Recogniser:
    """A classifier that names clips.

    Attributes:
        folder: where it is. recipe: how it was made; its `supervision` is what trained it. skeleton: of the data it was trained on.
        units: of that data; None: not known. classes: names, `K` of them.
        usual: seconds that a training clip lasts as it is read, the median. model: the network.
    """

    folder: Path
    recipe: Recipe
    skeleton: Skeleton
    units: tuple[str, ...] | None
    classes: tuple[str, ...]
    usual: float
    model: Classifier

    def __repr__(self) -> str:
        """What it is, in one line."""
        facts = f"{len(self.classes)} classes, {self.recipe.method} {self.recipe.preset}, {self.skeleton.name}, in {self.folder}"
        return f"<Recogniser: {one_line(facts)}>"

    def prepare(self, clip: Clip) -> Clip | None:
        """A clip as it was read -> as the network sees it; another skeleton is converted by the names of its joints.

        None: no joint that the network looks at is there in a frame that it looks at; or no hand and no arm of a signer.

        Raises:
            UserError: it cannot be converted or prepared, or has other units or another number of coordinates; or it is of a signer
                without hands or not in pixels.
        """
        if self.recipe.signs:
            check_signer(clip.skeleton, clip.source or "clip")
            prepared = self.recipe.prepare(clip)
            return prepared if shows_limbs(prepared) else None
        clip = self.converted(clip)
        if not clip.somebody():
            return None
        self.check_coordinates(clip)
        return self.recipe.prepare(clip)

    def check_coordinates(self, clip: Clip) -> None:
        """Raises UserError unless a clip has as many coordinates as the run was trained on; of a signer the first two are taken."""
        if not self.recipe.signs:
            check_coordinates(self.recipe, self.folder, clip)

    def converted(self, clip: Clip) -> Clip:
        """A clip, not of signs, with the joints of the run, found by their names.

        Raises:
            UserError: it has other units, none of the joints, or not those that the preparation goes by.
        """
        origin = clip.source or "clip"
        if self.units is not None and clip.units not in self.units:
            raise UserError(
                f"{origin}: {clip.units}, but {self.folder} was trained on {' and '.join(self.units)}; "
                "give a clip of such units, or use a run of yours"
            )
        if clip.skeleton.joints == self.skeleton.joints:
            return clip
        missing = _missing(clip, self.skeleton)
        lacking = [joint for joint in guides(self.recipe.preparation, self.skeleton) if joint in missing]
        if lacking:
            raise UserError(
                f"{origin}: {clip.skeleton.name} has no {', '.join(lacking)}, by which {self.folder} places people; "
                "give poses that have them, or use a run of such poses"
            )
        return convert(clip, self.skeleton)

    def probabilities(self, clips: Sequence[Clip]) -> np.ndarray:
        """`(N, K)` float32, each row a softmax over `classes`, of clips that `prepare` gave.

        Raises:
            UserError: no clips.
        """
        if not clips:
            raise UserError("no clips to recognise")
        return logits_of(self.model, clips, self.recipe.supervision).softmax(1).cpu().numpy()


def guides(preparation: Preparation | SignPreparation, skeleton: Skeleton) -> list[str]:
    """Joints of a skeleton that people are centred on and turned by: were they missing, a clip would be placed by zeros."""
    if isinstance(preparation, SignPreparation):
        return []
    wanted: list[str] = []
    if preparation.centre in ("first", "every"):
        wanted += [root_joint(skeleton)]
    elif preparation.centre != "none":
        wanted += ["spine_mid"]
    if preparation.centre == "cmd":
        wanted += ["spine_base", "left_shoulder", "right_shoulder"]
    if preparation.yaw:
        wanted += [f"{side}_{joint}" for joint in ("shoulder", "hip") for side in ("left", "right")]
    return [joint for joint in dict.fromkeys(wanted) if skeleton.has(joint)]


def _missing(clip: Clip, skeleton: Skeleton) -> set[str]:
    """Joints of `skeleton` that clips such as this cannot have.

    Raises:
        UserError: it has none of them.
    """
    whole = Clip(np.ones((1, 1, len(clip.skeleton), 2), np.float32), clip.skeleton, source=clip.source, meta=clip.meta)
    confidence = convert(whole, skeleton).confidence
    return set() if confidence is None else {skeleton.joints[i] for i in np.flatnonzero(confidence[0, 0] == 0)}


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
    try:
        _CONFIG.check(config, path)
        head = HeadConfig(**_HEAD.check(config["head"], f"{path}: head"))
        classes, units = config["classes"], config.get("units")
        limits.check(head, "head.")
        if units == [] or head.classes != len(classes) or (head.kind == "mlp" and not head.hidden):
            raise FormatError(path, f"{head} for {len(classes)} classes, units {units}")
    except FormatError as error:
        raise FormatError(error.origin, f"damaged: {error.problem}; train it again") from error
    except UserError as error:  # out of range
        raise FormatError(path, f"damaged: {error}; train it again") from error
    # of an encoder of several networks one is kept, and no queue
    limits.check_held(limits.numbers(recipe.model, queues=False) // 8 + head.numbers, held(folder), folder)
    model = Classifier(build_method(recipe).alone(), head.build())
    load_model(folder, model)
    known = None if units is None else tuple(dict.fromkeys(units))
    return Recogniser(folder, recipe, skeleton, known, tuple(classes), float(config["usual"]), model.to(device).eval())
