"""`kinema data list | build | stage | check`."""

from __future__ import annotations

import textwrap
from pathlib import Path

from ..data.build import build
from ..data.datasets import DATASETS, Dataset
from ..data.doubts import doubts
from ..data.kinds import Kind, Kinds
from ..data.splits import check, sizes, split
from ..data.stage import signs1, stage1
from ..data.stage.world import WORLDS
from ..data.store import Store
from ..errors import UserError, keeping, unknown
from ..machine import cores
from ..motion.conventions import Conventions
from ..motion.skeletons import skeleton_of
from ..text import say, warn
from ..training.progress import counting
from ..words import plural
from .common import check_writable, tell_large
from .stages import Stages

WIDTH = 80
MODULES = {"stage-1": stage1, "signs-1": signs1}
"""The module of each world."""


def list_datasets() -> None:
    """Prints `DATASETS`, links whole, in lines of `WIDTH`."""
    for dataset in DATASETS.values():
        say(*_lines(dataset))


def _lines(dataset: Dataset) -> list[str]:
    classes = plural(len(dataset.classes), "class") if dataset.classes else "classes from its list"
    facts = [
        f"{dataset.title}; {classes}, format {dataset.format}",
        f"splits: {', '.join(dataset.splits)}",
        f"from: {dataset.source}",
    ]
    options = {"width": WIDTH, "subsequent_indent": " " * 16, "break_long_words": False, "break_on_hyphens": False}
    lines = [line for fact in facts for line in textwrap.wrap(fact, initial_indent=" " * 14, **options)]
    return [f"{dataset.name:<13} {lines[0].lstrip()}", *lines[1:]]


def build_store(
    source: Path,
    out: Path | None,
    dataset: str | None,
    format: str | None,
    index: Path | None,
    skeleton: Path | None,
    workers: int | None,
    strict: bool,
    overwrite: bool,
    units: str | None = None,
    up: str | None = None,
    left_handed: bool = False,
) -> None:
    """Builds, then says what is there and what was skipped.

    Raises:
        UserError: see `data.build.build`.
    """
    if workers is not None and not 1 <= workers <= cores():
        raise UserError(f"--workers {workers}: expected 1 to {cores()}, the processor cores of this machine")
    out = out or Path("stores") / (dataset or source.resolve().stem)
    check_writable(out)
    bones = None if skeleton is None else skeleton_of(skeleton)
    tell_large(source)
    with keeping(lambda: "what was read is kept; the same command goes on from there"), Stages() as stages:
        summary = build(
            source,
            out,
            dataset=dataset,
            format=format,
            index=index,
            skeleton=bones,
            workers=workers,
            strict=strict,
            overwrite=overwrite,
            progress=stages,
            conventions=Conventions(units, up, left_handed),
        )
    store = Store.open(out)
    say(*summary.lines())
    for line in summary.doubts:
        warn(line)
    say(f"{out}: {plural(len(store.classes), 'class')}, skeleton {store.skeleton.name}")
    if store.dataset is None:
        say(*sizes(store), *check(store))


def stage_store(name: str, out: Path, clips: int | None, overwrite: bool) -> None:
    """Writes the first `clips` of a world of people made from a seed (default: all) as a store, and says what is in it.

    Raises:
        UserError: no such world, a number of clips that it does not have, or something is in the way.
    """
    if name not in WORLDS:
        raise unknown("world of the stage", name, WORLDS)
    write, size = WORLDS[name]
    if clips is not None and not 1 <= clips <= size:
        raise UserError(f"--clips {clips}: {name} has {plural(size, 'clip')}; expected 1 to {size}")
    check_writable(out)
    count = clips or size
    with keeping(lambda: f"{out} is not written"), counting(count, "clip") as step:
        store = write(out, count, overwrite=overwrite, progress=step)
    sides = ", ".join(_sizes(store, part) for part in sorted(MODULES[name].SPLITS))
    say(f"{out}: {plural(len(store), 'clip')}, {plural(len(store.classes), 'class')}, skeleton {store.skeleton.name}; {sides}")


def _sizes(store: Store, name: str) -> str:
    """A split of a world and how many clips train and test."""
    try:
        part = split(store, name)
    except UserError:  # the first few clips may all be of one side
        least = 1 + max(int(side[0]) for side in MODULES[store.name].split(name))
        return f"split {name} needs {plural(least, 'clip')} or more"
    return f"split {name} {len(part.train)} / {len(part.test)}"


def check_store(path: Path, strict: bool) -> None:
    """Reads everything once, and looks at what is in it: units, axes, sizes of splits.

    Raises:
        UserError: damage; clips in different units, as an older version built them; with
            `strict` also split sizes that differ from the published ones.
    """
    store = Store.open(path)
    with counting(None, "MB", "checksum", unit="MB") as step:
        store.verify(lambda done: step(done // 10**6))
    kinds = Kinds()
    with counting(len(store), "clip", "reading") as step:
        for i, entry in enumerate(store.entries):
            kinds.add(entry.id, Kind.of(store.clip(i)))
            step(i + 1)
    problem = kinds.problem()
    if problem is not None:
        raise UserError(f"{path}: {problem}")
    remarks = check(store)
    if strict and remarks:
        found = plural(len(remarks), "difference") + " from the published protocol"
        what = found if store.dataset is not None else plural(len(remarks), "doubt") + " about its splits or labels"
        raise UserError(f"{path}: {what}: {'; '.join(remarks)}")
    say(f"{path}: whole; {plural(len(store), 'clip')}, {plural(len(store.classes), 'class')}, {store.skeleton.name}")
    if store.read_as:
        say(f"converted from {', '.join(f'{name} {value}' for name, value in store.read_as.items())}")
    if store.dataset is None:
        say(*sizes(store))
    for line in remarks:
        say(line)
    for line in doubts(store):
        warn(line)
