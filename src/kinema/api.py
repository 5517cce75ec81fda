"""What a program needs first, under short names: ``import kinema`` and then ``kinema.read``, ``kinema.open_run``, ``kinema.embed``, ...

Each function takes what is open already, or where it lies. What only some of them need (torch) is imported by those.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .data.store import Store, is_store
from .errors import CheckpointError, FormatError, UserError
from .motion.clip import Caption, Clip
from .motion.formats.reading import read_clips
from .motion.skeleton import Skeleton
from .motion.skeletons import skeleton_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from .recognition.classifier import Recogniser
    from .recognition.recognize import Recognition
    from .recognition.retrieve import Neighbour
    from .recognition.run import Trained

__all__ = [
    "Caption",
    "CheckpointError",
    "Clip",
    "FormatError",
    "Skeleton",
    "Store",
    "UserError",
    "embed",
    "open_classifier",
    "open_run",
    "open_store",
    "read",
    "recognize",
    "retrieve",
    "show",
]


def read(source: Path | str, skeleton: Skeleton | Path | str | None = None) -> list[Clip]:
    """The clips of a motion file, of a folder or zip of them, or of a store.

    All of them are in memory at once; of a large folder build a store instead.

        >>> clips = kinema.read("S001C001P001R001A001.skeleton")
        >>> clips = kinema.read("bare.npy", skeleton="ntu25")
        >>> clips[0].positions  # (frames, people, joints, 3), float32, metres, y up

    Args:
        source: where they are; a file within a zip is ``archive.zip:inner/path``.
        skeleton: joints of bare arrays: a `Skeleton`, the name of a known one, or a JSON file.

    Raises:
        UserError: nothing that can be read there. FormatError: a damaged file, or nothing in it can be read.

    Warns:
        UserWarning: a clip of a file of many, or a file of many, could not be read and is left out.
    """
    source = Path(source)
    if is_store(source):
        if skeleton is not None:
            raise UserError(f"{source}: a store knows its own skeleton; leave it out")
        store = Store.open(source)
        return [store.clip(i) for i in range(len(store))]
    return list(read_clips(source, skeleton if skeleton is None or isinstance(skeleton, Skeleton) else skeleton_of(skeleton)))


def open_store(folder: Path | str) -> Store:
    """A store that `kinema data build` made. Its clips are read when they are asked for.

        >>> store = kinema.open_store("stores/mine")
        >>> len(store), store.classes
        >>> store.clip(0)

    Raises:
        UserError: there is no store. FormatError: a damaged one.
    """
    return Store.open(folder)


def open_run(folder: Path | str) -> Trained:
    """A run that `kinema train` or `kinema import-weights` made: what it was trained on, and how. Its weights are read when it is used.

        >>> run = kinema.open_run("runs/mine-0")
        >>> kinema.embed(run, clips)

    Raises:
        UserError: no run there, or a classifier.
    """
    from .recognition.run import open_run

    return open_run(Path(folder))


def open_classifier(folder: Path | str, device: str = "cpu") -> Recogniser:
    """A classifier that `kinema finetune` made, with its weights.

        >>> signs = kinema.open_classifier("runs/mine-named")
        >>> signs.classes

    Raises:
        UserError: no run there, or one that names no classes. CheckpointError: no whole weights.
    """
    from .recognition.classifier import open_recogniser

    return open_recogniser(Path(folder), device)


def embed(run: Trained | Path | str, clips: Store | Sequence[Clip], device: str = "cpu") -> np.ndarray:
    """Features `(N, D)` float32 of clips, by a trained encoder.

        >>> features = kinema.embed("runs/mine-0", kinema.read("walk.npz"))

    Args:
        run: an open run, or its folder. clips: as they were read, or a store: all of its clips. device: where to compute.

    Raises:
        UserError: no clips, a clip with another skeleton or other coordinates than the run's, or with nobody in it.
    """
    from .recognition.predict import embed

    given = [clips.clip(i) for i in range(len(clips))] if isinstance(clips, Store) else clips
    return embed(_run(run), given, device=device)


def retrieve(
    run: Trained | Path | str, query: Clip, store: Store | Path | str, top: int = 5, device: str = "cpu"
) -> list[Neighbour]:
    """The clips of a store that are most like a given one, by a trained encoder; the most similar first.

        >>> for found in kinema.retrieve("runs/mine-0", clip, "stores/mine"):
        ...     print(found.id, found.class_name, found.similarity)

    Args:
        run: an open run, or its folder. query: as it was read. store: an open one, or its folder. top: how many. device: where to compute.

    Raises:
        UserError: another skeleton, nobody in the query, or nothing to compare with.
    """
    from .recognition.retrieve import retrieve

    return retrieve(_run(run), query, store if isinstance(store, Store) else open_store(store), top=top, device=device)


def recognize(classifier: Recogniser | Path | str, clip: Clip, top: int = 5) -> Recognition:
    """The classes of a clip, likeliest first, and of a long one what is when.

        >>> for label in kinema.recognize("runs/mine-named", clip).labels:
        ...     print(label.name, label.confidence)

    Args:
        classifier: an open one, or its folder. clip: as it was read. top: how many classes.

    Raises:
        UserError: nobody is in the clip, or a clip that the classifier cannot take.
    """
    from .recognition.recognize import recognize

    return recognize(open_classifier(classifier) if isinstance(classifier, Path | str) else classifier, clip, top=top)


def show(clip: Clip, out: Path | str | None = None) -> Image:
    """Draws a clip: eight figures in a row. A notebook shows what is returned.

        >>> kinema.show(clip)
        >>> kinema.show(clip, "walk.gif")

    Args:
        clip: what to draw. out: write it there as well: the row as .png, the moving figure as .gif or .mp4.

    Raises:
        UserError: another ending of `out`, or it cannot be written.
    """
    from .view.figure import save, strip

    if out is not None:
        save(clip, Path(out))
    return strip(clip)


def _run(run: Trained | Path | str) -> Trained:
    return open_run(run) if isinstance(run, Path | str) else run
