"""Protocols over runs: what is measured how often, on which streams and which clips, and a user's mistakes."""

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from kinema import cli
from kinema.data.store import Store
from kinema.errors import UserError
from kinema.recognition import protocols
from kinema.recognition import run as run_module
from kinema.recognition.evaluate import Features, evaluate, make_task, save_metrics
from kinema.recognition.names import MEANING, MEASURES
from kinema.recognition.protocols import STRENGTHS, linear_decisions
from kinema.recognition.published import PUBLISHED_LINEAR
from kinema.recognition.run import open_run
from kinema.recognition.sequence import Stream

TINY = ("--set", "model.network.hidden=6", "--set", "model.network.layers=1", "--set", "model.dim=4", "--set", "model.queue=16")
TINY += ("--set", "model.neighbours=4", "--set", "model.frames=8", "--set", "probe_views=0", "--set", "crop.minimum=4")
TINY += ("--epochs", "1", "--batch-size", "4", "--accelerator", "cpu")


@pytest.fixture(scope="module")
def contrasted(made, tmp_path_factory):
    """Runs of CMD on the clips of `made`, with its seeds."""
    folder = tmp_path_factory.mktemp("contrasted")
    for seed, name in enumerate(("run", "other")):
        train = ("train", "cmd", "--data", made.store, "--split", "view", "--out", folder / name, "--seed", seed, *TINY)
        assert cli.main([str(a) for a in train]) == 0
    return SimpleNamespace(run=folder / "run", other=folder / "other")


def test_a_protocol_may_be_measured_once_while_others_are_for_every_run(made, tmp_path):
    runs, store = [open_run(made.run), open_run(made.other)], Store.open(made.store)
    found = evaluate(runs, store, "view", ("knn", "raw-knn", "random-knn"), tmp_path, once=("random-knn",))
    assert {row.protocol: len(row.scores) for row in found.rows} == {"knn": 2, "raw-knn": 1, "random-knn": 1}
    alone = evaluate(runs[:1], store, "view", ("random-knn",), tmp_path)
    assert found.rows[2].mean == alone.rows[0].mean
    assert found.rows[2].spread is None


def test_nothing_to_measure_is_told(made, tmp_path):
    store = Store.open(made.store)
    with pytest.raises(UserError, match="at least one protocol; protocols: linear, knn"):
        evaluate([open_run(made.run)], store, "view", (), tmp_path)
    with pytest.raises(UserError, match="at least one run"):
        evaluate([], store, "view", ("knn",), tmp_path)


@pytest.mark.parametrize("protocol", ["linear", "knn"])
def test_features_that_are_not_finite_are_told_with_their_run(made, tmp_path, monkeypatch, protocol):
    def diverged(folder, model, **options):
        for weights in model.parameters():
            weights.data.fill_(float("nan"))

    monkeypatch.setattr(run_module, "load_model", diverged)
    with pytest.raises(UserError, match=r"run: with its trained weights .* not finite; did the training diverge"):
        evaluate([open_run(made.run)], Store.open(made.store), "view", (protocol,), tmp_path)


def test_every_protocol_has_a_meaning_of_its_own():
    assert len(set(MEANING.values())) == len(MEANING)
    assert set(MEASURES) < set(MEANING)


@pytest.mark.parametrize("protocol", ["linear-motion", "knn-bone", "linear-3s", "random-knn-3s"])
def test_a_stream_that_the_method_has_not_is_told_before_anything_is_measured(made, tmp_path, protocol):
    with pytest.raises(UserError, match=rf"protocol {protocol}: .*run has no such streams; its encoder is one network"):
        evaluate([open_run(made.run)], Store.open(made.store), "view", ("linear", protocol), tmp_path, say=pytest.fail)


def test_a_probe_that_nobody_published_is_told_before_anything_is_measured(made, tmp_path, monkeypatch):
    monkeypatch.delitem(PUBLISHED_LINEAR, "mamp")
    with pytest.raises(UserError, match=r"linear-published: the method of .*run has published none; ask for linear instead"):
        evaluate([open_run(made.run)], Store.open(made.store), "view", ("linear", "linear-published"), tmp_path, say=pytest.fail)


