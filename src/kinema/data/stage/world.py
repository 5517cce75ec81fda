"""The stage as a store, with its splits, for training like any other data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from ...files import TEMPORARY
from ...motion.clip import Clip
from ..store import Store, check_free
from ..work import replacement
from . import signs1, stage1
from .parts import sides


def clips(count: int = stage1.SIZE) -> Iterator[tuple[str, Clip]]:
    """(id, clip) of the first `count` clips as a sensor saw them; each carries its side of every split in `meta["splits"]`."""
    for index in range(count):
        clip = stage1.clip(index)
        yield f"{index:06d}", clip.with_(meta={**clip.meta, "splits": sides(stage1.draw(index), stage1.SPLITS)})


def write(
    folder: Path, count: int = stage1.SIZE, *, overwrite: bool = False, progress: Callable[[int], None] | None = None
) -> Store:
    """Writes the first `count` clips of stage-1 as a store; `progress` is called after each clip with the number of those done.

    Raises:
        UserError: `folder` is in the way, another process writes it, or the disk is full.
    """
    found = _counted(clips(count), progress)
    return _written(folder, found, "stage-1", stage1.CLASSES, overwrite)


def sign_clips(count: int = signs1.SIZE) -> Iterator[tuple[str, Clip]]:
    """(id, clip) of the first `count` signs, as `clips` does; the first 96 are of training signers only."""
    for index in range(count):
        clip = signs1.clip(index)
        yield f"{index:06d}", clip.with_(meta={**clip.meta, "splits": sides(signs1.draw(index), signs1.SPLITS)})


def write_signs(
    folder: Path, count: int = signs1.SIZE, *, overwrite: bool = False, progress: Callable[[int], None] | None = None
) -> Store:
    """Writes the first `count` clips of signs-1 as a store, as `write` does.

    Raises:
        UserError: `folder` is in the way, another process writes it, or the disk is full.
    """
    found = _counted(sign_clips(count), progress)
    return _written(folder, found, "signs-1", signs1.CLASSES, overwrite)


class Writer(Protocol):
    """`write` and `write_signs`."""

    def __call__(
        self, folder: Path, count: int = ..., *, overwrite: bool = ..., progress: Callable[[int], None] | None = ...
    ) -> Store:
        """Writes a world."""
        ...


WORLDS: dict[str, tuple[Writer, int]] = {"stage-1": (write, stage1.SIZE), "signs-1": (write_signs, signs1.SIZE)}
"""Each world: what writes it, and how many clips it has."""


def _written(folder: Path, found: Iterable[tuple[str, Clip]], name: str, classes: Sequence[str], overwrite: bool) -> Store:
    """The store, made in a folder beside it that has always the same name, so that what a killed writer left there is found again."""
    check_free(folder, overwrite)
    place = folder.resolve()  # of a link, what it leads to
    with replacement(place, place.with_name(f"{TEMPORARY}stage-{place.name}")) as fresh:
        Store.write(fresh, found, name=name, classes=classes)
    return Store.open(folder)


def _counted(found: Iterable[tuple[str, Clip]], progress: Callable[[int], None] | None) -> Iterator[tuple[str, Clip]]:
    """`found`, with `progress` told of each that was taken and written."""
    for done, one in enumerate(found, 1):
        yield one
        if progress is not None:
            progress(done)
