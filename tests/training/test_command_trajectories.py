"""However the real command is cut into processes, parts or sessions, it walks the same path."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kinema.data.store import Store
from kinema.motion.clip import Clip
from kinema.motion.skeletons import KINECT20
from kinema.training.precision import bf16_pays

STEPS = 6
COMMON = ("--precision", "32", "--batch-size", "8", "--accelerator", "cpu")
TINY = {
    "mamp": (
        "--set", "model.encoder.width=16", "--set", "model.encoder.depth=2", "--set", "model.encoder.heads=2",
        "--set", "model.decoder_width=16", "--set", "model.decoder_depth=1",
    ),
    # momentum encoders and queues, the latter of a size that batches do not divide
    "cmd": ("--set", "model.network.hidden=8", "--set", "model.frames=16", "--set", "model.queue=21", "--set", "model.neighbours=9"),
}  # fmt: skip
TINY["i2md"] = (*TINY["cmd"], "--set", "model.aggregated=3", "--set", "model.between=both")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("store") / "made"
    clips = (
        (f"c{i}", Clip(rng.standard_normal((20 + i, 1, 20, 3)).cumsum(0).astype(np.float32) * 0.1, KINECT20, label=i % 2))
        for i in range(24)
    )
    Store.write(folder, clips, name="made")
    return folder


def train(store: Path, out: Path, *more: str, method: str = "mamp", steps: int = STEPS) -> dict[str, torch.Tensor]:
    """The weights after `steps` steps of the command, run as a person would."""
    sizes = (*COMMON, *TINY[method])
    command = [sys.executable, "-m", "kinema.cli", "train", method, "--data", str(store), "--out", str(out), *sizes, *more]
    done = subprocess.run([*command, "--max-steps", str(steps)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return load_file(out / "checkpoints" / f"step-{steps}" / "model.safetensors")


@pytest.mark.parametrize("method", ["mamp", *(pytest.param(each, marks=pytest.mark.slow) for each in ("cmd", "i2md"))])
def test_resumed_command_is_bitwise_the_uninterrupted_one(store: Path, tmp_path: Path, method: str) -> None:
    whole = train(store, tmp_path / "whole", method=method)
    train(store, tmp_path / "parts", method=method, steps=2)
    resumed = train(store, tmp_path / "parts", "--resume", method=method)
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("cut", [("--set", "accumulate=4"), ("--devices", "2")], ids=["accumulated", "two-processes"])
def test_the_batch_may_be_cut(store: Path, tmp_path: Path, cut: tuple[str, str]) -> None:
    whole = train(store, tmp_path / "whole")
    parts = train(store, tmp_path / "cut", *cut)
    for name, tensor in whole.items():
        a, b = without_key_bias(name, tensor), without_key_bias(name, parts[name])
        # sums in another order; one wrong row or draw would give differences near the learning rate, 1e-4
        torch.testing.assert_close(b, a, rtol=0, atol=1e-6, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cmd", "i2md"])
def test_two_processes_share_batch_statistics_queues_and_momentum(store: Path, tmp_path: Path, method: str) -> None:
    whole = train(store, tmp_path / "whole", method=method)
    parts = train(store, tmp_path / "cut", "--devices", "2", method=method)
    assert whole["queue_ptr_bone"].item() == 6 * 8 % 21
    for name, tensor in whole.items():
        # sums in another order, and differences are divided by small spreads in batch norm; a wrong row gives differences near 0.1
        torch.testing.assert_close(parts[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("limited", [0, 1])
def test_the_first_process_settles_the_precision_for_all(store: Path, tmp_path: Path, limited: int) -> None:
    """Two processes as torchrun starts them; one of them may use no instructions for bf16."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    sizes = ("--batch-size", "8", "--accelerator", "cpu", "--precision", "auto", *TINY["mamp"])
    command = [sys.executable, "-m", "kinema.cli", "train", "mamp", "--data", str(store), "--out", str(tmp_path / "run"), *sizes]
    started = []
    for rank in range(2):
        more = {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)}
        less = {"ONEDNN_MAX_CPU_ISA": "AVX2"} if rank == limited else {}
        environment = {**os.environ, **shared, **more, **less}
        started.append(subprocess.Popen([*command, "--max-steps", "2"], env=environment, stderr=subprocess.PIPE, text=True))
    said = [process.communicate(timeout=200)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    expected = "32" if limited == 0 or not bf16_pays("cpu") else "bf16"
    assert config["fit"]["precision"] == config["recipe"]["precision"] == expected


def without_key_bias(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A bias of the keys moves all scores of a query alike, so its gradient is zero but for rounding, which Adam then scales up."""
    if name.endswith("attn.qkv.bias"):
        queries, _, values = tensor.chunk(3)
        return torch.cat([queries, values])
    return tensor.chunk(2)[1] if name.endswith("attn.kv.bias") else tensor
