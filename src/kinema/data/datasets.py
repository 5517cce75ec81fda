"""The public data sets: what they are called, where they come from, which clips count and how they are split.

Nothing here downloads: each owner has its own terms. Splits are rules on what a clip says about itself, so they hold for any copy
of the data; the counts that the protocols' papers give are checked by `splits.check`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from ..errors import unknown
from ..motion.formats import fingerspelling, msr_action3d, ntu, nw_ucla, pku, sbu, utd_mhad, utkinect
from .store import Entry


@dataclass(frozen=True)
class SplitRule:
    """Which clips train and which test, by one fact about each.

    Attributes:
        by: ``subject``, ``view`` or a key of `meta`.
        train: values that train; None: all that do not test.
        test: values that test; None: all that do not train.
        labels: only clips of these classes take part; None: all.
        validation: values of the training clips that validate; None: no such part is published, and `splits` carves one.
        counts: clips when the whole data set is there, (train, test), or with `validation` (the other train, validation, test);
            None where no source gives them.
    """

    by: str
    train: frozenset[str] | None = None
    test: frozenset[str] | None = None
    labels: frozenset[int] | None = None
    counts: tuple[int, ...] | None = None
    validation: frozenset[str] | None = None

    def side(self, entry: Entry) -> str | None:
        """``train``, ``validation``, ``test``, or None for a clip that takes no part."""
        if self.labels is not None and entry.label not in self.labels:
            return None
        value = fact(entry, self.by)
        if value is None:
            return None
        if self.validation is not None and value in self.validation:
            return "validation"
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
        classes: names by label; empty: the list that lies with the data tells them.
        skeleton: name in `motion.skeletons.SKELETONS`; None: whichever the files have.
        splits: name -> rule. source: where it is asked for. licence: what its owner allows.
        clips: how many the whole set has, or None where no source gives it.
        keep: whether a file belongs, by its name in the source.
    """

    name: str
    title: str
    format: str
    classes: tuple[str, ...]
    skeleton: str | None
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

_FINGERSPELLING_TEST = (101, 104, 104, 101)
"""Clips of the languages that test in each of the four folds, of 410."""


def _languages(fold: int) -> frozenset[str]:
    """The languages that test in a fold: every fourth of the sorted ones."""
    return frozenset(fingerspelling.LANGUAGES[fold :: fingerspelling.FOLDS])


def _keep_letter(name: str) -> bool:
    return fingerspelling.letter_of(name) in fingerspelling.CLASSES


_SEQUENCES = [f"s{subject:02}_e{episode:02}" for subject in range(1, 11) for episode in (1, 2)]
_UTKINECT = {"s10_e02": (190, 9)}

_NTU_SOURCE = "ROSE Lab, Nanyang Technological University: on request, the archives of skeletons"
_NTU_LICENCE = "academic research only, on the terms of the ROSE Lab, NTU Singapore; no redistribution"
# true or false for each clip, as the split files beside the data say
_PKU_SPLITS = {name: SplitRule(f"train_cross_{by}", frozenset({"True"})) for name, by in (("xsub", "subject"), ("xview", "view"))}
_RESEARCH = "research use; cite the authors, no redistribution"


def _pku(phase: int) -> Dataset:
    return Dataset(
        name=f"pku-mmd-{phase}",
        title=f"PKU-MMD, phase {phase}",
        format="pku",
        classes=pku.CLASSES,
        skeleton="ntu25",
        splits=_PKU_SPLITS,
        source="STRUCT group, Peking University: skeletons, labels and split files",
        licence="academic research only, on the terms of STRUCT, Peking University",
    )


_OFFICIAL = SplitRule("split", frozenset({"train"}), frozenset({"test"}), validation=frozenset({"validation"}))


def _wlasl(classes: int, counts: tuple[int, int, int] | None) -> Dataset:
    return Dataset(
        name=f"wlasl{classes}",
        title=f"WLASL{classes}, word-level American Sign Language",
        format=f"wlasl{classes}",
        classes=(),
        skeleton=None,
        splits={"official": replace(_OFFICIAL, counts=counts)},
        source=f"its authors (Li et al., WACV 2020): nslt_{classes}.json; poses from a pose estimator of yours",
        licence="C-UDA, academic use only",
        clips=None if counts is None else sum(counts),
    )


def _msasl(classes: int) -> Dataset:
    return Dataset(
        name=f"msasl{classes}",
        title=f"MS-ASL{classes}, American Sign Language",
        format=f"msasl{classes}",
        classes=(),
        skeleton=None,
        splits={"official": _OFFICIAL},
        source="its authors (Microsoft): MSASL_train.json, _val, _test; poses from a pose estimator of yours",
        licence="its owner's terms",
    )


def _sign_table(name: str, title: str) -> Dataset:
    return Dataset(
        name=name,
        title=title,
        format=name,
        classes=(),
        skeleton=None,
        splits={"given": _OFFICIAL},
        source="its authors; poses from a pose estimator of yours, with a list.csv of yours",
        licence="its owner's terms",
    )


