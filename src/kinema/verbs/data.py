"""`kinema data list | build | check`."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.table import Table

from ..data.build import build
from ..data.datasets import DATASETS
from ..data.splits import check
from ..data.store import Store
from ..errors import UserError
from .common import console, skeleton_of


def list_datasets() -> None:
    """Prints `DATASETS`."""
    table = Table("name", "title", "classes", "splits", "format", "from")
    for d in DATASETS.values():
        table.add_row(d.name, d.title, str(len(d.classes) or "-"), " ".join(list(d.splits)[:6]), d.format, d.source)
    console.print(table)


def build_store(
    source: Path,
    out: Path,
    dataset: str | None,
    format: str | None,
    index: Path | None,
    skeleton: Path | None,
    workers: int | None,
    strict: bool,
    overwrite: bool,
) -> None:
    """Builds, then says what is there and what was skipped."""
    if index is not None and skeleton is None:
        raise UserError("--index needs --skeleton: a JSON with joints and parents, or the name of a known skeleton")
    bones = None if skeleton is None else skeleton_of(skeleton)
    summary = build(
        source, out, dataset=dataset, format=format, index=index, skeleton=bones, workers=workers, strict=strict, overwrite=overwrite
    )
    for bad in summary.skipped:
        print(f"skipped {bad}", file=sys.stderr)
    store = Store.open(out)
    print(f"{out}: {len(store)} clips, {len(store.classes)} classes, {store.skeleton.name}; {len(summary.skipped)} files skipped")


def check_store(path: Path, strict: bool) -> None:
    """Reads everything once.

    Raises:
        UserError: damage; with `strict` also split sizes that differ from the published ones.
    """
    store = Store.open(path)
    store.verify()
    for i in range(len(store)):
        store.clip(i)
    print(f"{path}: whole; {len(store)} clips, {len(store.classes)} classes, {store.skeleton.name}")
    remarks = check(store)
    for line in remarks:
        print(line)
    if strict and remarks:
        raise UserError(f"{path}: {len(remarks)} differences from the published protocol")
