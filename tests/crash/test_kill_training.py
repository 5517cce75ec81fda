"""A run that is killed at any moment goes on from a whole checkpoint and ends as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOYS = Path(__file__).parents[1] / "training"
sys.path.insert(0, str(TOYS))

import torch
from toys import fork, log, same, stage

from kinema.training import checkpoint
from kinema.training.fit import Every, fit


def train(folder: Path, kind: str, steps: int, pause: float = 0.0, every: int = 1):
    """So many steps, a checkpoint at each."""
    one = stage(kind, epochs=steps / 3, ema=0.99)
    batch = one.source.batch

    def slowly(step):
        time.sleep(pause)
        return batch(step)

    one.source.batch = slowly
    options = {"config": {}, "accelerator": "cpu", "quiet": True, "log_every": 3, "resume": True, "keep": 2}
    result = fit([one], folder, **options, checkpoint_every=Every(epochs=None, steps=every))
    return one.method, result


def steps_in(folder: Path) -> int:
    found = checkpoint.steps(folder)
    return int(found[0].name.removeprefix("step-")) if found else 0


def kill_again_and_again(tmp_path, kind, steps, kills, begin, draw):
    """Starts the run by `begin`, kills it a random moment after it went on a little, `kills` times; then lets it end."""
    whole, _ = train(tmp_path / "whole", kind, steps, every=1000)
    folder = tmp_path / "killed"
    for number in range(kills):
        pid = begin(folder)
        target, deadline = steps_in(folder) + 2, time.monotonic() + 60
        while steps_in(folder) < target and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(draw.random() * 0.03)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        found = checkpoint.read(checkpoint.latest(folder))
        assert found.state.step >= target - 2, number
        assert found.path == checkpoint.steps(folder)[0], "the newest one is whole"
    assert steps_in(folder) < steps, "the kills came while it ran"
    method, result = train(folder, kind, steps)
    assert result.finished
    assert same(whole, method)
    assert log(tmp_path / "whole") == log(folder)
    assert not [p for p in (folder / "checkpoints").iterdir() if not p.name.startswith("step-")]


@pytest.mark.parametrize("kind", ["momentum"])
def test_killed_four_times(tmp_path, kind):
    kill_again_and_again(tmp_path, kind, 60, 4, lambda folder: fork(lambda: train(folder, kind, 60)), random.Random(1))


SCRIPT = """
import sys
sys.path[:0] = [{toys!r}, {here!r}]
import torch
torch.set_num_threads(1)
from pathlib import Path
from test_kill_training import train
train(Path({folder!r}), {kind!r}, 200, {pause})
"""


def program(folder: Path, kind: str, pause: float = 0.0) -> list[str]:
    here = str(Path(__file__).parent)
    return [sys.executable, "-c", SCRIPT.format(toys=str(TOYS), here=here, folder=str(folder), kind=kind, pause=pause)]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["policy"])
def test_killed_fifteen_times(tmp_path, kind):
    """As a program of its own, with everything that starting one means."""

    def begin(folder):
        return subprocess.Popen(program(folder, kind)).pid

    kill_again_and_again(tmp_path, kind, 200, 15, begin, random.Random(2))


def test_sigterm_saves_and_exits_well(tmp_path):
    whole, _ = train(tmp_path / "whole", "codebook", 60, every=1000)
    folder = tmp_path / "stopped"

    def action():
        _, result = train(folder, "codebook", 60, pause=0.01)
        assert result.interrupted
        assert not result.finished
        assert result.step == int(result.checkpoint.name.removeprefix("step-"))

    pid = fork(action)
    while steps_in(folder) < 3:
        time.sleep(0.01)
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert 3 <= steps_in(folder) < 60
    method, result = train(folder, "codebook", 60)
    assert result.finished
    assert same(whole, method)
    assert torch.isfinite(method.codes).all()


@pytest.mark.slow
def test_torchrun_as_a_person_would(tmp_path):
    """The real launcher, a real Ctrl-C to the launcher, and one process to finish what two began."""
    script = tmp_path / "train.py"
    script.write_text(program(tmp_path / "run", "momentum", pause=0.05)[2])
    launcher = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while steps_in(tmp_path / "run") < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(launcher.pid, signal.SIGINT)  # what a terminal does: the launcher and its children hear it
    launcher.wait(timeout=60)
    found = checkpoint.read(checkpoint.latest(tmp_path / "run"))
    assert 3 <= found.state.step < 200
    method, result = train(tmp_path / "run", "momentum", 200)
    assert result.finished
    whole, _ = train(tmp_path / "whole", "momentum", 200, every=1000)
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(method.state_dict()[name], weight, rtol=1e-3, atol=1e-4)
