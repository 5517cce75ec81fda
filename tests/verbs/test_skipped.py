"""What cannot be read of a file of many clips is told, and the others go on, whichever verb asks."""

import pickle

import numpy as np
import pytest

import kinema
from kinema.motion.formats import npz
from kinema.motion.formats.reading import read_clips
from kinema.verbs import common


def data_set(folder, bad=1, good=4):
    """A PySKL file whose last annotations have nobody in them."""

    def one(i, people):
        keypoint = np.random.default_rng(i).uniform(50, 200, (people, 8, 17, 2)).astype(np.float32)
        return {"frame_dir": f"v{i}", "label": i % 2, "total_frames": 8, "img_shape": (240, 320), "keypoint": keypoint}

    names = [f"v{i}" for i in range(good + bad)]
    split = {"train": names[: good // 2], "val": names[good // 2 :]}
    folder.mkdir(exist_ok=True)
    file = folder / "set.pkl"
    file.write_bytes(pickle.dumps({"annotations": [one(i, int(i < good)) for i in range(good + bad)], "split": split}))
    return file


def test_a_build_says_what_it_skipped_and_which_splits_there_are(good, bad, tmp_path):
    file = data_set(tmp_path / "raw", bad=12)
    said = good("data", "build", file, "--out", tmp_path / "s")
    assert "4 clips, 12 skipped:\n  set#5 (v4): nobody is in it" in said
    assert "  and 2 more\n" in said
    assert "split given: 2 train (1 of them validate), 2 test\n" in said
    assert "split given: 2 train" in good("data", "check", tmp_path / "s")
    assert "set#5 (v4): nobody is in it" in bad("data", "build", file, "--out", tmp_path / "t", "--strict")
    assert not (tmp_path / "t").exists()


def test_lists_without_a_pair_are_told_by_build_and_check(good, bad, tmp_path):
    file = data_set(tmp_path / "raw", bad=0)
    content = pickle.loads(file.read_bytes())
    file.write_bytes(pickle.dumps(content | {"split": {"easy": ["v0", "v1"], "hard": ["v2", "v3"]}}))
    said = good("data", "build", file, "--out", tmp_path / "s")
    assert "lists that make no pair" in said
    assert "easy, hard; the split 'random' is there instead" in said
    assert "easy, hard" in good("data", "check", tmp_path / "s")
    assert "easy, hard" in bad("data", "check", tmp_path / "s", "--strict")


def test_show_goes_on_and_tells(good, capfd, tmp_path):
    file = data_set(tmp_path / "raw")
    assert "clip 3 of 4" in good("show", file, "--clip", 3, "--out", tmp_path / "x.png")
    common_told = []
    for _ in common.told_clips(file):
        common_told.append(1)
    assert len(common_told) == 4
    assert "1 skipped:\n  v4: nobody is in it" in capfd.readouterr().err


def test_nothing_to_read_is_an_error_with_the_reason(bad, tmp_path):
    file = data_set(tmp_path / "raw", bad=3, good=0)
    for words in (("show", file, "--out", tmp_path / "x.png"), ("data", "build", file, "--out", tmp_path / "s")):
        assert "none of its 3 clips can be read: v0: nobody is in it" in bad(*words)


def test_a_program_is_warned(tmp_path):
    file = data_set(tmp_path / "raw")
    with pytest.warns(UserWarning, match="1 skipped; the first: v4: nobody is in it"):
        assert len(kinema.read(file)) == 4
    left_out = []
    assert len(list(read_clips(file, None, left_out))) == 4
    assert [item.name for item in left_out] == ["v4"]


def test_a_folder_of_files_goes_on_after_a_bad_one(tmp_path):
    (clip, *_) = kinema.read(data_set(tmp_path / "raw", bad=0))
    (tmp_path / "many").mkdir()
    for name in "abc":
        npz.write(clip, tmp_path / "many" / f"{name}.npz")
    (tmp_path / "many" / "b.npz").write_bytes(b"torn")
    left_out = []
    assert len(list(read_clips(tmp_path / "many", None, left_out))) == 2
    assert [item.name for item in left_out] == ["b"]


def test_a_large_file_is_announced(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(common, "LARGE", 1000)
    common.tell_large(data_set(tmp_path / "raw"))
    assert capfd.readouterr().err == f"reading {tmp_path / 'raw' / 'set.pkl'}, 0 MB\n"