DATASETS: dict[str, Dataset] = {
    d.name: d
    for d in (
        Dataset(
            name="ntu60",
            title="NTU RGB+D",
            format="ntu",
            classes=ntu.CLASSES_60,
            skeleton="ntu25",
            splits={
                "xsub": SplitRule("performer", _values(ntu.NTU60_TRAIN_SUBJECTS), counts=(40_091, 16_487)),
                "xview": SplitRule("camera", _values(ntu.NTU60_TRAIN_CAMERAS), counts=(37_646, 18_932)),
            },
            source=_NTU_SOURCE,
            licence=_NTU_LICENCE,
            clips=56_578,
            keep=_keep_ntu(60, 17, ntu.MISSING_60),
        ),
        Dataset(
            name="ntu120",
            title="NTU RGB+D 120",
            format="ntu",
            classes=ntu.CLASSES_120,
            skeleton="ntu25",
            splits={
                "xsub": SplitRule("performer", _values(ntu.NTU120_TRAIN_SUBJECTS), counts=(63_026, 50_919)),
                "xset": SplitRule("setup", _values(ntu.NTU120_TRAIN_SETUPS), counts=(54_468, 59_477)),
            },
            source=_NTU_SOURCE,
            licence=_NTU_LICENCE,
            clips=113_945,
            keep=_keep_ntu(120, 32, ntu.MISSING_120),
        ),
        _pku(1),
        _pku(2),
        Dataset(
            name="nw-ucla",
            title="Northwestern-UCLA Multiview Action 3D",
            format="nw-ucla",
            classes=nw_ucla.CLASSES,
            skeleton="kinect20",
            splits={"view": SplitRule("view", _values((1, 2)), _values((3,)), counts=(1_020, 464))},
            source="its authors (Wang et al., CVPR 2014): the multiview skeletons as JSON",
            licence=_RESEARCH,
            clips=1_484,
        ),
        Dataset(
            name="utd-mhad",
            title="UTD Multimodal Human Action Dataset",
            format="utd-mhad",
            classes=utd_mhad.CLASSES,
            skeleton="kinect20",
            splits={"subject": _odd_subjects((431, 430))},
            source="University of Texas at Dallas: the archive of skeletons",
            licence=_RESEARCH,
            clips=861,
        ),
        Dataset(
            name="msr-action3d",
            title="MSR-Action3D",
            format="msr-action3d",
            classes=msr_action3d.CLASSES,
            skeleton="msr20",
            splits={
                "subject": _odd_subjects((284, 273)),
                "as1": _odd_subjects((114, 105), (2, 3, 5, 6, 10, 13, 18, 20)),
                "as2": _odd_subjects((116, 112), (1, 4, 7, 8, 9, 11, 12, 14)),
                "as3": _odd_subjects((111, 111), (6, 14, 15, 16, 17, 18, 19, 20)),
            },
            source="its authors (Li et al., 2010): skeletons in real-world coordinates",
            licence=_RESEARCH,
            clips=557,
            keep=_keep_msr,
        ),
        Dataset(
            name="utkinect",
            title="UTKinect-Action3D",
            format="utkinect",
            classes=utkinect.CLASSES,
            skeleton="kinect20",
            # s10_e02 has one labelled action less
            splits={s: SplitRule("recording", test=frozenset({s}), counts=_UTKINECT.get(s, (189, 10))) for s in _SEQUENCES},
            source="its authors (Xia et al., HOJ3D): joints and action labels",
            licence=_RESEARCH,
            clips=199,
        ),
        Dataset(
            name="sbu",
            title="SBU Kinect Interaction",
            format="sbu",
            classes=sbu.CLASSES,
            skeleton="sbu15",
            splits={
                f"fold{i}": SplitRule("pair", test=frozenset(pairs.split()), counts=counts)
                for i, (pairs, counts) in enumerate(_SBU_FOLDS, 1)
            },
            source="its authors (Yun et al.), Stony Brook University: the clean version",
            licence=_RESEARCH,
            clips=282,
        ),
        Dataset(
            name="fingerspelling",
            title="Fingerspelling lexicon, letters A to Z in 16 sign languages",
            format="fingerspelling",
            classes=fingerspelling.CLASSES,
            skeleton="sign49",
            splits={
                f"fold{i}": SplitRule("language", test=_languages(i), counts=(410 - test, test))
                for i, test in enumerate(_FINGERSPELLING_TEST)
            },
            source="the fingerspelling lexicon of spoken-to-signed-translation, hands and arms of its poses in one .npz",
            licence="none stated for the recordings: for tests of one's own, no redistribution",
            clips=410,
            keep=_keep_letter,
        ),
        _wlasl(100, (1_442, 338, 258)),
        _wlasl(300, (3_549, 901, 668)),
        _wlasl(1000, None),
        _wlasl(2000, (14_296, 3_920, 2_879)),
        *(_msasl(classes) for classes in (100, 200, 500, 1000)),
        _sign_table("nmfs-csl", "NMFs-CSL, Chinese Sign Language"),
        _sign_table("slr500", "SLR500, Chinese Sign Language"),
    )
}
"""Every data set by name."""
