"""The published configurations run at full size, through the command, on files as the data sets' owners give them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "motion"))
from ntu_writers import person, pku_text, skeleton_text

from kinema import cli
from kinema.data.store import Store
from kinema.motion.skeletons import NTU25
from kinema.recognition.presets import recipe
from kinema.recognition.recipes import build_method
from kinema.recognition.run import open_run

FRAMES = 70


@pytest.fixture(autouse=True, scope="module")
def _one_core():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ntu_files(folder, names):
    """One take a name; every second one shows two people, and in every third nobody is seen at first."""
    folder.mkdir()
    for i, name in enumerate(names):
        bodies = [(100 + i, person(FRAMES, seed=i))]
        if i % 2:
            bodies.append((200 + i, person(FRAMES, seed=1000 + i) + np.array([1.0, 0, 0])))
        frames = [[(identity, joints[t]) for identity, joints in bodies] for t in range(FRAMES)]
        if i % 3 == 2:
            frames[:2] = [[], []]
        (folder / f"{name}.skeleton").write_text(skeleton_text(frames))
    return folder


def pku_files(folder):
    """Two videos of two instances each, with the folders and split files of PKU-MMD."""
    for place in ("skeleton", "label", "split"):
        (folder / place).mkdir(parents=True)
    for i, video in enumerate(("0002-L", "0003-M", "0004-R")):
        bodies = np.stack([person(2 * FRAMES, seed=10 * i), person(2 * FRAMES, seed=10 * i + 1)], 1)
        bodies[:FRAMES, 1] = 0
        (folder / "skeleton" / f"{video}.txt").write_text(pku_text(bodies))
        (folder / "label" / f"{video}.txt").write_text(f"3,0,{FRAMES},1\n12,{FRAMES},{2 * FRAMES},1\n")
    for kind in ("subject", "view"):
        (folder / "split" / f"cross-{kind}.txt").write_text("Training videos:\n0002-L, 0003-M\nValidation videos:\n0004-R\n")
    return folder


NTU60 = ["S001C001P001R001A001", "S001C002P002R001A050", "S001C003P004R002A012", "S002C001P003R001A001", "S002C002P006R001A050"]
NTU120 = [*NTU60[:3], "S018C001P008R001A061", "S019C001P045R001A120", "S018C002P007R001A100"]
CASES = {
    # preset: data set, how to make its files, split, parameters
    "paper-ntu60": ("ntu60", lambda folder: ntu_files(folder, NTU60), "xsub", 8_789_004),
    "paper-ntu120": ("ntu120", lambda folder: ntu_files(folder, NTU120), "xsub", 10_368_524),
    "paper-pku": ("pku-mmd-1", pku_files, "xsub", 10_368_524),
}


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


@pytest.mark.parametrize("preset", CASES)
def test_one_step_at_full_size_through_the_command(tmp_path, capsys, preset):
    """The network has its published size; the batch is 2 clips instead of 128, because a step of those takes a CPU minutes."""
    dataset, files, split, parameters = CASES[preset]
    said = run(capsys, "data", "build", files(tmp_path / "raw"), "--dataset", dataset, "--out", tmp_path / "store", "--workers", 1)
    assert "bad files" not in said
    options = ("--data", tmp_path / "store", "--split", split, "--out", tmp_path / "run", "--accelerator", "cpu", "--max-steps", 1)
    said = run(capsys, "train", "mamp", "--preset", preset, "--batch-size", 2, *options)
    assert "stopped after 1 step" in said
    trained = open_run(tmp_path / "run")
    model = trained.encoder()
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert all(p.isfinite().all() for p in model.parameters())
    fresh = trained.encoder(weights=False)
    assert torch.equal(model.state_dict()["blocks.0.attn.qkv.weight"], fresh.state_dict()["blocks.0.attn.qkv.weight"]), (
        "the first step of the published warm-up has rate 0"
    )
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["recipe"]["batch_size"] == 2
    assert config["data"]["split"] == split


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("preset", CASES)
def test_one_step_with_the_published_batch(tmp_path, capsys, preset):
    """128 clips of two people: the real thing, minutes on a CPU."""
    dataset, files, split, _ = CASES[preset]
    run(capsys, "data", "build", files(tmp_path / "raw"), "--dataset", dataset, "--out", tmp_path / "store", "--workers", 1)
    options = ("--data", tmp_path / "store", "--split", split, "--out", tmp_path / "run", "--max-steps", 1)
    run(capsys, "train", "mamp", "--preset", preset, *options)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]["batch_size"] == 128


@pytest.mark.parametrize("preset", CASES)
def test_sizes_are_those_published(preset):
    model = build_method(recipe("mamp", preset, NTU25))
    assert sum(p.numel() for p in model.parameters()) == CASES[preset][3]
    assert sum(p.numel() for n, p in model.named_parameters() if model.is_encoder_parameter(n)) == 6_336_000
    assert model.config.kept == 74
    assert model.size.grid == (30, 25)


def test_the_splits_are_those_published(tmp_path, capsys):
    run(capsys, "data", "build", ntu_files(tmp_path / "raw", NTU60), "--dataset", "ntu60", "--out", tmp_path / "s", "--workers", 1)
    from kinema.data.splits import split

    store = Store.open(tmp_path / "s")
    names = [entry.id for entry in store.entries]
    train = {names[i] for i in split(store, "xsub").train}
    assert train == {n for n in NTU60 if n[8:12] in ("P001", "P002", "P004")}
    assert {names[i] for i in split(store, "xview").test} == {n for n in NTU60 if n[4:8] == "C001"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_step_of_cmd_at_full_size_through_the_command(tmp_path, capsys):
    """3 x 2 networks of 49.5 million weights; the batch is 2 clips instead of 64. Writes a checkpoint of 2 GB."""
    files = ntu_files(tmp_path / "raw", NTU60)
    run(capsys, "data", "build", files, "--dataset", "ntu60", "--out", tmp_path / "store", "--workers", 1)
    options = ("--data", tmp_path / "store", "--split", "xsub", "--out", tmp_path / "run", "--accelerator", "cpu", "--max-steps", 1)
    assert "stopped after 1 step" in run(capsys, "train", "cmd", "--preset", "paper-ntu", "--batch-size", 2, *options)
    trained = open_run(tmp_path / "run")
    model = trained.encoder()
    assert sum(p.numel() for p in model.query("joint").parameters()) == 49_457_580
    assert tuple(model.queue.shape) == (128, 16384)
    assert int(model.queue_ptr) == 2
    assert all(p.isfinite().all() for p in model.parameters())
