"""Numbers of classes that mean the same wherever they stand: given by one list of names, never by which files happened to be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..motion.names import one_form
from ..words import plural

SHOWN = 5
"""Names that a remark lists."""


@dataclass(frozen=True)
class Labels:
    """Classes of clips by number and by name.

    Attributes:
        numbers: `(N,)` int64 places in `classes`, -1 where the class is unknown or not among them.
        names: of each clip's class, as `classes` spells it; of one that is not among them as the clip does; empty where unknown.
        classes: names by number. remarks: what the numbers do not say, a line each.
    """

    numbers: np.ndarray
    names: tuple[str, ...]
    classes: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def labels_of(told: Sequence[tuple[int | None, str | None]], classes: Sequence[str] | None) -> Labels:
    """Classes of clips, which say a number, a name, both or neither, in one vocabulary.

    A name decides. A number without a name is one of the data set itself, as some formats have it, and is taken as it is.

    Args:
        told: label and label_name of each clip. classes: the vocabulary; None: the names that are found, sorted.
    """
    remarks: list[str] = []
    if classes is None:
        classes = sorted({one_form(name) for _, name in told if name is not None})
    place = {one_form(name): number for number, name in reversed(list(enumerate(classes)))}
    numbers, names, strange, bare = [], [], dict[str, None](), 0
    for label, name in told:
        number, spelled = -1, name or ""
        if name is not None:
            number = place.get(one_form(name), -1)
            if number < 0:
                strange[name] = None
        elif label is not None and (label < len(classes) or not classes):
            number, bare = label, bare + 1
        numbers.append(number)
        names.append(classes[number] if 0 <= number < len(classes) else spelled)
    if strange:
        few = ", ".join(list(strange)[:SHOWN]) + (f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else "")
        remarks.append(f"not among the classes, so without a number: {few}")
    if bare:
        remarks.append(f"a number and no name of a class, which is taken as it is: {plural(bare, 'clip')}")
    return Labels(np.array(numbers, np.int64), tuple(names), tuple(classes), tuple(remarks))
