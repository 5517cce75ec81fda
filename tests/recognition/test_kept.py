"""Scores that an evaluation keeps: taken when the same is asked again, and never for anything else."""

import json
import shutil

import numpy as np
import pytest

from kinema.data.splits import split
from kinema.data.store import Store
from kinema.errors import UserError
from kinema.recognition import evaluate as module
from kinema.recognition import kept
from kinema.recognition.evaluate import evaluate, save_metrics
from kinema.recognition.run import open_run

FROZEN = ("knn", "linear", "raw-knn", "random-linear")


@pytest.fixture
def run(made, tmp_path):
    shutil.copytree(made.run, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def counted(monkeypatch):
    """The protocols that are measured, and not taken from what was kept."""
    names = []
    measure = module._measure
    monkeypatch.setattr(module, "_measure", lambda name, *rest: names.append(name) or measure(name, *rest))
    return names


def ask(run, store, folder, wanted=FROZEN, **options):
    return evaluate([open_run(run)], store, "view", wanted, folder, **options)


def numbers(found, path):
    save_metrics(found, path)
    return json.loads(path.read_text())


def test_the_same_question_measures_nothing(made, run, tmp_path, counted):
    store, said = Store.open(made.store), []
    first = ask(run, store, tmp_path / "p", say=said.append)
    assert counted == list(FROZEN)
    counted.clear()
    second = ask(run, store, tmp_path / "p", say=said.append)
    assert counted == []
    assert [line.rpartition(" (")[2] for line in said[4:]] == ["kept)"] * 4
    assert numbers(first, tmp_path / "a.json") == numbers(second, tmp_path / "b.json")
    for one, other in zip(first.rows, second.rows, strict=True):
        assert np.array_equal(one.scores[0].predictions, other.scores[0].predictions)
        assert np.array_equal(one.scores[0].truth, other.scores[0].truth)
    assert np.array_equal(first.features, second.features)


def test_an_interrupted_evaluation_goes_on(made, run, tmp_path, monkeypatch, counted):
    store, found = Store.open(made.store), []
    measure = module._measure

    def stopping(name, *rest):
        if name == "raw-knn":
            raise KeyboardInterrupt
        return measure(name, *rest)

    monkeypatch.setattr(module, "_measure", stopping)
    with pytest.raises(KeyboardInterrupt):
        ask(run, store, tmp_path / "p", after=lambda part: found.append(numbers(part, tmp_path / "m.json")))
    assert [(list(part["protocols"]), part["missing"]) for part in found] == [
        (["knn"], ["linear", "raw-knn", "random-linear"]),
        (["knn", "linear"], ["raw-knn", "random-linear"]),
    ]
    monkeypatch.setattr(module, "_measure", measure)
    counted.clear()
    whole = numbers(ask(run, store, tmp_path / "p"), tmp_path / "m.json")
    assert counted == ["raw-knn", "random-linear"]
    assert (list(whole["protocols"]), whole["missing"]) == (list(FROZEN), [])
    assert whole["protocols"]["linear"] == found[1]["protocols"]["linear"]


@pytest.mark.parametrize("what", ["weights", "clips", "labels", "part", "code", "library", "recipe", "damage"])
def test_another_question_is_measured_anew(made, run, tmp_path, monkeypatch, counted, what):
    store, options = Store.open(made.store), {}
    ask(run, store, tmp_path / "p")
    counted.clear()
    expected = list(FROZEN)
    clips = [(entry.id, store.clip(i)) for i, entry in enumerate(store.entries)]
    again = {"name": store.name, "classes": store.classes, "dataset": "nw-ucla"}
    if what == "weights":
        shutil.rmtree(run / "checkpoints")
        shutil.copytree(made.other / "checkpoints", run / "checkpoints")
        expected = ["knn", "linear"]
    elif what == "clips":
        name, clip = clips[3]
        positions = clip.positions.copy()
        positions[0, 0, 5] += 0.25
        clips[3] = name, clip.with_(positions=positions)
        store = Store.write(tmp_path / "s", clips, **again)
    elif what == "labels":
        place = int(split(store, "view").test[0])  # so that nothing but the score changes
        clips[place] = clips[place][0], clips[place][1].with_(label=5, label_name=None)
        store = Store.write(tmp_path / "s", clips, **again)
    elif what == "part":
        options["part"] = "validation"
    elif what == "code":
        monkeypatch.setattr(kept, "code_digest", lambda: "of tomorrow")
    elif what == "library":
        monkeypatch.setattr(kept.metadata, "version", lambda name: "99.0")
    elif what == "recipe":
        config = json.loads((run / "config.json").read_text())
        config["recipe"]["probe_views"] = 1
        (run / "config.json").write_text(json.dumps(config))
    else:
        files = sorted((tmp_path / "p").glob("*.json"))
        harms = (
            b"",
            files[1].read_bytes()[:-40],
            b'{"key": []}',
            files[3].read_bytes().replace(b'"predictions": [', b'"predictions": [77,'),
        )
        for file, harm in zip(files, harms, strict=True):
            file.write_bytes(harm)
    found = ask(run, store, tmp_path / "p", **options)
    assert counted == expected
    fresh = ask(run, store, tmp_path / "fresh", **options)
    assert [row.mean for row in found.rows] == [row.mean for row in fresh.rows]


# what can be known before anything is measured


@pytest.mark.parametrize(
    ("wanted", "options", "said"),
    [
        (("knn", "semi-1"), {}, "protocol semi-1: semi-supervised ratio 0.01: leaves fewer than 2 of 16 training clips"),
        (("knn", "finetune"), {"epochs": 0}, "--epochs 0: expected 1 or more"),
        (("knn", "linear-motion"), {}, "has no such streams"),
        (("knn", "linear-fused"), {}, "name these with --fuse"),
    ],
)
def test_what_cannot_run_is_told_before_anything_runs(made, tmp_path, wanted, options, said):
    with pytest.raises(UserError, match=said):
        ask(made.run, Store.open(made.store), tmp_path / "p", wanted, **options, say=pytest.fail)
    assert not (tmp_path / "p").exists()


def test_few_clips_of_one_class_are_told_before_anything_runs(made, tmp_path):
    store = Store.open(made.store)
    tests = split(store, "view").test
    clips = [(e.id, store.clip(i).with_(label=int(i in tests), label_name=None)) for i, e in enumerate(store.entries)]
    lone = Store.write(tmp_path / "s", clips, name="lone", classes=store.classes, dataset="nw-ucla")
    for wanted, said in (("linear", "two classes to fit"), ("finetune", "all of one class"), ("semi-20", "all of one class")):
        with pytest.raises(UserError, match=said):
            ask(made.run, lone, tmp_path / "p", ("knn", wanted), say=pytest.fail)


def test_a_run_without_weights_is_told_before_the_others_are_measured(made, run, tmp_path):
    shutil.copytree(made.other, tmp_path / "other")
    shutil.rmtree(tmp_path / "other" / "checkpoints")
    runs = [open_run(run), open_run(tmp_path / "other")]
    with pytest.raises(UserError, match="other: no checkpoint here"):
        evaluate(runs, Store.open(made.store), "view", ("knn",), tmp_path / "p", say=pytest.fail)
    # who needs no weights is measured all the same
    assert evaluate(runs, Store.open(made.store), "view", ("raw-knn",), tmp_path / "p").rows[0].mean >= 0


def test_a_folder_with_another_classifier_is_told_before_anything_runs(made, run, tmp_path, counted):
    store = Store.open(made.store)
    ask(run, store, tmp_path / "p", ("finetune",), epochs=1)
    counted.clear()
    with pytest.raises(UserError, match=r"finetune-seed0: the run here has another configuration: recipe.supervision.epochs"):
        ask(run, store, tmp_path / "p", ("knn", "finetune"), epochs=2, say=pytest.fail)
    assert counted == []


def test_what_is_in_the_way_is_told_before_anything_runs(bad, made, tmp_path):
    shared = ("evaluate", made.run, "--data", made.store, "--split", "view", "--protocols", "raw-knn", "--accelerator", "cpu")
    for name in ("metrics.json", "report.html"):
        (tmp_path / name / name).mkdir(parents=True)
        assert f"{name}: a folder is in the way of the file" in bad(*shared, "--out", tmp_path / name)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "protocols").write_text("")
    assert "protocols: a file is in the way of the folder" in bad(*shared, "--out", tmp_path / "e")
