"""How the numbers of a report came about: what was typed, which code, recipe, data and machine, and how long it took."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..training.made import read_made
from ..view.report import Section, facts_section
from ..words import plural
from .evaluate import Evaluation
from .recipes import to_json
from .run import Trained

UNKNOWN = "not written down"


def origin_section(found: Evaluation, runs: Sequence[Trained], data: Mapping[str, Any], made: Mapping[str, Any]) -> Section:
    """Facts of an evaluation and of its runs; the whole recipe is folded.

    Args:
        data: of the store that was measured on: ``name``, ``checksum``, ``split``, ``clips``.
        made: how the evaluation was made, see `training.made.made`, with ``seconds``.
    """
    recipe = to_json(runs[0].recipe)
    facts = [
        ("measured with", str(made.get("command") or UNKNOWN)),
        ("measured on", _where(made)),
        ("measured data", _data(data)),
        ("clips", _clips(found)),
        ("recipe", _recipe(recipe)),
        ("trained on", _data(runs[0].data)),
    ]
    for run in runs:
        parts = read_made(run.folder)
        for part in parts[-3:]:
            facts.append((f"seed {run.seed} with", str(part.get("command") or UNKNOWN)))
            facts.append((f"seed {run.seed} on", _where(part)))
        if len(parts) > 3:
            facts.append((f"seed {run.seed} before", f"{plural(len(parts) - 3, 'more part')}, see its made.json"))
        if not parts:
            facts.append((f"seed {run.seed}", f"command, machine and time were {UNKNOWN} in {run.folder.name}"))
    if found.fused:
        facts.append(("fused with", ", ".join(Path(folder).name for folder in found.fused)))
    whole = json.dumps(recipe, indent=1, ensure_ascii=False)
    return facts_section(
        "How this was made", facts, {"every setting of the recipe": list(_leaves(recipe)), "the recipe as JSON": whole}
    )


def _where(made: Mapping[str, Any]) -> str:
    """Code, machine, day and time of something that was made, as far as it is known."""
    kinema, commit, torch, python = (made.get(key) for key in ("kinema", "commit", "torch", "python"))
    seconds, processes = made.get("seconds"), made.get("processes")
    told = [
        f"kinema {kinema}" + (f", commit {commit}" if commit else "") if kinema else "",
        f"torch {torch}" if torch else "",
        f"Python {python}" if python else "",
        str(made.get("device") or "") + (f", {processes} processes" if isinstance(processes, int) and processes > 1 else ""),
        str(made.get("date") or "").replace("T", " ").replace("+00:00", " UTC"),
        _duration(seconds) if isinstance(seconds, int | float) and not isinstance(seconds, bool) else "",
    ]
    return " · ".join(t for t in told if t) or UNKNOWN


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _data(data: Mapping[str, Any]) -> str:
    """Name, checksum and split of a store, as far as they are known."""
    split, checksum, clips = data.get("split"), data.get("checksum"), data.get("clips")
    told = [
        str(data.get("name") or ""),
        f"split {split}" if split else "",
        plural(clips, "clip") if isinstance(clips, int) else "",
        f"checksum {checksum}" if checksum else "",
    ]
    return " · ".join(t for t in told if t) or UNKNOWN


def _clips(found: Evaluation) -> str:
    split = found.split
    scored = (
        f"{len(split.test)} {found.part}"
        if found.part != "test"
        else f"{len(split.validation)} of these validate, {len(split.test)} test"
    )
    return f"{len(split.train)} train, {scored}, {plural(len(found.classes), 'class')}"


def _recipe(recipe: Mapping[str, Any]) -> str:
    """The settings that one asks for first."""
    optimiser = recipe.get("optimiser")
    rate = optimiser.get("lr") if isinstance(optimiser, dict) else None
    told = [
        " ".join(str(recipe[key]) for key in ("method", "preset") if recipe.get(key)),
        *(f"{name} {recipe[key]}" for key, name in (("epochs", "epochs"), ("batch_size", "batch size")) if key in recipe),
        f"learning rate {rate}" if rate is not None else "",
        f"precision {recipe['precision']}" if "precision" in recipe else "",
    ]
    return " · ".join(t for t in told if t)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Settings under the names that ``--set`` takes."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, json.dumps(value, ensure_ascii=False)