def test_streams_are_measured_apart_and_fused(made, contrasted, tmp_path):
    trained, store = open_run(contrasted.run), Store.open(made.store)
    names = [name for name, measure in MEASURES.items() if measure.frozen]
    found = {row.protocol: row.scores[0] for row in evaluate([trained], store, "view", names, tmp_path).rows}
    assert list(found) == names

    task = make_task(trained, store, "view")
    split, labels = task.split, task.labels
    tables = Features(task, "cpu", ("joint", "motion", "bone")).tables(trained, "trained", "all")
    assert len({table.tobytes() for table in tables}) == 3
    each = [linear_decisions(table, labels, split) for table in tables]
    for name, decisions in zip(("linear", "linear-motion", "linear-bone"), each, strict=True):
        assert np.array_equal(found[name].predictions, decisions.classes[decisions.scored.argmax(1)])
    mean = sum(decisions.scored for decisions in each) / 3
    assert np.array_equal(found["linear-3s"].predictions, each[0].classes[mean.argmax(1)])
    told = found["linear-3s"].details
    assert told["alone"] == tuple(decisions.validation for decisions in each)
    assert set(told["strengths"]) <= set(STRENGTHS)

    def cosines(table, standardise=True):
        if standardise:
            table = (table - table[split.train].mean(0)) / table[split.train].std(0)
        unit = table / np.linalg.norm(table, axis=1, keepdims=True)
        return unit[split.test] @ unit[split.train].T

    names = ("knn", "knn-motion", "knn-bone")
    nearest = {name: cosines(table) for name, table in zip(names, tables, strict=True)}
    nearest["knn-3s"] = sum(nearest.values()) / 3
    nearest["knn-published"] = cosines(tables[0], standardise=False)
    for name, similarities in nearest.items():
        assert np.array_equal(found[name].predictions, labels[split.train][similarities.argmax(1)]), name


def test_what_protocols_share_is_computed_once(made, contrasted, tmp_path, monkeypatch):
    """Counted where it costs: networks that read their weights, clips that a network looks at, positions that are laid out."""
    read, seen, raw = [], Counter(), []
    encoder, tokens, positions = run_module.Trained.encoder, Stream.tokens, protocols.raw_positions
    monkeypatch.setattr(run_module.Trained, "encoder", lambda self, **how: read.append(how) or encoder(self, **how))
    monkeypatch.setattr(Stream, "tokens", lambda self, x: seen.update({self.modality: len(x)}) or tokens(self, x))
    monkeypatch.setattr(protocols, "raw_positions", lambda task: raw.append(task) or positions(task))
    frozen = [name for name, measure in MEASURES.items() if measure.frozen]
    store = Store.open(made.store)
    evaluate([open_run(contrasted.run)], store, "view", frozen, tmp_path, fuse=[open_run(made.run)])
    # once to know that they can be read, once to look at the clips
    assert read.count({}) == 2  # of both methods
    assert [how["weights"] for how in read if how].count(True) == 2
    assert [how["weights"] for how in read if how].count(False) == 1
    assert seen == {stream: 2 * len(store) for stream in ("joint", "motion", "bone")}  # trained, and with random weights
    assert len(raw) == 1


def test_a_classifier_of_a_method_with_streams_holds_the_first_alone(made, contrasted, tmp_path):
    run = open_run(contrasted.run)
    wanted = ("linear-published", "finetune", "semi-20")
    found = evaluate([run], Store.open(made.store), "view", wanted, tmp_path, epochs=1)
    assert [row.protocol for row in found.rows] == list(wanted)
    for name in wanted:
        config = json.loads((tmp_path / f"{name}-seed0" / "config.json").read_text())
        assert config["protocol"] == name
        assert not any("motion" in str(path) for path in (tmp_path / f"{name}-seed0").rglob("*"))
        assert (config["recipe"]["supervision"]["hidden"] == 0) == (name == "linear-published")


def test_from_scratch_learns_from_the_same_few_clips(made, tmp_path):
    found = evaluate([open_run(made.run)], Store.open(made.store), "view", ("semi-20", "scratch-20"), tmp_path, epochs=1)
    semi, scratch = (json.loads((tmp_path / f"{name}-20-seed0" / "config.json").read_text()) for name in ("semi", "scratch"))
    assert semi["rows"] == scratch["rows"]
    assert semi["encoder"] != scratch["encoder"]
    assert len({row.scores[0].details["rows"] for row in found.rows}) == 1


def test_the_validation_part_leaves_the_test_clips_untouched(made, contrasted, tmp_path, monkeypatch):
    runs, store = [open_run(contrasted.run)], Store.open(made.store)
    whole = make_task(runs[0], store, "view").split
    read = []
    original = Store.clip
    monkeypatch.setattr(Store, "clip", lambda self, i: read.append(i) or original(self, i))
    wanted = ("linear", "knn-3s", "raw-knn", "finetune", "semi-20")
    found = evaluate(runs, store, "view", wanted, tmp_path, part="validation", epochs=1)
    assert not set(read) & set(whole.test.tolist())
    assert np.array_equal(found.truth, store.labels[whole.validation])
    assert all(len(row.scores[0].predictions) == len(whole.validation) for row in found.rows)
    assert np.array_equal(found.split.train, whole.fit)
    linear = found.rows[0].scores[0]
    assert linear.details["chosen_on"] == "the clips that are scored"
    assert linear.accuracy == linear.details["validation"]
    assert found.rows[3].scores[0].details["rows"] == len(whole.fit)
    save_metrics(found, tmp_path / "m.json")
    told = json.loads((tmp_path / "m.json").read_text())
    assert (told["part"], told["unit"]) == ("validation", "percent of validation clips")
    assert told["clips"] == {"train": len(whole.fit), "validation": len(whole.validation), "test": 0}
    # beside the same protocol on the test clips, in the same folder
    assert evaluate(runs, store, "view", ("finetune",), tmp_path, epochs=1).part == "test"


