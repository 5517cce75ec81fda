"""Where a run begins: what ``--init`` gives, what frozen parts need of it, and that a mistake leaves no run folder."""

import re

import pytest
import torch

from kinema.training.checkpoint import read_weights

TINY = ("--set", "model.network.hidden=6", "--set", "model.network.layers=1", "--set", "model.dim=4", "--set", "model.queue=16")
TINY += ("--set", "model.neighbours=4", "--set", "model.frames=8", "--set", "crop.minimum=4")
TINY += ("--epochs", "1", "--batch-size", "4", "--precision", "32", "--accelerator", "cpu")
ONE_WAY = ("--set", 'model.directions=[["motion","joint"]]', "--set", 'model.frozen=["motion"]')


@pytest.fixture(scope="module")
def train(made):
    return lambda method, out, *options: ("train", method, "--data", made.store, "--out", out, *TINY, *options)


@pytest.fixture
def whole(good, train, tmp_path):
    """A run without frozen parts."""
    good(*train("cmd", tmp_path / "whole"))
    return tmp_path / "whole"


def test_what_is_frozen_stays_as_it_was_in_the_run_begun_from(good, train, whole, tmp_path):
    said = good(*train("cmd", tmp_path / "r", *ONE_WAY, "--init", whole, "--max-steps", 1))
    assert "stopped after 1 step" in said
    teacher = read_weights(whole)
    good(*train("cmd", tmp_path / "r", *ONE_WAY, "--resume"))  # going on needs no --init any more
    now = read_weights(tmp_path / "r")
    kept = [name for name in now if name.startswith(("encoder_q_motion.", "encoder_k_motion."))]
    assert kept
    assert all(torch.equal(now[name], teacher[name]) for name in kept)
    assert not torch.equal(now["encoder_q.encoder.gru.weight_ih_l0"], teacher["encoder_q.encoder.gru.weight_ih_l0"])


def test_without_a_run_to_begin_from_what_is_frozen_is_refused(bad, train, tmp_path):
    assert "model.frozen: what is frozen would teach by random weights; name the run" in bad(
        *train("cmd", tmp_path / "r", *ONE_WAY)
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("frozen", [(), ONE_WAY], ids=["all", "frozen"])
def test_a_wrong_run_to_begin_from_leaves_nothing(bad, made, train, tmp_path, frozen):
    (tmp_path / "cut.safetensors").write_bytes(b"x" * 99)
    before = sorted(tmp_path.iterdir())
    for init, said in (
        (made.run, "made for another model: .* missing: "),
        (tmp_path / "nothing", "nothing: not a readable .safetensors file"),
        (tmp_path / "cut.safetensors", "cut.safetensors: not a readable .safetensors file"),
        (made.store, "no checkpoint here"),
    ):
        told = bad(*train("cmd", tmp_path / "r", *frozen, "--init", init))
        assert re.search(said, told), told
    assert sorted(tmp_path.iterdir()) == before


def test_teaching_at_the_level_of_clusters_needs_a_run_that_has_them(bad, good, train, whole, tmp_path):
    frozen = (*ONE_WAY, "--set", "model.aggregated=3", "--init", whole, "--max-steps", 1)
    said = bad(*train("i2md", tmp_path / "r", *frozen, "--set", "model.between=both"))
    assert "missing: cluster_q_motion." in said
    good(*train("i2md", tmp_path / "r", *frozen))
