"""The stage as a store, with its splits, for training like any other data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...motion.clip import Clip
from ..store import Store
from . import signs1, stage1
from .parts import sides


def clips(count: int = stage1.SIZE) -> Iterator[tuple[str, Clip]]:
    """(id, clip) of the first `count` clips as a sensor saw them; each carries its side of every split in `meta["splits"]`."""
    for index in range(count):
        clip = stage1.clip(index)
        yield f"{index:06d}", clip.with_(meta={**clip.meta, "splits": sides(stage1.draw(index), stage1.SPLITS)})


def write(folder: Path, count: int = stage1.SIZE, *, overwrite: bool = False) -> Store:
    """Writes the first `count` clips of stage-1 as a store.

    Raises:
        UserError: `folder` is in the way, or the disk is full.
    """
    return Store.write(folder, clips(count), name="stage-1", classes=stage1.CLASSES, overwrite=overwrite)


def sign_clips(count: int = signs1.SIZE) -> Iterator[tuple[str, Clip]]:
    """(id, clip) of the first `count` signs, as `clips` does; the first 96 are of training signers only."""
    for index in range(count):
        clip = signs1.clip(index)
        yield f"{index:06d}", clip.with_(meta={**clip.meta, "splits": sides(signs1.draw(index), signs1.SPLITS)})


def write_signs(folder: Path, count: int = signs1.SIZE, *, overwrite: bool = False) -> Store:
    """Writes the first `count` clips of signs-1 as a store.

    Raises:
        UserError: `folder` is in the way, or the disk is full.
    """
    return Store.write(folder, sign_clips(count), name="signs-1", classes=signs1.CLASSES, overwrite=overwrite)
