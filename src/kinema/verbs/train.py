"""`kinema train` and `kinema import-weights`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.store import Store
from ..errors import UserError, unknown
from ..recognition import import_weights as importing
from ..recognition.recipes import Recipe, from_json, recipe, to_json
from ..recognition.run import pretrain
from ..training.fit import Every
from .common import skeleton_of


def changed(base: Recipe, changes: Mapping[str, Any], settings: Sequence[str]) -> Recipe:
    """A recipe with some values replaced, each named by its path and checked like a file's.

    Raises:
        UserError: no such path, or a value of the wrong type.
    """
    value = to_json(base)
    pairs = list(changes.items())
    for setting in settings:
        path, sign, text = setting.partition("=")
        if not sign:
            raise UserError(f"--set {setting}: expected path=value, for instance model.tau=0.75")
        try:
            pairs.append((path.strip(), json.loads(text)))
        except ValueError:
            pairs.append((path.strip(), text))
    for path, new in pairs:
        place = value
        *outer, last = path.split(".")
        for key in outer:
            if not isinstance(place.get(key), dict):
                raise unknown(f"part of the recipe (in {path!r})", key, place)
            place = place[key]
        if last not in place:
            raise unknown(f"value of the recipe (in {path!r})", last, place)
        if isinstance(place[last], (int, float, bool)) and isinstance(new, str):
            raise UserError(f"--set {path}={new}: expected a number or true/false, like the preset's {json.dumps(place[last])}")
        place[last] = new
    return from_json(value, "--set")


def train(
    method: str,
    preset: str,
    data: Path,
    out: Path,
    split: str | None,
    seed: int,
    changes: Mapping[str, Any],
    settings: Sequence[str],
    accelerator: str,
    devices: int,
    max_steps: int | None,
    checkpoint_minutes: float | None,
    resume: bool,
    tensorboard: bool,
) -> None:
    """Pre-trains and says where the run is."""
    store = Store.open(data)
    chosen = changed(recipe(method, preset, store.skeleton), changes, settings)
    result = pretrain(
        store,
        chosen,
        out,
        split=split,
        seed=seed,
        accelerator=accelerator,
        devices=devices,
        max_steps=max_steps,
        checkpoint_every=None if checkpoint_minutes is None else Every(seconds=60 * checkpoint_minutes),
        resume=resume,
        tensorboard=tensorboard,
    )
    if result.finished:
        print(f"{out}: finished after {result.step} steps; measure it with `kinema evaluate {out} --data {data} --split ...`")
    else:
        print(f"{out}: stopped after {result.step} steps; the same command with --resume goes on")


def import_weights(method: str, file: Path, preset: str, out: Path, skeleton: str) -> None:
    """Imports and says how many tensors."""
    count = importing.import_weights(method, preset, file, out, skeleton_of(skeleton))
    print(f"{out}: {count} tensors imported from {file}")
