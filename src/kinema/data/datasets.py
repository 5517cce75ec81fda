"""The public data sets: what they are called, where they come from, which clips count and how they are split.

Nothing here downloads: each owner has its own terms. Splits are rules on what a clip says about itself, so they hold for any copy
of the data; the counts that the protocols' papers give are checked by `splits.check`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ..errors import unknown
from ..motion.formats import msr_action3d, ntu, nw_ucla, sbu, utd_mhad, utkinect

if TYPE_CHECKING:
    from .store import Entry


@dataclass(frozen=True)
class SplitRule:
    """Which clips train and which test, by one fact about each.

    Attributes:
        by: ``subject``, ``view`` or a key of `meta`.
        train: values that train; None: all that do not test.
        test: values that test; None: all that do not train.
        labels: only clips of these classes take part; None: all.
        counts: (train, test) clips when the whole data set is there, or None where no source gives them.
    """

    by: str
    train: frozenset[str] | None = None
    test: frozenset[str] | None = None
    labels: frozenset[int] | None = None
    counts: tuple[int, int] | None = None

    def side(self, entry: Entry) -> str | None:
        """``train``, ``test``, or None for a clip that takes no part."""
        if self.labels is not None and entry.label not in self.labels:
            return None
        value = fact(entry, self.by)
        if value is None:
            return None
        if self.train is not None and value in self.train:
            return "train"
        if self.test is not None:
            return "test" if value in self.test else "train" if self.train is None else None
        return "test"


@dataclass(frozen=True)
class Dataset:
    """A data set with a published protocol.

    Attributes:
        name: on the command line. title: as published. format: name in `motion.formats.FORMATS`.
        classes: names by label. skeleton: name in `motion.skeletons.SKELETONS`.
        splits: name -> rule. source: where it is asked for. licence: what its owner allows.
        clips: how many the whole set has, or None where no source gives it.
        keep: whether a file belongs, by its name in the source.
    """

    name: str
    title: str
    format: str
    classes: tuple[str, ...]
    skeleton: str
    splits: dict[str, SplitRule] = field(hash=False)
    source: str
    licence: str
    clips: int | None = None
    keep: Callable[[str], bool] = lambda name: True


def fact(entry: Entry, name: str) -> str | None:
    """A fact about a clip as a string: ``subject``, ``view`` or a key of its `meta`; None if it is not known."""
    value = getattr(entry, name) if name in ("subject", "view") else entry.meta.get(name)
    return None if value is None else str(value)


def dataset(name: str) -> Dataset:
    """A data set by name.

    Raises:
        UserError: there is none, with the closest names.
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    return DATASETS[name]


def _values(numbers: tuple[int, ...] | range) -> frozenset[str]:
    return frozenset(str(n) for n in numbers)


def _keep_ntu(actions: int, setups: int, missing: frozenset[str]) -> Callable[[str], bool]:
    """The named samples of a release, without those that its authors list as missing or incomplete."""

    def keep(name: str) -> bool:
        stem = PurePosixPath(name).name
        parts = ntu.parse_name(stem)
        return parts is not None and parts.action <= actions and parts.setup <= setups and stem not in missing

    return keep


def _keep_msr(name: str) -> bool:
    return PurePosixPath(name).name not in msr_action3d.EXCLUDED


def _odd_subjects(counts: tuple[int, int], actions: tuple[int, ...] | None = None) -> SplitRule:
    labels = None if actions is None else frozenset(a - 1 for a in actions)
    return SplitRule("subject", _values(range(1, 11, 2)), _values(range(2, 11, 2)), labels, counts)


_SBU_FOLDS = (
    ("s01s02 s03s04 s05s02 s06s04", (227, 55)),
    ("s02s03 s02s07 s03s05 s05s03", (230, 52)),
    ("s01s03 s01s07 s07s01 s07s03", (226, 56)),
    ("s02s01 s02s06 s03s02 s03s06", (228, 54)),
    ("s04s02 s04s03 s04s06 s06s02 s06s03", (217, 65)),
)
"""Pairs of people that test in each of the five published folds, and the clips that follow."""

_PKU_CLASSES = tuple(
    """bow; brushing hair; brushing teeth; check time (from watch); cheer up; clapping; cross hands in front (say stop); drink water; drop;
    eat meal/snack; falling; giving something to other person; hand waving; handshaking; hopping (one foot jumping); hugging other person;
    jump up; kicking other person; kicking something; make a phone call/answer phone; pat on back of other person; pickup;
    playing with phone/tablet; point finger at the other person; pointing to something with finger; punching/slapping other person;
    pushing other person; put on a hat/cap; put something inside pocket; reading; rub two hands together; salute; sitting down;
    standing up; take off a hat/cap; take off glasses; take off jacket; take out something from pocket; taking a selfie; tear up paper;
    throw; touch back (backache); touch chest (stomachache/heart pain); touch head (headache); touch neck (neckache);
    typing on a keyboard; use a fan (with hand or paper)/feeling warm; wear jacket; wear on glasses; wipe face; writing""".replace(
        "\n", " "
    ).split(";")
)
