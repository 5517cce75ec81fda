"""What every world of the stage does with its splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from ...errors import unknown

Draw = TypeVar("Draw")


def parts(
    name: str, splits: Mapping[str, Callable[[Draw], bool]], draw: Callable[[int], Draw], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """(train, test) indices of a split of the first `size` clips, ascending, int64, read-only; `splits` tell which clips test.

    Raises:
        UserError: no split of this name.
    """
    if name not in splits:
        raise unknown("split", name, splits)
    test = np.array([splits[name](draw(i)) for i in range(size)])
    found = np.flatnonzero(~test), np.flatnonzero(test)
    for part in found:
        part.flags.writeable = False
    return found


def sides(drawn: Draw, splits: Mapping[str, Callable[[Draw], bool]]) -> list[str]:
    """``NAME_train`` or ``NAME_test`` of each split, for one clip's draw: what a store keeps."""
    return [f"{name}_{'test' if tests(drawn) else 'train'}" for name, tests in splits.items()]
