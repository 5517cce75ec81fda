"""Ctrl-C and SIGTERM: no verb calls it done, what was made is kept and told, and nothing is left half written."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import toys

from kinema import cli
from kinema.data.store import Store
from kinema.errors import Interrupted, keeping
from kinema.motion.formats import npz
from kinema.recognition import protocols
from kinema.recognition.classifier import Recogniser
from kinema.recognition.mamp import MAMP
from kinema.training import checkpoint
from kinema.training.fit import Every, fit
from kinema.verbs import about

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture
def at_a_terminal():
    """Ctrl-C as Python handles it there; a shell that runs tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(capfd, number, *arguments):
    """Runs a verb that is interrupted; gives its one line."""
    capfd.readouterr()
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main([str(a) for a in arguments]) == CODES[number]
    assert signal.getsignal(signal.SIGTERM) is before
    said = capfd.readouterr().err
    assert "Traceback" not in said
    return next(line for line in said.splitlines() if line.startswith("kinema: "))


def raising(number, original, after=0):
    """`original`, but a signal comes when it has been called `after` times."""
    calls = []

    def wrapped(*arguments, **options):
        calls.append(1)
        if len(calls) > after:
            signal.raise_signal(number)
        return original(*arguments, **options)

    return wrapped


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


# inside one process: a signal at a chosen moment


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize("number", CODES)
def test_a_verb_that_keeps_nothing(capfd, monkeypatch, number):
    monkeypatch.setattr(about, "papers", raising(number, about.papers))
    assert interrupted(capfd, number, "papers") == "kinema: interrupted"


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("verb", ["embed", "retrieve", "check", "evaluate", "recognize", "build", "stage"])
def test_a_verb_that_is_stopped_while_it_works(capfd, made, tmp_path, monkeypatch, verb, number):
    store, out = Store.open(made.store), tmp_path / "out"
    out.mkdir()
    npz.write(store.clip(0), tmp_path / "clip.npz")
    cpu = ("--accelerator", "cpu")
    probe = ("evaluate", made.run, "--data", made.store, "--split", "view", "--out", out, "--protocols", "raw-knn", *cpu)
    ask = ("retrieve", tmp_path / "clip.npz", "--data", made.store, "--run", made.run, "--out", out / "a.png", *cpu)
    where, what, words = {
        "embed": (protocols, "features", ("embed", made.run, made.store, "--out", out / "f.npz", *cpu)),
        "retrieve": (protocols, "resident", ask),
        "check": (Store, "clip", ("data", "check", made.store)),
        "evaluate": (protocols, "raw_positions", probe),
        "recognize": (Recogniser, "probabilities", ()),
        "build": (Store, "write", ("data", "build", made.raw, "--dataset", "nw-ucla", "--out", out / "s", "--workers", 1)),
        "stage": (Store, "write", ("data", "stage", "stage-1", "--clips", 3, "--out", out / "s")),
    }[verb]
    if verb == "recognize":
        tune = ("finetune", made.run, "--data", made.store, "--out", tmp_path / "named", "--epochs", 1, "--accelerator", "cpu")
        assert cli.main([str(a) for a in tune]) == 0
        words = ("recognize", tmp_path / "clip.npz", "--run", tmp_path / "named", "--accelerator", "cpu")
    after = 3 if verb == "check" else 0
    monkeypatch.setattr(where, what, raising(number, getattr(where, what), after))
    assert interrupted(capfd, number, *words).startswith("kinema: interrupted")
    assert [name for name in files(out) if ".building" not in name] == []


@pytest.mark.usefixtures("at_a_terminal")
def test_training_that_is_stopped_at_once_says_what_there_is(capfd, made, tmp_path, monkeypatch):
    """A second signal does not wait for the step; one before the first step finds nothing saved."""
    out = tmp_path / "r"

    def twice(self, batch, step):
        if step.index == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return original(self, batch, step)

    original = MAMP.loss
    monkeypatch.setattr(MAMP, "loss", twice)
    train = (*made.train, "--out", out)
    said = interrupted(capfd, signal.SIGINT, *train)
    assert said.endswith(f"interrupted; {out}: no step is saved yet; the same command with --resume begins anew")
    monkeypatch.undo()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert cli.main([str(a) for a in (*train, "--resume", "--max-steps", 2)]) == 0  # a stop that was asked for is no interruption
    monkeypatch.setattr(MAMP, "loss", twice)
    said = interrupted(capfd, signal.SIGINT, *train, "--resume")
    assert said.endswith(f"interrupted; {out}/checkpoints/step-2 is saved; the same command with --resume goes on from there")


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize("number", CODES)
def test_what_is_kept_is_told_once(number):
    come = KeyboardInterrupt() if number == signal.SIGINT else Interrupted(number)

    def inner():
        with keeping(lambda: "all of it"), keeping(lambda: "the inner part"):
            raise come

    with pytest.raises(Interrupted) as caught:
        inner()
    assert (caught.value.kept, caught.value.exit_code) == ("the inner part", CODES[number])


