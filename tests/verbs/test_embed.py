"""`kinema embed`: features with classes whose numbers and names mean the same for whichever files were given."""

import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from conftest import TINY, kinema_
from kinema.data.store import Store
from kinema.recognition.run import open_run

STICK = {"name": "stick", "joints": ["hip", "head", "hand"], "parents": [None, "hip", "hip"]}
CLASSES = ("clap", "jump", "kick", "wave")
KEYS = {"features", "names", "labels", "label_names", "classes"}


def write(folder, rows, skeleton=True):
    """A user's own folder: files by the numbers of `rows`, each of the class that its number has."""
    folder.mkdir()
    for i in rows:
        np.save(folder / f"c{i:02}.npy", np.random.default_rng(i).normal(size=(12, 3, 3)).astype(np.float32))
    table = [f"c{i:02}.npy,{CLASSES[i % 4]}" for i in rows]
    (folder / "clips.csv").write_text("\n".join(["file,label", *table]) + "\n")
    if skeleton:
        (folder / "skeleton.json").write_text(json.dumps(STICK))
    return folder


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A store of four classes and a run on it."""
    folder = tmp_path_factory.mktemp("mine")
    raw = write(folder / "raw", range(16))
    assert kinema_("data", "build", raw, "--out", folder / "store", "--workers", 1) == 0
    size = ("--set", "preparation.yaw=false", "--set", "augment=[]", "--set", "supervision.augment=[]")
    assert kinema_("train", "mamp", "--data", folder / "store", "--out", folder / "run", *TINY, *size) == 0
    return folder


@pytest.fixture
def embed(good, mine, tmp_path):
    def run(source, *options, run=None):
        said = good("embed", run or mine / "run", source, "--out", tmp_path / "f.npz", "--accelerator", "cpu", *options)
        with np.load(tmp_path / "f.npz", allow_pickle=False) as found:
            assert set(found) == KEYS
            found = {key: found[key] for key in found}
        assert len(found["features"]) == len(found["names"]) == len(found["labels"]) == len(found["label_names"])
        for label, name in zip(found["labels"], found["label_names"], strict=True):
            assert label < 0 or found["classes"][label] == name
        return found, said

    return run


def by_name(found):
    return {
        Path(name).stem: (int(label), str(called))
        for name, label, called in zip(found["names"], found["labels"], found["label_names"], strict=True)
    }


def test_subsets_have_comparable_labels(embed, mine, tmp_path):
    whole, said = embed(mine / "store")
    assert tuple(whole["classes"]) == CLASSES
    assert f"labels are numbers of the classes of {mine}/store" in said
    some, said = embed(write(tmp_path / "some", (1, 3, 5, 7)))  # jump and wave alone
    assert f"the classes that {mine}/run was trained on" in said
    other, _ = embed(write(tmp_path / "other", (2, 3, 6)))
    assert set(some["labels"].tolist()) == {1, 3}
    assert by_name(some).items() <= by_name(whole).items()
    assert by_name(other).items() <= by_name(whole).items()
    assert by_name(some)["c03"] == by_name(other)["c03"] == (3, "wave")
    packed = tmp_path / "some.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in (tmp_path / "some").iterdir():
            archive.write(file, file.name)
    assert embed(packed)[0]["labels"].tolist() == some["labels"].tolist()


def test_a_run_that_does_not_say_its_classes(embed, mine, tmp_path):
    shutil.copytree(mine / "run", tmp_path / "old")
    config = json.loads((tmp_path / "old" / "config.json").read_text())
    assert config["data"].pop("classes") == list(CLASSES)
    (tmp_path / "old" / "config.json").write_text(json.dumps(config))
    assert open_run(tmp_path / "old").classes is None
    source = write(tmp_path / "some", (1, 3))
    found, said = embed(source, run=tmp_path / "old")
    assert "the classes found here; name a store with --data" in said
    assert (found["classes"].tolist(), found["labels"].tolist()) == (["jump", "wave"], [0, 1])
    found, said = embed(source, "--data", mine / "store", run=tmp_path / "old")
    assert f"the classes of {mine}/store" in said
    assert (found["classes"].tolist(), found["labels"].tolist()) == (list(CLASSES), [1, 3])


def test_another_vocabulary_for_a_store(embed, mine, tmp_path):
    store = Store.open(mine / "store")
    clips = [(e.id, store.clip(i).with_(label=None, label_name=None)) for i, e in enumerate(store.entries)]
    other = Store.write(tmp_path / "s", clips, name="other", classes=("wave", "bow", "clap", "kick"))
    found, _ = embed(mine / "store", "--data", other.folder)
    assert found["classes"].tolist() == ["wave", "bow", "clap", "kick"]
    assert {str(name): int(label) for name, label in zip(found["label_names"], found["labels"], strict=True)} == {
        "clap": 2, "jump": -1, "kick": 3, "wave": 0,
    }  # fmt: skip


def test_bare_arrays_have_the_joints_of_the_run(embed, bad, mine, tmp_path):
    raw = write(tmp_path / "bare", (0, 1), skeleton=False)
    (tmp_path / "stick.json").write_text(json.dumps(STICK))
    (tmp_path / "other.json").write_text(json.dumps(STICK | {"joints": ["hip", "head", "foot"]}))
    one, _ = embed(raw / "c00.npy")
    assert (one["labels"].tolist(), one["label_names"].tolist()) == ([-1], [""])
    assert np.array_equal(one["features"], embed(raw / "c00.npy", "--skeleton", tmp_path / "stick.json")[0]["features"])
    assert np.array_equal(embed(raw)[0]["features"], embed(raw, "--skeleton", tmp_path / "stick.json")[0]["features"])
    words = ("embed", mine / "run", "--out", tmp_path / "g.npz", "--accelerator", "cpu")
    assert "use a run of that skeleton" in bad(*words, raw / "c00.npy", "--skeleton", tmp_path / "other.json")
    assert "expected (frames, 25, 3)" in bad(*words, raw / "c00.npy", "--skeleton", "ntu25")
    assert "leave it out" in bad(*words, mine / "store", "--skeleton", tmp_path / "stick.json")
    assert "unknown skeleton 'ntu26'" in bad(*words, raw, "--skeleton", "ntu26")
    assert "no store here" in bad(*words, raw, "--data", raw)
    assert not (tmp_path / "g.npz").exists()


def test_a_query_is_called_by_the_stores_classes(good, mine, tmp_path):
    """A folder with two classes numbers them 0 and 1; beside neighbours those would be other classes."""
    source = write(tmp_path / "some", (1, 3))
    words = ("--data", mine / "store", "--run", mine / "run", "--json", "--out", tmp_path / "a.png", "--accelerator", "cpu")
    for clip, (label, name) in enumerate([(1, "jump"), (3, "wave")]):
        found = json.loads(good("retrieve", source, "--clip", clip, *words))
        assert (found["query"]["label"], found["query"]["class_name"]) == (label, name)
        assert all(CLASSES[n["label"]] == n["class_name"] for n in found["neighbours"])
        assert found["left_out"] == [f"c0{label}.npy"]


def test_five_guesses_of_four_classes_are_not_told(good, mine, tmp_path):
    tune = ("finetune", mine / "run", "--data", mine / "store", "--split", "random", "--epochs", 1, "--accelerator", "cpu")
    said = good(*tune, "--out", tmp_path / "named")
    assert "top 1" in said
    assert "top 5" not in said
    metrics = json.loads((tmp_path / "named" / "metrics.json").read_text())
    assert set(metrics) == {"task", "unit", "top1", "per_class", "classes"}
    said = good(
        *("evaluate", mine / "run", "--data", mine / "store", "--split", "random", "--protocols", "linear", "finetune"),
        *("--epochs", 1, "--out", tmp_path / "e", "--accelerator", "cpu"),
    )
    assert "over classes" in said
    assert "top 5" not in said
    text = (tmp_path / "e" / "metrics.json").read_text()
    assert "per_class" in text
    assert "top5" not in text
    assert json.loads(text)["classes"] == list(CLASSES)
    report = (tmp_path / "e" / "report.html").read_text()
    assert "1 run<" in report
    assert "1 runs" not in report
    assert "run(s)" not in report
