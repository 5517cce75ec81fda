"""Whole-body arrays and pickles, OpenHands pickles, and the lexicon of signed letters."""

from __future__ import annotations

import os
import pickle
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import sign_writers as writers

from kinema.data.build import build
from kinema.data.datasets import DATASETS
from kinema.data.splits import check, split
from kinema.data.store import Entry, Store
from kinema.errors import FormatError
from kinema.motion.formats import FORMATS, fingerspelling, guess, openhands, read_file, wholebody
from kinema.motion.formats.jobs import Skipped
from kinema.motion.keypoints import HOLISTIC75, SIGN49, WHOLEBODY133

DATA = Path(os.environ.get("KINEMA_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
LEXICON = DATA / "fingerspelling_lexicon.npz"


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pkl"])
def test_whole_bodies(tmp_path: Path, suffix: str):
    file, points = writers.wholebody(tmp_path, suffix)
    assert guess(file) == guess(tmp_path) == "wholebody"
    (clip,) = read_file(file)
    assert (clip.skeleton, clip.units, clip.image_size) == (WHOLEBODY133, "pixels", None)
    np.testing.assert_array_equal(clip.positions[:, 0], points[..., :2])
    np.testing.assert_array_equal(clip.confidence[:, 0], points[..., 2])


def test_whole_bodies_of_several_people_with_an_image(tmp_path: Path):
    points = np.random.default_rng(0).uniform(0.2, 1, (3, 2, 133, 3)) * [300, 300, 1]
    points[1, 1, :, 2] = 0
    file, _ = writers.wholebody(tmp_path, keypoints=points, img_list=["a", "b", "c"], image_size=(640, 480))
    (clip,) = read_file(file)
    assert clip.image_size == (640, 480)
    np.testing.assert_array_equal(clip.present(), [[1, 1], [1, 0], [1, 1]])


def test_a_build_of_pickles(tmp_path: Path):
    (tmp_path / "poses").mkdir()
    file, _ = writers.wholebody(tmp_path / "poses")
    file.with_name("broken.pkl").write_bytes(file.read_bytes()[:-9])
    summary = build(tmp_path / "poses", tmp_path / "store", format="wholebody", workers=1)
    assert (summary.clips, len(summary.skipped)) == (1, 1)
    assert Store.open(tmp_path / "store").skeleton == WHOLEBODY133


@pytest.mark.parametrize("coordinates", [2, 3])
def test_openhands(tmp_path: Path, coordinates: int):
    file, points = writers.openhands(tmp_path, coordinates=coordinates)
    assert guess(file) == "openhands"
    (clip,) = read_file(file)
    assert (clip.skeleton, clip.units, clip.positions.shape) == (HOLISTIC75, "normalised", (4, 1, 75, 2))
    np.testing.assert_allclose(clip.positions[:, 0], points[..., :2], rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"keypoints": np.ones((2, 75, 3))}, "confidences is no array"),
        ({"keypoints": np.ones((2, 74, 3)), "confidences": np.ones((2, 74))}, "expected (frames, 75, 2 or 3)"),
        ({"keypoints": np.ones((2, 75, 3)), "confidences": np.ones((3, 75))}, "confidences (3, 75); expected (2, 75)"),
        ({"keypoints": np.ones((0, 75, 3)), "confidences": np.ones((0, 75))}, "0 frames"),
        ({"keypoints": np.full((2, 75, 3), np.nan), "confidences": np.ones((2, 75))}, "NaN or infinity in frame 0"),
        ({"keypoints": np.ones((2, 75, 3)), "confidences": np.full((2, 75), np.inf)}, "NaN or infinity in frame 0"),
        ([1], "keypoints is no array"),
        ({"keypoints": Path}, "pickle refused"),
    ],
)
def test_bad_openhands(tmp_path: Path, content: object, message: str):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    (job,) = openhands.jobs(tmp_path)
    with pytest.raises(FormatError) as error:
        openhands.read(job)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"img_list": []}, "no keypoints in it"),
        ([2], "no keypoints in it"),
        ({"keypoints": [[1]]}, "keypoints are list"),
        ({"keypoints": np.ones((2, 17, 3))}, "float64 (2, 17, 3); expected numbers (frames, 133, 3)"),
        ({"keypoints": np.ones((2, 133, 3)), "img_list": ["a"]}, "img_list names 1 frame, keypoints have 2"),
        ({"keypoints": np.ones((2, 133, 3)), "img_list": ["a", "b"], "image_size": (0, 3)}, "image_size is not two whole numbers"),
        ({"keypoints": np.ones((2, 133, 3)), "image_size": "ab"}, "image_size is not two whole numbers"),
        ({"keypoints": np.ones((2, 65, 133, 3))}, "65 people; expected 1 to 64"),
        ({"keypoints": print}, "pickle refused"),
    ],
)
def test_bad_whole_bodies(tmp_path: Path, content: object, message: str):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    (job,) = wholebody.jobs(tmp_path)
    with pytest.raises(FormatError) as error:
        wholebody.read(job)
    assert message in str(error.value)


def test_other_pickles_and_arrays_stay_what_they_were(tmp_path: Path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"annotations": [], "split": {}}))
    np.savez(tmp_path / "b.npz", positions=np.ones(3))
    assert (guess(tmp_path / "a.pkl"), guess(tmp_path / "b.npz")) == ("pyskl", "npz")
    (tmp_path / "c.pkl").write_bytes(b"keypoints, but no pickle")
    assert guess(tmp_path / "c.pkl") == "pyskl"
    np.save(tmp_path / "d.npy", np.ones((4, 17, 3)))
    with pytest.raises(Exception, match="no known format"):
        guess(tmp_path / "d.npy")


