"""Pre-training from a store into a run folder, and opening what a run folder holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NotRequired

import numpy as np
import torch

from .. import __version__
from ..data.batches import ResidentClips
from ..data.pieces import Window
from ..data.prepared import PreparedClips
from ..data.splits import split as split_of
from ..data.store import Store
from ..errors import FormatError, UserError
from ..files import read_json
from ..motion.clip import Clip
from ..motion.skeleton import Skeleton
from ..schema import Table
from ..text import one_line
from ..training.checkpoint import averaged, held, load_model, steps
from ..training.device import device_of
from ..training.fit import Every, Result, fit
from ..training.processes import layout, leads
from ..training.progress import counting
from ..training.stage import Stage
from ..words import plural
from . import limits, protocols
from .encoder import Encoder
from .masa_prepare import check_signer
from .protocols import Pooling
from .recipes import Recipe, build_method, from_json, parts, to_json

_DATA = Table(classes=NotRequired[list[str]])
_CONFIG = Table(
    recipe=dict[str, Any], skeleton=dict[str, Any], seed=NotRequired[int], data=NotRequired[dict[str, Any]], kind=NotRequired[str]
)
CLASSIFIER = "classifier"
"""The ``kind`` of a run folder that holds an encoder with a head, see `classifier.py`."""


@dataclass(frozen=True)
class Trained:
    """What a run folder, or an imported checkpoint, says about itself.

    Attributes:
        folder: where it is. recipe: how it was made. skeleton: what it expects. seed: of the run. data: what it was trained on.
        last: whether the weights of the last step are meant, where there is also an average of them (`Recipe.ema`).
    """

    folder: Path
    recipe: Recipe
    skeleton: Skeleton
    seed: int
    data: Mapping[str, Any]
    last: bool = False

    @property
    def averaged(self) -> bool:
        """Whether its weights are the average over its steps."""
        return self.recipe.ema is not None and not self.last

    def __repr__(self) -> str:
        """What it is, in one line."""
        facts = f"{self.recipe.method} {self.recipe.preset}, {self.skeleton.name}, seed {self.seed}, in {self.folder}"
        return f"<Trained: {one_line(facts)}>"

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names by label of the data it was trained on; None where the run does not say."""
        return tuple(self.data["classes"]) if "classes" in self.data else None

    def encoder(self, *, weights: bool = True, seed: int | None = None, drop_path: float = 0.0) -> Encoder:
        """The network, with its trained weights (averaged ones where the recipe has an `ema`) or (`weights=False`) fresh ones of a seed.

        Raises:
            CheckpointError: no whole checkpoint, or one that does not fit.
        """
        if weights:
            limits.check_held(limits.numbers(self.recipe.model), held(self.folder), self.folder)
        torch.manual_seed(self.seed if seed is None else seed)
        method = build_method(self.recipe, drop_path)
        if weights:
            load_model(self.folder, method, average=self.averaged)
        return method

    def features(
        self,
        encoder: Encoder,
        clips: Sequence[Clip] | ResidentClips,
        *,
        pooling: Pooling | None = None,
        weights: str = "trained",
        doing: str = "features",
        quiet: bool = True,
    ) -> np.ndarray:
        """Features `(N, D)` float32 of prepared clips, as the recipe takes them; `encoder` is the run's or a stream of it.

        Args:
            weights: whose they are, for messages. doing: what this is, for the progress that is shown unless `quiet`.

        Raises:
            UserError: some are not finite.
        """
        r = self.recipe
        views = r.probe_views + 1
        how = {"crop": r.crop, "views": r.probe_views, "precision": r.precision, "pooling": pooling or r.pooling}
        with counting(len(clips), "clip", doing, shown=not quiet) as step:
            table = protocols.features(encoder, clips, **how, seen=lambda done: step(done // views))
        if not np.isfinite(table).all():
            raise UserError(
                f"{self.folder}: with its {weights} weights the features of some clips are not finite; "
                "did the training diverge? Train again with a lower rate (--lr), or in full precision (--precision 32)"
            )
        return table


def pretrain(
    store: Store,
    recipe: Recipe,
    folder: Path,
    *,
    split: str | None = None,
    seed: int = 0,
    init: Path | None = None,
    accelerator: str = "auto",
    devices: int = 1,
    max_steps: int | None = None,
    checkpoint_every: Every | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    quiet: bool = False,
) -> Result:
    """Trains the method of a recipe on the training rows of a split (all rows without one). Labels are not looked at.

    Args:
        init: a run folder or weights file to begin from instead of random weights; of the same network. Where it holds an average of its
            weights, that is taken. Of a method with frozen parts these alone are taken from it (`Encoder.taken_over`).

    Raises:
        UserError: see `training.fit.fit` and `data.splits.split`; frozen parts without `init`.
        CheckpointError: `init` holds another network, or is not there.
    """
    device = device_of(accelerator)
    processes = layout(devices, device.type)
    rows = None if split is None else split_of(store, split).train
    _check_size(store, recipe)
    torch.manual_seed(seed)
    method = build_method(recipe)
    if not (resume and steps(folder)):  # here and not in `fit`, so that a mistake leaves no run folder
        _begin(method, init)
    size = recipe.size
    frames = recipe.crop.frames if isinstance(recipe.crop, Window) else method.frames
    limits.check_batch(recipe.batch_size, frames, recipe.preparation.people, size.joints, size.coordinates)
    count = len(store) if rows is None else len(rows)
    with counting(count, "clip", "preparing", shown=not quiet and leads()) as step:
        source = ResidentClips(
            PreparedClips(store, recipe.prepare, rows, step),
            frames=method.frames,
            people=recipe.preparation.people,
            batch_size=recipe.batch_size,
            crop=recipe.crop,
            augment=recipe.augment,
            seed=seed,
            device=device,
            pairs=method.pairs,
            confidence=method.confidence,
        )
    if recipe.most_steps is not None:
        recipe = replace(recipe, epochs=min(recipe.epochs, recipe.most_steps / source.steps_per_epoch))
    stage = Stage(
        "pretrain",
        method,
        source,
        recipe.epochs,
        recipe.optimiser,
        recipe.schedule,
        accumulate=parts(recipe, device.type, processes.count),
        ema=recipe.ema,
    )
    first = {"kinema": __version__, "room": "recognition"}
    others = {
        "skeleton": store.skeleton.to_json(),
        "data": {"name": store.name, "checksum": store.checksum, "split": split, "clips": count, "classes": list(store.classes)},
        "seed": seed,
    }
    return fit(
        [stage],
        folder,
        config=lambda precision: {**first, "recipe": to_json(replace(recipe, precision=precision)), **others},
        seed=seed,
        precision=recipe.precision,
        compile=recipe.compile,
        accelerator=accelerator,
        devices=devices,
        max_steps=max_steps,
        checkpoint_every=checkpoint_every,
        resume=resume,
        tensorboard=tensorboard,
        quiet=quiet,
    )


def _begin(method: Encoder, init: Path | None) -> None:
    """Takes over what a run is begun from."""
    taken = method.taken_over()
    if init is not None:
        average = averaged(init)
        for prefix in taken or ("",):
            load_model(init, method, prefix=prefix, average=average)
    elif taken:
        raise UserError("model.frozen: what is frozen would teach by random weights; name the run that it is from with --init")


def _check_size(store: Store, recipe: Recipe) -> None:
    """Raises UserError unless the network of a recipe can read the store's clips."""
    if recipe.signs:
        check_signer(store.skeleton, store.folder)
        return
    size, path = recipe.size, recipe.size_path
    if size.joints != len(store.skeleton):
        raise UserError(f"{path}.joints is {size.joints}, but {store.folder} has {len(store.skeleton)} ({store.skeleton.name})")
    found = _coordinates(store)
    if found not in (None, size.coordinates):
        advice = f"--set {path}.coordinates={found}" + (
            " --set augment=[] --set supervision.augment=[] --set preparation.yaw=false" if found == 2 else ""
        )
        raise UserError(f"{store.folder} has {found} coordinates a joint, the recipe expects {size.coordinates}: add {advice}")


def _coordinates(store: Store) -> int | None:
    """`C` of a store's clips, None if it has none."""
    return store.clip(0).positions.shape[-1] if len(store) else None


def open_run(folder: Path, *, last: bool = False) -> Trained:
    """What a run folder holds (weights are read by `Trained.encoder`); `last`: see `Trained`.

    Raises:
        UserError: no run here, or one of another kind or version.
    """
    path, config = Path(folder) / "config.json", read_config(folder)
    if config.get("kind") == CLASSIFIER:
        raise UserError(f"{folder}: a classifier, not a pre-trained encoder; it is for `kinema recognize FILE --run {folder}`")
    skeleton = Skeleton.from_json(config.get("skeleton"), path)
    recipe, seed, data = from_json(config["recipe"], path), config.get("seed", 0), config.get("data", {})
    return Trained(Path(folder), recipe, skeleton, seed, data, last and recipe.ema is not None)


def read_config(folder: Path) -> dict[str, Any]:
    """What a run folder of this room says of itself.

    Raises:
        UserError: no run here, or one of another kind or version.
    """
    path = Path(folder) / "config.json"
    if not path.exists():
        raise UserError(f"{folder}: no run here (config.json is missing); make one with `kinema train`")
    try:
        config = read_json(path)
        if not isinstance(config, dict) or config.get("room") != "recognition" or "recipe" not in config:
            raise UserError(f"{folder}: not a recognition run made by `kinema train` or `kinema import-weights`")
        _CONFIG.check(config, path)
        _DATA.check(config.get("data", {}), f"{path}, data")
        return config
    except FormatError as error:
        raise FormatError(error.origin, f"{error.problem}; train it again") from error


def check_fits(trained: Trained, store: Store) -> None:
    """Raises UserError unless the encoder can read the store's clips."""
    if trained.recipe.signs:
        check_signer(store.skeleton, store.folder)
        return
    if trained.skeleton.joints != store.skeleton.joints:
        raise UserError(
            f"{trained.folder}: trained on {trained.skeleton.name} ({len(trained.skeleton)} joints), "
            f"but {store.folder} holds {store.skeleton.name} ({len(store.skeleton)} joints)"
        )
    found, expected = _coordinates(store), trained.recipe.size.coordinates
    if found not in (None, expected):
        raise UserError(f"{trained.folder}: trained on {expected} coordinates a joint, but {store.folder} has {found}")


def check_clip(trained: Trained, clip: Clip) -> None:
    """Raises UserError unless the encoder can read the clip."""
    origin, skeleton = clip.source or "the clip", trained.skeleton
    if trained.recipe.signs:
        check_signer(clip.skeleton, origin)
        return
    if clip.skeleton.joints != skeleton.joints:
        raise UserError(
            f"{origin}: {clip.skeleton.name} ({len(clip.skeleton)} joints), "
            f"but {trained.folder} was trained on {skeleton.name} ({len(skeleton)} joints); use a run of that skeleton"
        )
    check_coordinates(trained.recipe, trained.folder, clip)


def prepared_query(trained: Trained, clip: Clip) -> Clip:
    """A clip that somebody asks about, as the network sees it.

    Raises:
        UserError: nobody is in it, or it lacks what the preparation needs.
    """
    prepared = trained.recipe.prepare(clip)
    if not prepared.somebody():
        raise UserError(f"{clip.source or 'clip'}: nobody is in any of its {plural(clip.frames, 'frame')}")
    return prepared


def check_coordinates(recipe: Recipe, folder: Path, clip: Clip) -> None:
    """Raises UserError unless a clip has as many coordinates as the run in `folder`."""
    found, expected = clip.positions.shape[-1], recipe.size.coordinates
    if found != expected:
        origin = clip.source or "the clip"
        raise UserError(f"{origin}: {found} coordinates a joint, but {folder} was trained on {expected}; use a run of such clips")
