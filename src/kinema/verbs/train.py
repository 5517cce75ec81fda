"""`kinema train` and `kinema import-weights`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..data.store import Store, is_store
from ..errors import UserError, unknown
from ..motion.skeletons import skeleton_of
from ..recognition import import_weights as importing
from ..recognition.presets import recipe
from ..recognition.recipes import Recipe, from_json, to_json
from ..recognition.run import pretrain
from ..text import say
from ..training.fit import Every
from .common import check_folder

LARGEST_SEED = 2**63 - 1


def changed(base: Recipe, changes: Mapping[str, Any], settings: Sequence[str]) -> Recipe:
    """A recipe with some values replaced, each named by its path and checked like a file's.

    Raises:
        UserError: no such path, or a value of the wrong type.
    """
    value = to_json(base)
    pairs = list(changes.items())
    # who asks for a length gets it
    if "epochs" in changes or any(setting.partition("=")[0].strip() == "epochs" for setting in settings):
        pairs.insert(0, ("most_steps", None))
    for setting in settings:
        path, sign, text = setting.partition("=")
        if not sign:
            raise UserError(f"--set {setting}: expected path=value, for instance model.tau=0.75")
        pairs.append((path.strip(), _value(text)))
    for path, new in pairs:
        place = value
        *outer, last = path.split(".")
        for key in outer:
            if not isinstance(place.get(key), dict):
                raise unknown(f"part of the recipe (in {path!r})", key, [k for k, v in place.items() if isinstance(v, dict)])
            place = place[key]
        if last not in place:
            raise unknown(f"value of the recipe (in {path!r})", last, place)
        if last == "precision" and type(new) is int:
            new = str(new)  # its name is 32
        if isinstance(place[last], (int, float, bool)) and isinstance(new, str):
            raise UserError(f"--set {path}={new}: expected a number or true/false, like the preset's {json.dumps(place[last])}")
        if isinstance(place[last], dict) and not isinstance(new, dict):
            raise UserError(f"--set {path}={json.dumps(new)}: that is a group of values; set one of {', '.join(place[last])} in it")
        if isinstance(place[last], list) and not isinstance(new, list):
            raise UserError(f"--set {path}={json.dumps(new)}: expected a list in JSON, {_example(place[last])}")
        place[last] = new
    return from_json(value, "--set")


def _example(values: Sequence[Any]) -> str:
    """How a list is written, by the preset's own."""
    return f"like the preset's {json.dumps(values[:2])[:-1]}{', ...' if len(values) > 2 else ''}]" if values else "perhaps []"


def _value(text: str) -> Any:
    """What is set: JSON, or else the text itself (so ``NaN`` and ``1e999`` are refused where a number is expected)."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    def finite(number: str) -> float:
        return float(number) if math.isfinite(float(number)) else refuse(number)

    try:
        return json.loads(text, parse_constant=refuse, parse_float=finite)
    except (ValueError, RecursionError):
        return text


def check_seed(seed: int) -> None:
    """Raises UserError unless a seed is one that torch takes."""
    if not -LARGEST_SEED <= seed <= LARGEST_SEED:
        raise UserError(f"--seed {seed}: expected a number from {-LARGEST_SEED} to {LARGEST_SEED}")


def train(
    method: str,
    preset: str,
    data: Path,
    out: Path,
    split: str | None,
    seed: int,
    changes: Mapping[str, Any],
    settings: Sequence[str],
    init: Path | None,
    accelerator: str,
    devices: int,
    max_steps: int | None,
    checkpoint_minutes: float | None,
    resume: bool,
    tensorboard: bool,
) -> None:
    """Pre-trains and says where the run is.

    Raises:
        UserError: see `recognition.run.pretrain`.
    """
    check_seed(seed)
    if max_steps is not None and max_steps < 1:
        raise UserError(f"--max-steps {max_steps}: expected 1 or more")
    check_folder(out)
    if is_store(out):
        raise UserError(f"{out}: holds a store, a run folder is another; choose another --out")
    store = Store.open(data)
    chosen = changed(recipe(method, preset, store.skeleton, store.dataset), changes, settings)
    result = pretrain(
        store,
        chosen,
        out,
        split=split,
        seed=seed,
        init=init,
        accelerator=accelerator,
        devices=devices,
        max_steps=max_steps,
        checkpoint_every=None if checkpoint_minutes is None else Every(seconds=60 * checkpoint_minutes),
        resume=resume,
        tensorboard=tensorboard,
    )
    if result.finished:
        most = f", the most of this recipe (--epochs {chosen.epochs:g} for all)" if result.step == chosen.most_steps else ""
        say(f"{out}: finished after {result.step} steps{most}; measure it with `kinema evaluate {out} --data {data} --split ...`")
    else:
        say(f"{out}: stopped after {result.step} steps; the same command with --resume goes on")


def import_weights(method: str, file: Path, preset: str, out: Path, skeleton: str | None) -> None:
    """Imports and says how many tensors."""
    check_folder(out)
    joints = skeleton_of(skeleton or ("sign49" if method == "masa" else "ntu25"))
    count = importing.import_weights(method, preset, file, out, joints)
    say(f"{out}: {count} tensors imported from {file}")