def test_lexicon(tmp_path: Path):
    file = writers.fingerspelling(tmp_path)
    assert guess(file) == "fingerspelling"
    first, second, third = read_file(file)
    assert [c.frames for c in (first, second, third)] == [2, 3, 1]
    assert [(c.label, c.label_name, c.subject, c.meta["language"]) for c in (first, second)] == [
        (0, "A", "ase", "ase"),
        (None, "CH", "ssp", "ssp"),
    ]
    assert (second.skeleton, second.fps, second.image_size, second.units) == (SIGN49, 30, (500, 500), "pixels")
    assert not second.confidence[..., :21].any()
    assert [j.name for j in fingerspelling.jobs(file)] == ["A/ase/x", "CH/ssp/y", "B/gsg/z"]
    summary = build(file, tmp_path / "store", dataset="fingerspelling", workers=1)
    assert (summary.clips, summary.left_out) == (2, 1)
    assert [e.label for e in Store.open(tmp_path / "store").entries] == [0, 1]


@pytest.mark.parametrize(
    ("changes", "bad", "reason"),
    [
        ({"fps": np.array([25, np.nan, 25], np.float32)}, [1], "fps nan; expected a number above 0"),
        (
            {"name": np.array(["x"] * 3), "letter": np.array(["A"] * 3), "language": np.array(["ase"] * 3)},
            [1, 2],
            "of a clip before",
        ),
        ({"name": np.array(["..\\x", "y", "z"])}, [0], "not plain text"),
        ({"xy": np.where(np.arange(6)[:, None, None] == 3, np.nan, np.ones((6, 49, 2), np.float32))}, [1], "NaN or infinity"),
    ],
)
def test_one_bad_clip_of_a_lexicon_is_skipped_and_the_others_are_read(
    tmp_path: Path, changes: dict[str, object], bad: list[int], reason: str
):
    found = read_file(writers.fingerspelling(tmp_path, **changes))
    assert [i for i, item in enumerate(found.found) if isinstance(item, Skipped)] == bad
    assert reason in found.skipped[0].reason


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": np.array([2, 3, 2])}, "length does not add up"),
        ({"length": np.array([2, 5, -1])}, "length does not add up"),
        ({"letter": np.array(["A", "B"])}, "letter is <U1 (2,); expected (3,)"),
        ({"xy": np.ones((6, 48, 2), np.float32)}, "xy is float32 (6, 48, 2)"),
        ({"confidence": np.ones((6, 49), int)}, "confidence is int64"),
    ],
)
def test_bad_lexicons(tmp_path: Path, changes: dict[str, object], message: str):
    file = writers.fingerspelling(tmp_path, **changes)
    with pytest.raises(FormatError) as error:
        fingerspelling.jobs(file)
    assert message in str(error.value)


def test_folds_leave_languages_out():
    rules = DATASETS["fingerspelling"].splits
    sides = {fold: {code: rules[fold].side(entry(code)) for code in fingerspelling.LANGUAGES} for fold in rules}
    assert list(rules) == ["fold0", "fold1", "fold2", "fold3"]
    for code in fingerspelling.LANGUAGES:
        assert Counter(sides[fold][code] for fold in rules) == {"train": 3, "test": 1}
    assert [c for c, side in sides["fold1"].items() if side == "test"] == list(fingerspelling.LANGUAGES[1::4])
    assert sum(rule.counts[1] for rule in rules.values()) == 410


def entry(language: str) -> Entry:
    return Entry("A/x", 1, 1, 25.0, meta={"language": language})


@pytest.mark.skipif(not LEXICON.exists(), reason="needs fingerspelling_lexicon.npz")
def test_the_real_lexicon(tmp_path: Path):
    jobs = FORMATS["fingerspelling"].jobs(LEXICON)
    clips = [clip for job in jobs for clip in fingerspelling.read(job)]
    assert len(clips) == 600
    labelled = [c for c in clips if c.label is not None]
    assert len(labelled) == 410
    assert sorted({c.subject for c in labelled}) == list(fingerspelling.LANGUAGES)
    assert len({c.subject for c in clips}) == 19
    assert {c.image_size for c in clips} == {(500, 500)}
    assert all(c.frames >= 6 for c in clips)
    store = Store.write(
        tmp_path / "s",
        [(f"{i}", c) for i, c in enumerate(labelled)],
        name="fingerspelling",
        classes=fingerspelling.CLASSES,
        dataset="fingerspelling",
    )
    assert check(store) == []
    for i in range(4):
        found = split(store, f"fold{i}")
        tested = {store.entries[k].subject for k in found.test}
        held = {store.entries[k].subject for k in found.validation}
        assert tested == set(fingerspelling.LANGUAGES[i::4])
        assert not tested & held
        assert not held & {store.entries[k].subject for k in found.fit}  # whole languages are held out


def test_a_stray_first_file_does_not_decide_the_format(tmp_path: Path):
    for i in range(4):
        file, _ = writers.wholebody(tmp_path, ".npz")
        file.rename(tmp_path / f"clip{i}.npz")
    np.savez(tmp_path / "a.npz", mean=np.zeros(3))
    assert guess(tmp_path) == "wholebody"
