"""What can be known before anything is measured: that every protocol will run to its end, on every run, with these clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..data.store import Store
from ..errors import UserError
from ..words import plural
from .kept import KeptScores
from .names import FUSED, MEASURES
from .protocols import Task, check_linear, weights_digest
from .recipes import Recipe
from .run import Trained, check_fits
from .supervised import Plan


def weights_of(runs: Sequence[Trained], wanted: Sequence[str]) -> dict[Path, str]:
    """A hash of the trained weights of each run by its folder, so that all of them are known to be there; none where nobody asks.

    Raises:
        CheckpointError: no whole checkpoint, or one that does not fit.
    """
    if not any(name == FUSED or MEASURES[name].weights == "trained" for name in wanted):
        return {}
    return {run.folder: weights_digest(run.encoder()) for run in runs}


def check_clips(runs: Sequence[Trained], wanted: Sequence[str], task: Task, epochs: int | None) -> None:
    """Raises UserError unless there are clips and classes enough for every protocol."""
    if epochs is not None and epochs < 1:
        raise UserError(f"--epochs {epochs}: expected 1 or more")
    for name in wanted:
        if name == FUSED or MEASURES[name].kind == "linear":
            check_linear(task.labels, task.split)
        elif not MEASURES[name].frozen:
            for run in runs:
                Plan.of(name, run, task, epochs)


def check_folders(
    measured: Mapping[str, Sequence[Trained]], task: Task, kept: KeptScores, folder: Path, device: str, epochs: int | None
) -> None:
    """Raises UserError where a classifier would have to be trained in the folder of another one.

    Args:
        measured: the runs of each protocol that are to be measured, and not taken from those that were `kept`.
    """
    for name, runs in measured.items():
        if name != FUSED and not MEASURES[name].frozen:
            for run in runs:
                Plan.of(name, run, task, epochs).check_folder(folder / kept.name(name, run), device)


def check_alike(runs: Sequence[Trained], store: Store) -> None:
    """Raises UserError unless the runs can be averaged, and read the store."""
    for other in runs:
        if _but_precision(other.recipe) != _but_precision(runs[0].recipe):
            raise UserError(
                f"{other.folder}: another recipe than {runs[0].folder}; runs that are averaged may differ in their seed only"
            )
        check_fits(other, store)
    if len({r.seed for r in runs}) < len(runs):
        raise UserError("two of the runs have the same seed: their average would look more certain than it is")


def _but_precision(recipe: Recipe) -> Recipe:
    """What has to agree between runs that are averaged: each machine may have settled on a precision of its own."""
    return replace(recipe, precision="auto", supervision=replace(recipe.supervision, precision="auto"))


def check_pairs(runs: Sequence[Trained], fuse: Sequence[Trained]) -> None:
    """Raises UserError unless the runs to fuse pair with the others in order, and are others."""
    if len(runs) != len(fuse):
        raise UserError(f"--fuse: {plural(len(fuse), 'run')} for {len(runs)}; give one for each, in the same order")
    for one, other in zip(runs, fuse, strict=True):
        if one.seed != other.seed:
            raise UserError(
                f"--fuse {other.folder}: has seed {other.seed}, but is paired with {one.folder} of seed {one.seed}; "
                "give runs of the same seeds in the same order"
            )
        if one.folder.resolve() == other.folder.resolve():
            raise UserError(f"--fuse {other.folder}: is paired with itself; give a run of another method")
