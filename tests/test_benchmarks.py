"""The benchmarks in the small: CMD's step runs and counts operations right; what its parts bring is trained once and for what was asked."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import arms
import cmd_products
import cmd_step
import contrast

from kinema.motion.skeletons import NTU25
from kinema.recognition.cmd import CMD, CMDConfig
from kinema.recognition.sequence import GRUConfig
from kinema.training.method import Step

SMALL = CMDConfig(tuple(NTU25.bone_pairs()), frames=5, network=GRUConfig(hidden=8, layers=3), queue=16, neighbours=8)


@pytest.fixture(autouse=True)
def _threads():
    """The command sets the number of threads of the whole process, on which the last bits of other tests' sums depend."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_it_runs_and_both_ways_agree(capsys):
    cmd_step.main(["--small", "--batch", "2", "--rounds", "1", "--threads", "1"])
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if line.startswith("| ")]
    assert sum(row.startswith(("| frame by frame, as published |", "| Kinema |")) for row in rows) == 2
    assert sum(row.startswith("| recurrence ") for row in rows) == 3
    assert "Given, not measured here" in out
    assert "nan" not in out


def test_operations_are_those_that_run():
    model = CMD(SMALL)
    with FlopCounterMode(display=False) as counter:
        model.loss(cmd_step.views(SMALL, 3, "cpu"), Step(0)).total.backward()
    assert cmd_products.operations(SMALL, 3) == counter.get_total_flops()


def test_a_clip_of_the_paper_takes_69_billion_operations():
    paper = CMDConfig(tuple(NTU25.bone_pairs()))
    assert cmd_products.operations(paper, 16) / 16 / 1e9 == pytest.approx(12 * 5.755 + 0.145, abs=0.01)


def test_networks_that_differ_are_refused():
    model = CMD(SMALL)
    plain = cmd_step.FrameByFrame(model)
    other = CMD(replace(SMALL, temperature=0.1))
    other.load_state_dict(model.state_dict())
    batch = cmd_step.views(SMALL, 3, "cpu")
    assert "Kinema" in cmd_step.check(model, plain, batch)
    with pytest.raises(SystemExit, match="expected the same"):
        cmd_step.check(other, plain, batch)


@pytest.mark.parametrize("wrong", [("--processor", "--threads", "2"), ("--batch", "1"), ("--rounds", "0")])
def test_options_that_make_no_sense(wrong, capsys):
    with pytest.raises(SystemExit):
        cmd_step.read(list(wrong))
    assert "expected" in capsys.readouterr().err


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """`contrast.py` whose command notes what it is asked for, and ends as the test says."""
    calls, end = [], SimpleNamespace(finished=True)

    def kinema(*words):
        calls.append(words)
        Path(words[words.index("--out") + 1]).mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(arms, "kinema", kinema)
    monkeypatch.setattr(arms, "newest", lambda folder: SimpleNamespace(state=end))

    def train(arm, *settings):
        calls.clear()
        options = {"method": "cmd", "data": tmp_path / "store", "split": "view", "accelerator": "cpu", "set": settings}
        contrast.train(SimpleNamespace(out=tmp_path / "out", **options), arm, 0)
        return [Path(words[words.index("--out") + 1]).name for words in calls]

    return SimpleNamespace(train=train, end=end, calls=calls)


def test_what_is_finished_is_not_trained_again_unless_other_values_are_asked_for(trained):
    assert trained.train("fixed") == ["cmd-none-0", "cmd-fixed-0"], "the teachers first"
    assert trained.calls[1][trained.calls[1].index("--init") + 1].endswith("cmd-none-0")
    assert trained.train("fixed") == []
    assert trained.train("fixed", "epochs=3") == ["cmd-none-0", "cmd-fixed-0"], "which `kinema train` then refuses"


def test_what_was_stopped_does_not_count_as_finished(trained):
    trained.end.finished = False
    with pytest.raises(SystemExit, match="cmd-full-0: stopped before its end; the same command goes on"):
        trained.train("full")
    trained.end.finished = True
    assert trained.train("full") == ["cmd-full-0"]


def test_what_is_measured_is_measured_again_for_other_options_or_runs(monkeypatch, tmp_path):
    calls = []

    def kinema(*words):
        calls.append(words)
        out = Path(words[words.index("--out") + 1])
        out.mkdir(exist_ok=True)
        asked = words[words.index("--protocols") + 1 :]
        (out / "metrics.json").write_text(json.dumps({"protocols": {name: {"runs": [float(len(calls))]} for name in asked}}))

    monkeypatch.setattr(arms, "kinema", kinema)
    run = tmp_path / "run"
    run.mkdir()
    (run / "finished").write_text("3 epochs")

    def measured(*protocols, options=("--part", "test"), runs=(run,)):
        return arms.measured(runs, protocols, tmp_path / "out", options)

    assert measured("linear", "knn") == {"linear": [1.0], "knn": [1.0]}
    assert measured("knn") == {"knn": [1.0]}, "not again"
    assert measured("linear", "finetune")["finetune"] == [2.0], "one more protocol"
    assert measured("linear", options=("--part", "test", "--epochs", "3")) == {"linear": [3.0]}
    (run / "finished").write_text("5 epochs")
    assert measured("linear", options=("--part", "test", "--epochs", "3")) == {"linear": [4.0]}
    assert measured("linear", options=("--part", "test", "--epochs", "3"), runs=(run, run)) == {"linear": [5.0]}
