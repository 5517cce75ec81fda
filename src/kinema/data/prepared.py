"""Clips of a store as a method sees them: prepared one by one when asked for, so that memory holds them once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

import numpy as np

from ..errors import UserError
from ..motion.clip import Clip
from .store import Store


class PreparedClips(Sequence[Clip]):
    """Rows of a store after `prepare`. Nothing is kept: go through it once, or make a list of it.

    Args:
        store: where the clips are. rows: which of them, in which order; default all.
        prepare: what happens to each. told: called with how many have been asked for, going through them in order.
    """

    def __init__(
        self,
        store: Store,
        prepare: Callable[[Clip], Clip],
        rows: np.ndarray | None = None,
        told: Callable[[int], None] = lambda done: None,
    ):
        self.store, self.prepare, self.told = store, prepare, told
        self.rows = np.arange(len(store)) if rows is None else np.asarray(rows, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, i: int) -> Clip: ...
    @overload
    def __getitem__(self, i: slice) -> PreparedClips: ...
    def __getitem__(self, i: int | slice) -> Clip | PreparedClips:
        if isinstance(i, slice):
            return PreparedClips(self.store, self.prepare, self.rows[i])
        row = int(self.rows[i])
        clip = self.store.clip(row)
        try:
            prepared = self.prepare(clip)
        except UserError as error:
            problem = str(error).removeprefix(f"{clip.source}: ")  # the id says where it is
            raise UserError(f"{self.store.entries[row].id}: {problem}") from error
        self.told(i + 1)
        return prepared