@pytest.mark.parametrize("part", ["test", "validation"])
def test_two_methods_are_fused_run_by_run(made, contrasted, tmp_path, part):
    runs, others = [open_run(made.run), open_run(made.other)], [open_run(contrasted.run), open_run(contrasted.other)]
    store = Store.open(made.store)
    found = evaluate(runs, store, "view", ("linear",), tmp_path, part=part, fuse=others)
    fused = found.row("linear-fused")
    assert len(fused.scores) == 2
    assert found.to_json()["fused_with"] == [str(contrasted.run), str(contrasted.other)]
    three = evaluate(others, store, "view", ("linear-3s",), tmp_path, part=part).rows[0]
    for score, one, other in zip(fused.scores, found.row("linear").scores, three.scores, strict=True):
        assert score.details["validation"]["first"] == one.details["validation"]
        assert score.details["validation"]["second"] == other.details["validation"]
        assert score.details["validation"]["fused"] >= max(one.details["validation"], other.details["validation"])
        assert score.details["alone"] == {"first": one.accuracy, "second": other.accuracy}
        assert ("chosen_on" in score.details) == (part == "validation")


def test_a_validation_part_without_clips_is_told(made, tmp_path):
    store = Store.open(made.store)
    clips = [(store.entries[i].id, store.clip(i)) for i in (0, 23)]
    lone = Store.write(tmp_path / "s", clips, name="lone", classes=store.classes, dataset="nw-ucla")
    with pytest.raises(UserError, match="split view: of 1 training clips none validate, so there is nothing to score"):
        evaluate([open_run(made.run)], lone, "view", ("knn",), tmp_path, part="validation", say=pytest.fail)
    assert evaluate([open_run(made.run)], lone, "view", ("raw-knn",), tmp_path).rows[0].protocol == "raw-knn"


def test_a_store_of_other_coordinates_is_told_without_advice_for_training(made, tmp_path):
    store = Store.open(made.store)
    flat = [(f"{i}", store.clip(i).with_(positions=store.clip(i).positions[..., :2])) for i in range(4)]
    flat = Store.write(tmp_path / "s", flat, name="flat", classes=store.classes)
    with pytest.raises(UserError, match=r"run: trained on 3 coordinates a joint, but .*s has 2$"):
        evaluate([open_run(made.run)], flat, "random", ("knn",), tmp_path, say=pytest.fail)


def test_a_classifier_is_not_taken_for_one_of_a_store_built_anew(made, contrasted, tmp_path):
    trained, store = open_run(contrasted.run), Store.open(made.store)
    evaluate([trained], store, "view", ("finetune",), tmp_path / "e", epochs=1)
    clips = [(e.id, store.clip(i).with_(positions=store.clip(i).positions * 1.01)) for i, e in enumerate(store.entries)]
    anew = Store.write(tmp_path / "s", clips, name=store.name, classes=store.classes, dataset="nw-ucla")
    with pytest.raises(UserError, match="another configuration: clips"):
        evaluate([trained], anew, "view", ("finetune",), tmp_path / "e", epochs=1)


def test_runs_that_do_not_pair_are_told(made, contrasted, tmp_path):
    runs, others = [open_run(made.run), open_run(made.other)], [open_run(contrasted.run), open_run(contrasted.other)]

    def fused(first, second, wanted=("linear",)):
        evaluate(first, Store.open(made.store), "view", wanted, tmp_path, fuse=second, say=pytest.fail)

    with pytest.raises(UserError, match="--fuse: 1 run for 2; give one for each"):
        fused(runs, others[:1])
    with pytest.raises(UserError, match=r"--fuse .*other: has seed 1, but is paired with .*run of seed 0"):
        fused(runs, others[::-1])
    with pytest.raises(UserError, match="another recipe than"):
        fused(runs, [others[0], runs[1]])
    with pytest.raises(UserError, match=r"--fuse .*run: is paired with itself; give a run of another method"):
        fused(runs[:1], [open_run(made.run)])
    with pytest.raises(UserError, match="name these with --fuse"):
        fused(runs, [], ("linear-fused",))


def test_the_command_fuses_and_says_which_clips_were_scored(good, made, contrasted, tmp_path):
    said = good(
        *("evaluate", made.run, made.other, "--fuse", contrasted.run, contrasted.other, "--data", made.store, "--split", "view"),
        *("--protocols", "linear-fused", "--part", "validation", "--accelerator", "cpu", "--out", tmp_path / "e"),
    )
    assert "validation part" in said
    assert "linear probes of two methods, fused" in said
    report = (tmp_path / "e" / "report.html").read_text()
    assert "not for reporting" in report
    assert list(json.loads((tmp_path / "e" / "metrics.json").read_text())["protocols"]) == ["linear-fused"]
