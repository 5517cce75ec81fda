"""The motions of a store that are most like a given one, by a trained encoder.

Likeness is the cosine similarity of features that are standardised by the clips searched, as the 1-NN protocol has it. An encoder that
sees a motion in several streams (joints, their motion, bones) is asked in each, and the similarities are averaged.

The features of a store are kept in the folder ``retrieval`` of the run, so that only the first question costs their computation. A kept
file answers for exactly one store, one set of weights and one way of preparing clips; any other is computed anew.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import torch

from .. import __version__
from ..data.batches import ResidentClips
from ..data.prepared import PreparedClips
from ..data.store import Store
from ..errors import UserError, unknown
from ..files import atomic_file
from ..motion.clip import Clip
from ..training.precision import for_inference
from ..training.progress import counting
from ..words import plural
from . import protocols
from .encoder import Encoder
from .recipes import to_json
from .run import Trained, check_clip, check_fits, prepared_query

FOLDER = "retrieval"
SEAL = "key:sha256"
"""What a kept file says of itself: what it was made of, and the digest of its numbers. One entry: several are written in any order."""
MAX_KEPT = 4 * 2**30
"""Bytes of the largest kept file that is read."""
ALL = "all"
"""The name of all streams together."""
SOME = 4096
"""Clips of which a frame is compared at a time."""


@dataclass(frozen=True)
class Neighbour:
    """A clip of the store that is like the query.

    Attributes:
        row: its place in the store. id: its name there. similarity: cosine, -1 to 1.
        label: class index, or None. class_name: of that class, or None. source: the file it was read from.
    """

    row: int
    id: str
    similarity: float
    label: int | None
    class_name: str | None
    source: str

    def to_json(self) -> dict[str, Any]:
        """JSON-safe."""
        return asdict(self)


def silent(text: str) -> None:
    """Says nothing."""


def retrieve(
    trained: Trained,
    query: Clip,
    store: Store,
    *,
    top: int = 5,
    stream: str | None = None,
    device: str = "cpu",
    rows: np.ndarray | None = None,
    own: Sequence[int] | None = None,
    say: Callable[[str], None] = silent,
    quiet: bool = True,
) -> list[Neighbour]:
    """The clips of a store most like `query`, the most similar first (equal ones: the earlier row first).

    A query that is a clip of the store (see `same`) is not among its own neighbours.

    Args:
        trained: whose encoder compares. query: as it was read. store: what is searched.
        top: how many; all that there are, if they are fewer.
        stream: one of the encoder's streams, ``all`` for their mean; None: all that it has. An encoder without streams takes only None.
        device: of the network. rows: which clips of the store are searched, row numbers from 0; default all.
        own: rows that are the query itself, where they are known; default: `same` finds them.
        say: told in one line what takes long or went wrong without harm. quiet: show no progress.

    Raises:
        UserError: another skeleton, nobody in the query, an unknown stream, nothing to compare with, or features that are not finite.
    """
    if top < 1:
        raise UserError(f"top {top}: expected 1 or more")
    check_fits(trained, store)
    check_clip(trained, query)
    prepared = prepared_query(trained, query)
    searched = np.arange(len(store)) if rows is None else np.asarray(rows, np.int64)
    own = same(query, store) if own is None else own
    others = searched[~np.isin(searched, own)]
    if not len(others):
        raise UserError(f"{store.folder}: holds no other clip to compare with; use a larger store")
    encoder = trained.encoder().to(device)
    names = streams(trained, encoder, stream)
    total = np.zeros(len(others))

    @functools.cache
    def clips() -> ResidentClips:
        """What all streams share."""
        with counting(len(store), "clip", "preparing", shown=not quiet) as step:
            return protocols.resident(encoder, PreparedClips(store, trained.recipe.prepare, told=step), trained.recipe.crop)

    for name in names:
        part = encoder if name is None else encoder.stream(name)
        table = store_features(trained, encoder, part, name, store, say, quiet, clips)
        # a clip of the store is compared by the features it has there: random crops are drawn by row
        wanted = table[own[0]] if own else trained.features(part, [prepared])[0]
        mean, spread = table[searched].mean(0), table[searched].std(0) + 1e-6
        total += cosine((wanted - mean) / spread, (table[others] - mean) / spread)
    similarity = total / len(names)
    best = np.argsort(-similarity, kind="stable")[:top]
    return [_neighbour(store, int(others[i]), float(similarity[i])) for i in best]


NEAR = 5e-4
"""Positions that differ by at most this share of how large a body is are the same, written with fewer digits: half a millimetre of a metre.
Two takes of one motion, by whatever sensor, differ by more in some joint at some moment."""


def same(query: Clip, store: Store) -> list[int]:
    """Rows of the store whose positions are those of the query, up to `NEAR` everywhere: they may have been text in between.

    Names and rates say nothing: a copy may have others.
    """
    shape = query.frames, query.people
    rows = np.array([i for i, entry in enumerate(store.entries) if (entry.frames, entry.people) == shape], np.int64)
    if not len(rows) or store.clip(int(rows[0])).positions.shape[2:] != query.positions.shape[2:]:
        return []
    near = NEAR * body_size(query)
    # one frame of all clips at once leaves few to read whole; the middle one, for many motions begin in one pose
    frame = query.frames // 2
    close = [
        np.abs(store.frames(some, frame) - query.positions[frame]).max((1, 2, 3)) <= near
        for some in np.split(rows, range(SOME, len(rows), SOME))
    ]
    rows = rows[np.concatenate(close)]
    return [int(i) for i in rows if np.abs(store.clip(int(i)).positions - query.positions).max() <= near]


def body_size(clip: Clip) -> float:
    """How far the joints of one person lie apart along some axis at a time: the median over frames and people; 0 where nobody is."""
    there = (clip.positions != 0).any(-1)  # (T, M, J)
    seen = there.any(2)
    if not seen.any():
        return 0.0
    positions, there = clip.positions[seen], there[seen][..., None]
    low, high = np.where(there, positions, np.inf).min(1), np.where(there, positions, -np.inf).max(1)
    return float(np.median((high - low).max(1)))


def streams(trained: Trained, encoder: Encoder, wanted: str | None) -> tuple[str | None, ...]:
    """The streams to ask; (None,) is an encoder that has no more than itself.

    Raises:
        UserError: one that it has not.
    """
    known = encoder.streams
    if not known:
        if wanted is not None:
            raise UserError(
                f"stream {wanted!r}: {trained.folder} ({trained.recipe.method}) has no streams to choose from; leave it out"
            )
        return (None,)
    if wanted in (None, ALL):
        return tuple(known)
    if wanted not in known:
        raise unknown(f"stream of {trained.folder} ({trained.recipe.method})", wanted, (*known, ALL))
    return (wanted,)


def cosine(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """`(D,)`, `(G, D)` -> `(G,)` cosine similarities; a vector without length is like nothing."""
    lengths = np.linalg.norm(gallery, axis=1) * np.linalg.norm(query)
    return gallery @ query / np.maximum(lengths, 1e-12)


def _neighbour(store: Store, row: int, similarity: float) -> Neighbour:
    entry, clip = store.entries[row], store.clip(row)
    return Neighbour(row, entry.id, similarity, clip.label, clip.label_name, entry.source)


def store_features(
    trained: Trained,
    whole: Encoder,
    part: Encoder,
    name: str | None,
    store: Store,
    say: Callable[[str], None] = silent,
    quiet: bool = True,
    clips: Callable[[], Sequence[Clip] | ResidentClips] | None = None,
) -> np.ndarray:
    """Features `(N, D)` float32 of all clips of a store, kept in the run folder or computed and kept there.

    Args:
        trained: the run. whole: its network with the weights that count. part: the stream of it to ask, called `name`.
        store: the clips. say: told when they are computed, and why if they were kept. quiet: show no progress.
        clips: gives all clips as the network sees them, asked for only if they are needed; default: prepared here.

    Raises:
        UserError: a clip that cannot be prepared, or features that are not finite.
    """
    path = trained.folder / FOLDER / f"{_short(store.checksum)}-{name or 'encoder'}.safetensors"
    key = _key(trained, whole, name, store)
    if path.exists():
        try:
            return read_kept(path, key, len(store))
        except ValueError as error:
            say(f"{path}: {error}; computed again")
    say(f"computing features of {plural(len(store), 'clip')}" + (f" ({name})" if name else ""))
    doing = "features" if name is None else f"features ({name})"
    prepared = PreparedClips(store, trained.recipe.prepare) if clips is None else clips()
    table = trained.features(part, prepared, doing=doing, quiet=quiet)
    try:
        with atomic_file(path) as temporary:
            safetensors.numpy.save_file({"features": table}, temporary, {SEAL: f"{key}:{_sha256(table)}"})
    except UserError as error:
        # the answer is here all the same, it only costs as much the next time
        reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
        say(f"{path.parent}: cannot be written ({reason}), so the features are not kept for the next time")
    return table


def read_kept(path: Path, key: str, clips: int) -> np.ndarray:
    """Features `(clips, D)` float32 that were kept under a key.

    Raises:
        ValueError: a damaged file, or one of other weights, says which.
    """
    if not path.is_file() or path.stat().st_size > MAX_KEPT:
        raise ValueError("damaged")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            seal, shape = (file.metadata() or {}).get(SEAL, ""), file.get_slice("features").get_shape()
            table = file.get_tensor("features") if len(shape) == 2 and shape[0] == clips else np.zeros(0)
    except Exception as error:  # of many kinds: of the format, of NumPy, of a type that NumPy does not have
        raise ValueError("damaged") from error
    of, _, digest = seal.partition(":")
    if of != key:
        raise ValueError("features of other weights, of another way to compute them, or of another store")
    if digest != _sha256(table) or table.dtype != np.float32 or table.ndim != 2 or len(table) != clips:
        raise ValueError("damaged")
    return table


def _key(trained: Trained, encoder: Encoder, name: str | None, store: Store) -> str:
    """What the features of a store depend on. Weights count, not the step they are of: a run may be made again in the same folder."""
    facts = {
        "kinema": __version__,
        "torch": torch.__version__,
        "device": next(encoder.parameters()).device.type,
        "weights": protocols.weights_digest(encoder),
        "recipe": to_json(trained.recipe),
        "precision": for_inference(trained.recipe.precision, next(encoder.parameters()).device),
        "stream": name,
        "store": store.checksum,
        "clips": len(store),
    }
    return _short(json.dumps(facts, sort_keys=True))


def _short(text: str) -> str:
    """A name for a text that came from a file, safe as the name of another."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _sha256(table: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(table).tobytes()).hexdigest()
