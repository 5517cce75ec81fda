"""The benchmark of CMD's step, in the small: it runs, and counts operations right."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import cmd_products
import cmd_step

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
