"""`kinema finetune`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..data.store import Store, is_store
from ..errors import UserError, keeping
from ..files import write_json
from ..recognition.classifier import score_classifier, train_classifier
from ..recognition.evaluate import make_task
from ..recognition.protocols import SHARES, Supervision, shares_told
from ..recognition.published import lasting
from ..recognition.run import CLASSIFIER, Trained, open_run, read_config
from ..text import say
from ..training.device import device_of
from ..training.folder import CONFIG
from ..words import plural
from .common import check_folder, tell_unfinished, tell_weights
from .train import changed, check_seed, kept


def finetune(
    run: Path,
    data: Path,
    out: Path,
    split: str | None,
    seed: int | None,
    epochs: int | None,
    frozen: bool,
    scratch: bool,
    settings: Sequence[str],
    weights: str,
    accelerator: str,
) -> None:
    """Trains a classifier on a run's encoder, keeps it in `out`, and scores the test clips of the split, if one is given.

    Raises:
        UserError: frozen random weights, a setting that is not of the supervision, data without labels or that does not fit; see
            `recognition.classifier.train_classifier`.
    """
    if frozen and scratch:
        raise UserError("--frozen --scratch: random weights that do not learn recognise nothing; leave one out")
    for setting in settings:
        if not setting.startswith("supervision."):
            raise UserError(f"--set {setting}: the encoder is trained already; only values of supervision can be set here")
    if seed is not None:
        check_seed(seed)
    if epochs is not None and epochs < 1:
        raise UserError(f"--epochs {epochs}: expected 1 or more")
    check_folder(out)
    if is_store(out):
        raise UserError(f"{out}: holds a store, a run folder is another; choose another --out")
    if (out / CONFIG).exists() and read_config(out).get("kind") != CLASSIFIER:
        raise UserError(f"{out}: holds a pre-trained encoder, a classifier is another run; choose another --out")
    trained = open_run(run, last=weights == "last")
    trained = replace(trained, recipe=changed(trained.recipe, {}, settings), seed=trained.seed if seed is None else seed)
    store = Store.open(data)
    how = trained.recipe.supervision
    if not any(setting.partition("=")[0].strip() == "supervision.precision" for setting in settings):
        how = how.reopened()
    how = how if epochs is None else lasting(how, epochs)
    how = replace(how, layer_decay=1.0) if scratch else how
    with keeping(lambda: kept(out, "the same command")):
        _train(run, trained, store, split, how, out, frozen, scratch, accelerator)


def _train(
    run: Path,
    trained: Trained,
    store: Store,
    split: str | None,
    how: Supervision,
    out: Path,
    frozen: bool,
    scratch: bool,
    accelerator: str,
) -> None:
    task = make_task(trained, store, split, quiet=False)
    if not scratch:
        tell_unfinished(run, trained.recipe.epochs)
        tell_weights(trained)
    encoder = trained.encoder(weights=not scratch, drop_path=0.0 if frozen else how.drop_path).alone().to(device_of(accelerator))
    name = "linear" if frozen else "scratch" if scratch else "finetune"
    model, how = train_classifier(name, trained, encoder, task, how, out, seed=trained.seed, frozen=frozen, quiet=False)
    learned = f"{plural(len(task.classes), 'class')}, trained on {plural(len(task.split.train), 'clip')}"
    say(f"{out}: {learned}; `kinema recognize FILE --run {out}`")
    if not len(task.split.test):
        return
    score = score_classifier(name, model, task, how)
    found = {"top1": score.accuracy, **{k: score.details[k] for k in SHARES if k in score.details}}
    say(f"{task.name}: {plural(len(task.split.test), 'test clip')}: top 1 {score.accuracy:.1f} %, {shares_told(found)}")
    each = np.diag(score.confusion(len(task.classes))).tolist()
    counts = np.bincount(score.truth, minlength=len(task.classes)).tolist()
    classes = [{"class": name, "clips": n, "right": r} for name, n, r in zip(task.classes, counts, each, strict=True)]
    write_json(out / "metrics.json", {"task": task.name, "unit": "percent of test clips", **found, "classes": classes})