def test_processes_agree_on_the_signal_that_one_of_them_had(tmp_path):
    def action():
        one = toys.stage()
        batch, first = one.source.batch, os.environ["RANK"] == "0"

        def stopping(step):
            if step.index == 4 and not first:
                signal.raise_signal(signal.SIGTERM)
            return batch(step)

        one.source.batch = stopping
        options = {"config": {}, "accelerator": "cpu", "quiet": True, "checkpoint_every": Every(steps=100)}
        result = fit([one], tmp_path / "r", **options)
        assert (result.interrupted, result.signal, result.first, result.step) == (True, signal.SIGTERM, first, 5)

    toys.two_processes(action)
    assert checkpoint.latest(tmp_path / "r").name == "step-5"


# the real commands


def begin(*arguments):
    """The command as a person starts it, with Ctrl-C as a terminal has it."""
    return subprocess.Popen(
        [sys.executable, "-m", "kinema.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def stop(process, number, until, group=False):
    """Sends a signal as soon as `until()`; gives the exit code, what was said, and the last line of it."""
    deadline = time.monotonic() + 100
    while not until():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (os.killpg if group else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=100)
    return process.returncode, out, err.splitlines()[-1]


def long(words):
    return tuple("100000" if before == "--epochs" else word for before, word in zip(("", *words), words, strict=False))


def saved(folder):
    return lambda: bool(checkpoint.steps(folder))


def test_train_and_evaluate_that_are_killed(good, made, tmp_path):
    """`kinema train ... && kinema evaluate ...` must not measure half a run, and an evaluation keeps what it has measured."""
    out, run = tmp_path / "e", tmp_path / "run"
    words = ("evaluate", made.run, "--data", made.store, "--split", "view", "--accelerator", "cpu", "--out", out, "--protocols")
    training = begin(*long(made.train), "--out", run)
    measuring = begin(*words, "raw-knn", "knn", "finetune", "--epochs", 100000)

    code, said, last = stop(training, signal.SIGTERM, saved(run))
    assert (code, said) == (143, "")
    newest = checkpoint.steps(run)[0]
    assert last == f"kinema: interrupted; {newest} is saved; the same command with --resume goes on from there"
    assert checkpoint.read(newest).state.step == int(newest.name.removeprefix("step-"))

    code, said, last = stop(measuring, signal.SIGINT, saved(out / "protocols" / "finetune-seed0"))
    assert code == 130
    assert len(said.splitlines()) == 2
    assert last == f"kinema: interrupted; {out}/metrics.json has raw-knn, knn; the same command goes on from there"
    metrics = json.loads((out / "metrics.json").read_text())
    assert (list(metrics["protocols"]), metrics["missing"]) == (["raw-knn", "knn"], ["finetune"])
    assert not (out / "report.html").exists()

    again = good(*words, "raw-knn", "knn")
    assert len(re.findall(r"\(kept\)", again)) == 2
    after = json.loads((out / "metrics.json").read_text())
    assert (after["protocols"], after["missing"]) == (metrics["protocols"], [])
    assert np.isfinite(after["nearest_neighbour"]["trained"])


@pytest.mark.slow
@pytest.mark.parametrize("group", [True, False], ids=["terminal", "first process alone"])
def test_several_processes_of_the_real_command(made, tmp_path, group):
    run = tmp_path / "run"
    training = begin(*long(made.train), "--out", run, "--devices", 2)
    code, said, last = stop(training, signal.SIGINT, saved(run), group)
    assert (code, said) == (130, "")
    assert last.startswith(f"kinema: interrupted; {run}/checkpoints/step-")
