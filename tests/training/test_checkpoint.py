"""Checkpoints are whole, readable, and believed only after a look."""

import json
import os
import resource

import pytest
import safetensors.torch
import torch
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toys import Regression, log, same, stage

from kinema import files
from kinema.errors import CheckpointError, UserError
from kinema.training import checkpoint
from kinema.training.checkpoint import load_model
from kinema.training.fit import Every, fit
from kinema.training.folder import differences


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    one = stage(ema=0.9)
    fit([one], folder, config={}, accelerator="cpu", quiet=True)
    return folder, one.method


def test_a_run_folder_is_readable(trained):
    folder, method = trained
    names = ["checkpoints", "config.json", "log.jsonl", "made.json"]
    assert sorted(p.name for p in folder.iterdir() if p.name != ".lock") == names
    path = checkpoint.latest(folder)
    assert sorted(p.name for p in path.iterdir()) == ["model.safetensors", "optimizer.safetensors", "state.json"]
    state = json.loads((path / "state.json").read_text())
    assert state["schema"] == 1
    assert (state["step"], state["stage_name"], state["epoch"], state["seed"]) == (12, "regression", 4.0, 0)
    assert state["versions"].keys() == {"kinema", "torch", "python"}
    model = safetensors.torch.load_file(path / "model.safetensors")
    assert set(model) == {*method.state_dict(), *(f"ema.{n}" for n, _ in method.named_parameters())}
    assert "optimizer.exp_avg.encoder.weight" in safetensors.torch.load_file(path / "optimizer.safetensors")


@pytest.mark.parametrize("which", ["run", "checkpoint", "file"])
def test_weights_load_from_any_of_the_three(trained, which):
    folder, method = trained
    path = checkpoint.latest(folder)
    fresh = Regression()
    assert load_model({"run": folder, "checkpoint": path, "file": path / "model.safetensors"}[which], fresh) == []
    assert same(fresh, method)


def test_what_does_not_fit_is_named_in_one_line(trained, tmp_path):
    folder, _ = trained

    class Other(Regression):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(8, 3)
            self.extra = nn.ModuleList(nn.Linear(1, 1) for _ in range(3))
            del self.encoder

    other = Other()
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_model(folder, other)
    assert str(caught.value).endswith(
        "made for another model: 6 missing: extra.0.weight, extra.0.bias, extra.1.weight and 3 more; "
        "2 not known here: encoder.bias, encoder.weight; "
        "2 misshapen: head.weight is float32[1, 8], expected float32[3, 8], head.bias is float32[1], expected float32[3]"
    )
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())
    with pytest.raises(CheckpointError, match="no name begins with 'encodr"):
        load_model(folder, Regression(), prefix="encodr.")
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        load_model(tmp_path, Regression())
    with pytest.raises(CheckpointError, match="not a readable"):
        load_model(tmp_path / "none.safetensors", Regression())


def test_not_strict_passes_over_names_but_not_shapes(trained):
    folder, method = trained

    class More(Regression):
        def __init__(self):
            super().__init__()
            self.more = nn.Linear(1, 1)

    more = More()
    assert load_model(folder, more, strict=False) == ["more.weight", "more.bias"]
    assert torch.equal(more.encoder.weight, method.encoder.weight)


def test_half_precision_is_widened_and_not_finite_refused(trained, tmp_path):
    _, method = trained
    half = {n: t.half() for n, t in method.state_dict().items()}
    safetensors.torch.save_file(half, tmp_path / "half.safetensors")
    fresh = Regression()
    load_model(tmp_path / "half.safetensors", fresh)
    assert torch.equal(fresh.head.weight, half["head.weight"].float())
    with pytest.raises(CheckpointError, match="no averaged weights"):
        load_model(tmp_path / "half.safetensors", fresh, average=True)
    half["head.bias"][0] = float("inf")
    safetensors.torch.save_file(half, tmp_path / "bad.safetensors")
    with pytest.raises(CheckpointError, match=r"not finite numbers: 1 tensors: head\.bias"):
        load_model(tmp_path / "bad.safetensors", fresh)


