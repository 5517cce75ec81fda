"""`kinema train` and `kinema import-weights`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..data.store import Store, is_store
from ..errors import Interrupted, UserError, keeping, unknown
from ..motion.skeletons import skeleton_of
from ..recognition import import_weights as importing
from ..recognition.presets import recipe
from ..recognition.recipes import Recipe, structured, to_json
from ..recognition.run import pretrain
from ..recognition.structure import Problem, Refused, shown
from ..text import say
from ..training.checkpoint import averaged, steps
from ..training.fit import Every
from ..training.folder import CONFIG
from ..words import plural
from .common import check_folder

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Setting:
    """A value of the recipe that a person set: where, to what, and in which words."""

    path: str
    value: Any
    words: str


def changed(base: Recipe, changes: Mapping[str, Any], settings: Sequence[str]) -> Recipe:
    """A recipe with some values replaced, each named by its path and checked like a file's.

    Args:
        base: the recipe. changes: of options that have names of their own, by path. settings: ``path=value``.

    Raises:
        UserError: no such path, or a value that it cannot have.
    """
    value = to_json(base)
    chosen = [Setting(path, new, f"--{path.rpartition('.')[2].replace('_', '-')} {shown(new)}") for path, new in changes.items()]
    chosen += [_setting(text) for text in settings]
    # who asks for a length gets it
    if any(each.path == "epochs" for each in chosen):
        value["most_steps"] = None
    for each in chosen:
        _put(value, each)
    try:
        return structured(value, Recipe)
    except Refused as refused:
        raise UserError(_complaint(refused.problems[0], chosen)) from refused


def _setting(text: str) -> Setting:
    path, sign, new = text.partition("=")
    if not sign:
        raise UserError(f"--set {shown(text)}: expected path=value, for instance model.tau=0.75")
    return Setting(path.strip(), _value(new), f"--set {shown(text)}")


def _put(recipe: dict[str, Any], setting: Setting) -> None:
    """Writes a value to its place."""
    *outer, last = setting.path.split(".")
    place = recipe
    for key in outer:
        if not isinstance(place.get(key), dict):
            groups = [k for k, v in place.items() if isinstance(v, dict)]
            raise UserError(f"{setting.words}: {unknown('part of the recipe', key, groups)}")
        place = place[key]
    if last not in place:
        raise UserError(f"{setting.words}: {unknown('value of the recipe', last, place)}")
    new, before = setting.value, place[last]
    if isinstance(before, dict) and not isinstance(new, dict):
        raise UserError(f"{setting.words}: that is a group of values; set one of {', '.join(before)} in it")
    if isinstance(before, list) and not isinstance(new, list):
        raise UserError(f"{setting.words}: expected a list in JSON, {_example(before)}")
    place[last] = str(new) if last == "precision" and type(new) is int else new  # its name is 32


def _complaint(problem: Problem, chosen: Sequence[Setting]) -> str:
    """What is wrong, behind the words that a person set it with."""
    text = problem.line()
    for each in reversed(chosen):  # of several to one path the last counts
        if problem.value and problem.path == each.path:
            return f"{each.words}: {problem.text.partition(': ')[2]}"
    concerned = [each for each in chosen if each.path in text or f"{each.path}.".startswith(f"{problem.path}.")] or chosen
    return f"{' '.join(each.words for each in concerned)}: {text}"


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
    if init is not None and not (resume and steps(out)) and averaged(init):
        say(f"{init}: it was trained with an ema; this run begins from its averaged weights", to=sys.stderr)
    store = Store.open(data)
    chosen = changed(recipe(method, preset, store.skeleton, store.dataset), changes, settings)
    with keeping(lambda: kept(out, "the same command with --resume")):
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
        # of several processes the first one tells how it ended: the launcher kills it if another one ends with a code before it
        if result.interrupted and result.first and not result.finished:
            raise Interrupted(result.signal)
    if not result.first:
        return
    if result.finished:
        most = f", the most of this recipe (--epochs {chosen.epochs:g} for all)" if result.step == chosen.most_steps else ""
        say(
            f"{out}: finished after {plural(result.step, 'step')}{most}; measure it with `kinema evaluate {out} --data {data} --split ...`"
        )
    else:
        say(f"{out}: stopped after {plural(result.step, 'step')}; the same command with --resume goes on")
    if result.interrupted:  # it came with the last step: what would have followed this command does not
        raise Interrupted(result.signal)


def kept(folder: Path, again: str) -> str:
    """What an interrupted run leaves in its folder, and that `again` goes on from it."""
    saved = steps(folder)
    if saved:
        return f"{saved[0]} is saved; {again} goes on from there"
    return f"{folder}: no step is saved yet; {again} begins anew" if (folder / CONFIG).exists() else "nothing was written"


def import_weights(method: str, file: Path, preset: str, out: Path, skeleton: str | None) -> None:
    """Imports and says how many tensors."""
    check_folder(out)
    joints = skeleton_of(skeleton or ("sign49" if method == "masa" else "ntu25"))
    count = importing.import_weights(method, preset, file, out, joints)
    say(f"{out}: {plural(count, 'tensor')} imported from {file}")
