"""The report of an evaluation: it opens with its table, and says how everything in it was made."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from kinema.data.splits import Split
from kinema.data.store import Store
from kinema.recognition.evaluate import Evaluation, Row
from kinema.recognition.protocols import Score
from kinema.recognition.report import build_report, chance, wilson
from kinema.recognition.run import open_run

RNG = np.random.default_rng(0)
DATA = {"name": "st", "checksum": "c0ffee", "split": "view", "clips": 24}
MADE = {"command": "kinema evaluate run", "kinema": "9.9", "commit": "abc", "torch": "t", "device": "cpu (x)", "seconds": 61.0}


def found(classes, clips, seeds, protocols=("linear", "knn")):
    truth = np.arange(clips) % len(classes)
    rows = []
    for name in protocols:
        said = [np.where(RNG.random(clips) < 0.7, truth, RNG.integers(0, len(classes), clips)) for _ in range(seeds)]
        rows.append(Row(name, tuple(Score(name, 100 * float((p == truth).mean()), p, truth, 1.5) for p in said)))
    every = np.arange(clips)
    split = Split("view", every, every, every, every[:1])
    features = RNG.normal(size=(clips, 6)) if clips > 1 else np.zeros((clips, 6))
    return Evaluation("store view", tuple(classes), split, tuple(rows), features, truth, ("run",) * seeds)


def report(made, path, evaluation, runs=None, example=None, how=MADE):
    build_report(path, evaluation, runs or [open_run(made.run)], example, "a report", data=DATA, made=how)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("classes", [["only"], ["a", "b"], ["x" * 200, "", "שלום", "👋🏽"], [f"c{i}" for i in range(120)]])
@pytest.mark.parametrize("clips", [1, 7, 240])
def test_any_number_of_classes_and_clips(made, tmp_path, classes, clips):
    text = report(made, tmp_path / "r.html", found(classes, clips, 1))
    assert text.index("<table") < text.index("<svg") if "<svg" in text else "<table" in text
    titles = re.findall(r"<h2><bdi>(.*?)</bdi>", text)
    assert titles[0] == "Results"
    assert titles[-1] == "How this was made"


def test_it_says_how_it_was_made(made, tmp_path):
    runs = [open_run(made.run), open_run(made.other)]
    text = report(made, tmp_path / "r.html", found(["a", "b"], 20, 2), runs, Store.open(made.store).clip(0))
    for words in (
        "kinema evaluate run", "kinema 9.9, commit abc", "cpu (x)", "61.0 s", "c0ffee", "split view",
        "kinema train mamp", "--seed 1", "model.encoder.width", "20 train", "2 classes", "standard deviation over seeds",
    ):  # fmt: skip
        assert words in text, words
    assert text.count("<details>") == 2
    assert str(made.run.parent) not in re.sub(r"kinema train[^<]*", "", text)  # no path but those of the commands


def test_a_run_that_did_not_write_it_down_reports_all_the_same(made, tmp_path):
    run = shutil.copytree(made.run, tmp_path / "old")
    (run / "made.json").unlink()
    text = report(made, tmp_path / "r.html", found(["a", "b"], 20, 1), [open_run(run)], how={})
    assert text.count("not written down") == 3
    (run / "made.json").write_text('[{"command": 3, "seconds": "x", "device": null, "date": {}}]')
    assert "<h1>" in report(made, tmp_path / "r.html", found(["a", "b"], 20, 1), [open_run(run)], how={"seconds": True})


def test_runs_that_went_on_many_times_are_told_in_short(made, tmp_path):
    run = shutil.copytree(made.run, tmp_path / "long")
    (run / "made.json").write_text(str([{"command": f"part {i}"} for i in range(9)]).replace("'", '"'))
    text = report(made, tmp_path / "r.html", found(["a", "b"], 20, 1), [open_run(run)])
    assert "part 8" in text
    assert "part 5" not in text
    assert "6 more parts" in text


def test_one_run_has_the_interval_of_its_clips_and_several_their_spread(made, tmp_path):
    one = report(made, tmp_path / "r.html", found(["a", "b"], 40, 1))
    assert "95 % interval that 40 scored clips leave open" in one
    assert "over seeds" not in one
    evaluation = found(["a", "b"], 40, 3)
    mixed = replace(evaluation, rows=(evaluation.rows[0], Row("raw-linear", evaluation.rows[1].scores[:1])))
    runs = [open_run(made.run), open_run(made.other), open_run(made.run)]
    text = report(made, tmp_path / "r.html", mixed, runs)
    assert "standard deviation over seeds, of a single run the 95 % interval" in text


def test_what_chance_reaches():
    assert chance(np.array([0, 0, 1, 2])) == 50
    assert chance(np.array([3, 3])) is None
    low, high = wilson(50, 100)
    assert (round(low, 1), round(high, 1)) == (40.4, 59.6)
    assert wilson(100, 10)[1] == pytest.approx(100)
    assert wilson(0, 10)[0] == pytest.approx(0)
