"""What the command line and the studio do with a trained encoder: features of files, and pictures of what it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.batches import ResidentClips
from ..errors import UserError
from ..files import atomic_file
from ..motion.clip import Clip
from ..training.method import generator
from ..training.progress import counting
from . import protocols
from .mamp import MAMP
from .run import Trained, check_clip, prepared_query
from .vocabulary import Labels


def embed(
    trained: Trained,
    clips: Sequence[Clip],
    *,
    device: str = "cpu",
    pooling: protocols.Pooling | None = None,
    quiet: bool = True,
) -> np.ndarray:
    """Features `(N, D)` float32 of clips as they were read; progress is shown unless `quiet`.

    Raises:
        UserError: a clip with another skeleton or other coordinates than the run's, or with nobody in it.
    """
    if not clips:
        raise UserError("no clips to embed")
    for clip in clips:
        check_clip(trained, clip)
    prepared = []
    with counting(len(clips), "clip", "preparing", shown=not quiet) as step:
        for clip in clips:
            prepared.append(prepared_query(trained, clip))
            step(len(prepared))
    return trained.features(trained.encoder().to(device), prepared, pooling=pooling, quiet=quiet)


def save_features(path: Path, features: np.ndarray, names: Sequence[str], labels: Labels) -> None:
    """Writes a pickle-free `.npz`, atomically.

    `features` `(N, D)`, `names` `(N,)` of the clips, `labels` `(N,)` int64 places in `classes` `(K,)` (-1 unknown), `label_names` `(N,)`.
    """
    words = {"names": names, "label_names": labels.names, "classes": labels.classes}
    arrays: dict[str, Any] = {key: np.array(list(value), dtype=np.str_) for key, value in words.items()}
    with atomic_file(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, features=features, labels=labels.numbers, **arrays)


@dataclass(frozen=True)
class Picture:
    """One clip as the model saw it.

    Attributes:
        original, reconstruction: `(T, M, J, C)`. hidden: `(T, M, J)` bool. fps: frames per second after resizing.
        source: the clip.
    """

    original: np.ndarray
    reconstruction: np.ndarray
    hidden: np.ndarray
    fps: float
    source: str


def picture(trained: Trained, clip: Clip, *, prepared: bool = False) -> Picture:
    """What the pre-training model fills in for one clip.

    Raises:
        UserError: the run's method predicts no motion.
    """
    ready = clip if prepared else trained.recipe.prepare(clip)
    model = trained.encoder()
    if not isinstance(model, MAMP) or model.size.modality != "joint":
        raise UserError(f"{trained.folder}: this run reconstructs no joints, so there is nothing to draw")
    source = ResidentClips([ready], frames=model.frames, people=ready.people, batch_size=1, crop=trained.recipe.crop, shuffle=False)
    batch = next(iter(source.ordered(1)))
    x = model.see(batch.positions)
    t, j = model.size.grid
    filled, hidden = model.reconstruct(x, torch.rand((len(x), t * j), generator=generator("picture")))
    present = batch.present[0].numpy()
    kept = np.flatnonzero(present)
    fps = clip.fps * model.frames / max(ready.frames, 1)
    arrays = (v.transpose(0, 1).numpy()[:, kept] for v in (x, filled, hidden))
    return Picture(*arrays, fps=fps, source=clip.source)
