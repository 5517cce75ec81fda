"""`kinema embed`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from ..data.store import Store, is_store
from ..errors import UserError, keeping
from ..motion.clip import Clip
from ..motion.skeleton import Skeleton
from ..motion.skeletons import skeleton_of
from ..recognition.predict import embed as run_embed
from ..recognition.predict import save_features
from ..recognition.run import Trained, open_run
from ..recognition.vocabulary import Labels, labels_of
from ..text import say
from ..training.device import device_of
from ..training.progress import counting
from ..words import plural
from .common import check_writable, clips_for, tell_unfinished, tell_weights


def embed(folder: Path, source: Path, out: Path, data: Path | None, skeleton: Path | None, weights: str, accelerator: str) -> None:
    """Writes features of a store or of files, with the classes of the clips.

    Raises:
        UserError: no run, no clips, another skeleton, or a name that is not an .npz.
    """
    if out.suffix.lower() != ".npz":
        raise UserError(f"--out {out}: expected a name that ends in .npz")
    check_writable(out)
    trained = open_run(folder, last=weights == "last")
    given = None if data is None else Store.open(data)
    joints = None if skeleton is None else skeleton_of(skeleton)
    with keeping(lambda: f"{out} is not written"):
        if is_store(source):
            if joints is not None:
                raise UserError(f"--skeleton belongs to bare arrays; the store {source} knows its own: leave it out")
            store = Store.open(source)
            clips = [store.clip(i) for i in range(len(store))]
            names = [entry.id for entry in store.entries]
            labels, whose = _labels(clips, given or store)
        else:
            clips = list(_read(source, joints, trained))
            names = [clip.source for clip in clips]
            labels, whose = _labels(clips, given or trained)
        tell_unfinished(folder, trained.recipe.epochs)
        tell_weights(trained)
        features = run_embed(trained, clips, device=str(device_of(accelerator)), quiet=False)
        save_features(out, features, names, labels)
    say(f"{out}: features {features.shape} of {plural(len(clips), 'clip')}; labels are numbers of {whose}")
    for remark in labels.remarks:
        say(remark, to=sys.stderr)


def _read(source: Path, skeleton: Skeleton | None, trained: Trained) -> Iterator[Clip]:
    """The clips of files, counted aloud. Bare arrays have the joints that were named, or else those of the run."""
    with counting(None, "clip", "reading") as step:
        for number, clip in enumerate(clips_for(source, skeleton, trained.skeleton), 1):
            yield clip
            step(number)


def _labels(clips: list[Clip], vocabulary: Store | Trained) -> tuple[Labels, str]:
    """The classes of clips in a vocabulary, and in words whose it is; without one in that of the names that are found."""
    told = [(clip.label, clip.label_name) for clip in clips]
    if isinstance(vocabulary, Store):
        return labels_of(told, vocabulary.classes), f"the classes of {vocabulary.folder}"
    classes = vocabulary.classes
    if classes is not None:
        return labels_of(told, classes), f"the classes that {vocabulary.folder} was trained on"
    found = labels_of(told, None)
    return found, "the classes found here; name a store with --data for numbers that other files share"
