"""The demo: pre-training, protocols and a report on people of the stage, from nothing, in minutes on two cores."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..data.stage import world
from ..data.store import Store
from ..errors import Interrupted
from ..motion.skeletons import SMPL22
from ..text import say
from ..training.made import made
from ..training.method import Schedule
from .evaluate import Evaluation, evaluate, measured_data, save_metrics
from .mamp import MAMPConfig
from .presets import small
from .recipes import Recipe
from .report import build_report
from .run import open_run, pretrain

CLIPS = 2400
"""Clips of the stage: 1,216 train, 1,184 of other people test."""
SEEDS = (0, 1, 2)


def demo_recipe() -> Recipe:
    """`small`, made smaller still: 64 wide, 4 + 1 blocks, one person, features averaged over all tokens as published."""
    base = small(SMPL22)
    assert isinstance(base.model, MAMPConfig)
    size = replace(base.model.encoder, width=64, depth=4)
    return replace(
        base,
        preset="demo",
        model=replace(base.model, encoder=size, decoder_width=64, decoder_depth=1),
        epochs=20,
        optimiser=replace(base.optimiser, lr=2e-3),
        schedule=Schedule("cosine", warmup=1, final=0.05),
        pooling="mean",
        probe_views=0,
        supervision=replace(base.supervision, epochs=10, drop_path=0.0),
    )


def demo(folder: Path, *, seeds: tuple[int, ...] = SEEDS, say: Callable[[str], None] = say, quiet: bool = True) -> Evaluation:
    """Runs everything into `folder`; what is there already is not done again.

    Raises:
        UserError: the folder cannot be written, or holds something else.
    """
    start, how = time.perf_counter(), made("cpu")
    path = folder / "stage-1"
    if not path.exists():
        say(f"making {CLIPS} clips of the stage")
        world.write(path, CLIPS)
    store, recipe = Store.open(path), demo_recipe()
    for seed in seeds:
        say(f"pre-training MAMP, seed {seed}")
        result = pretrain(store, recipe, folder / f"seed-{seed}", split="subject", seed=seed, resume=True, quiet=quiet)
        if result.signal:  # also one that came with the last step
            raise Interrupted(result.signal)
    runs = [open_run(folder / f"seed-{seed}") for seed in seeds]
    probes = ("linear", "knn", "random-linear", "random-knn", "raw-linear", "raw-knn")
    # training from scratch is the slowest part: one seed of it
    wanted = (*probes, "scratch")
    found = evaluate(runs, store, "subject", wanted, folder / "protocols", once=("scratch",), say=say, quiet=quiet)
    example = store.clip(int(found.split.test[0]))
    how["seconds"] = round(time.perf_counter() - start, 1)
    data = measured_data(store, "subject")
    build_report(folder / "report.html", found, runs, example, title="Kinema demo: MAMP on the stage", data=data, made=how)
    save_metrics(found, folder / "metrics.json", seconds=how["seconds"], data=data, made=how)
    return found