def test_tied_weights_are_saved(tmp_path):
    class Tied(Regression):
        def __init__(self):
            super().__init__()
            self.twin = nn.Linear(4, 8)
            self.twin.weight = self.encoder.weight

    one = stage(method=Tied)
    fit([one], tmp_path, config={}, accelerator="cpu", quiet=True, max_steps=4)
    two = stage(method=Tied)
    fit([two], tmp_path, config={}, accelerator="cpu", quiet=True, resume=True)
    assert torch.equal(two.method.twin.weight, two.method.encoder.weight)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["model.safetensors", "optimizer.safetensors", "state.json"]),
    cut=st.floats(0, 1),
    junk=st.binary(max_size=8),
)
def test_damage_is_always_found(trained, tmp_path_factory, name, cut, junk):
    path = checkpoint.latest(trained[0])
    content = (path / name).read_bytes()
    copy = tmp_path_factory.mktemp("copy")
    for file in path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    place = int(cut * len(content))
    changed = content[:place] + junk + content[place + 2 * len(junk) :] if junk else content[:place]
    (copy / name).write_bytes(changed)
    try:
        found = checkpoint.read(copy)
    except CheckpointError:
        return
    # only the words of state.json may change without its being noticed; the tensors never
    assert changed == content or name == "state.json"
    assert all(torch.equal(t, trained[1].state_dict()[n]) for n, t in found.model.items() if not n.startswith("ema."))


def test_another_schema_says_so(trained, tmp_path):
    path = checkpoint.latest(trained[0])
    for file in path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps({**state, "schema": 99}))
    with pytest.raises(CheckpointError, match="schema 99, this version reads 1"):
        checkpoint.read(tmp_path)


def test_all_damaged_is_an_error_not_a_new_start(tmp_path):
    fit([stage(epochs=1)], tmp_path, config={}, accelerator="cpu", quiet=True)
    (checkpoint.latest(tmp_path) / "optimizer.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        fit([stage(epochs=1)], tmp_path, config={}, accelerator="cpu", quiet=True, resume=True)


def test_keeps_the_last_ones_and_clears_leftovers(tmp_path):
    checkpoints = tmp_path / "checkpoints"
    fit([stage()], tmp_path, config={}, accelerator="cpu", quiet=True, max_steps=5, checkpoint_every=Every(steps=1), keep=3)
    assert [p.name for p in checkpoint.steps(tmp_path)] == ["step-5", "step-4", "step-3"]
    (checkpoints / f"{files.TEMPORARY}dead").mkdir()
    (checkpoints / f"{files.TEMPORARY}dead" / "model.safetensors").write_text("half")
    fit([stage()], tmp_path, config={}, accelerator="cpu", quiet=True, resume=True)
    assert sorted(p.name for p in checkpoints.iterdir()) == ["step-12", "step-9"]


def test_full_disk_leaves_the_last_checkpoint(tmp_path):
    class Growing(Regression):
        def __init__(self):
            super().__init__()
            self.register_buffer("ballast", torch.zeros(40_000))

    def action():
        soft = 4_000
        one = stage(method=Growing)
        original = one.source.batch

        def batch(step):
            if step.index == 4:  # from now on no file may grow beyond 4 kB
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, soft))
            return original(step)

        one.source.batch = batch
        with pytest.raises(UserError, match="disk is full"):
            fit([one], tmp_path, config={}, accelerator="cpu", quiet=True)

    assert os.waitstatus_to_exitcode(os.waitpid(toys.fork(action), 0)[1]) == 0
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-3"]
    fit([stage(method=Growing)], tmp_path, config={}, accelerator="cpu", quiet=True, resume=True)
    assert checkpoint.latest(tmp_path).name == "step-12"


def test_full_disk_at_the_log(tmp_path):
    options = {"config": {}, "accelerator": "cpu", "quiet": True, "log_every": 1}

    def action():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
        with pytest.raises(UserError, match=r"log.jsonl: cannot write .* --resume"):
            fit([stage(epochs=20)], tmp_path, **options, checkpoint_every=Every(epochs=19))

    assert os.waitstatus_to_exitcode(os.waitpid(toys.fork(action), 0)[1]) == 0
    fit([stage(epochs=20)], tmp_path, **options, resume=True)
    assert [line["step"] for line in log(tmp_path)] == list(range(1, 61))


def test_read_only_folder(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.tempfile, "mkdtemp", refuse)
    with pytest.raises(UserError, match="cannot write here"):
        fit([stage()], tmp_path / "a", config={}, accelerator="cpu", quiet=True)


def test_weights_that_stopped_being_numbers_are_not_saved(tmp_path):
    class Breaks(Regression):
        def after_step(self, carry):
            self.head.bias.fill_(float("inf"))

    with pytest.raises(CheckpointError, match=r"not finite numbers: 1 tensors: head\.bias"):
        fit([stage(method=Breaks)], tmp_path, config={}, accelerator="cpu", quiet=True, checkpoint_every=Every(steps=1))
    assert checkpoint.latest(tmp_path) is None


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.lists(st.integers(), max_size=3), st.none()), max_size=4))
def test_a_configuration_differs_from_itself_nowhere(value):
    assert differences(value, json.loads(json.dumps(value))) == []
    assert differences(value, {**value, "new": {"a": 1}}) != []
