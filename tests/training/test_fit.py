"""What every method may rely on: resumed, cut up or spread out, a run is the same run."""

import json
import os
import signal
import time
from dataclasses import replace

import pytest
import torch
import toys
from toys import KINDS, Regression, Table, log, same, stage

from kinema import files
from kinema.errors import CheckpointError, UserError
from kinema.training import checkpoint, processes
from kinema.training.fit import Every, fit
from kinema.training.method import Method, Optimiser, Schedule
from kinema.training.processes import Layout, layout

OPTIONS = {"config": {"preset": "toy"}, "accelerator": "cpu", "log_every": 1, "quiet": True}


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """What a power cut would do is not tested here."""
    monkeypatch.setattr(files, "sync", lambda path: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def run(folder, *stages, **over):
    return fit(stages, folder, **{**OPTIONS, **over})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resumed_equals_uninterrupted(tmp_path, kind, accumulate):
    whole = stage(kind, accumulate=accumulate, ema=0.9)
    run(tmp_path / "whole", whole, log_every=2)
    for steps in (1, 5, None):  # in the middle of epochs, and of a mean of the log
        part = stage(kind, accumulate=accumulate, ema=0.9)
        result = run(tmp_path / "parts", part, max_steps=steps, resume=steps != 1, log_every=2)
        assert (result.finished, result.step) == (steps is None, steps or 12)
    assert same(whole.method, part.method)
    assert log(tmp_path / "whole") == log(tmp_path / "parts")
    left, right = (checkpoint.newest(tmp_path / name) for name in ("whole", "parts"))
    for a, b in ((left.model, right.model), (left.training, right.training)):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a)
    assert left.state == right.state


def test_dropout_is_replayed(tmp_path):
    def wet():
        return stage(method=lambda: Regression(dropout=0.5))

    run(tmp_path / "whole", wet())
    run(tmp_path / "parts", wet(), max_steps=4)
    torch.rand(10)  # whatever happened meanwhile
    run(tmp_path / "parts", wet(), resume=True)
    assert log(tmp_path / "whole") == log(tmp_path / "parts")


def assert_close(tmp_path, kind, reference, other):
    for a, b in zip(log(tmp_path / "whole"), log(tmp_path / "cut"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4, abs=1e-5), (kind, a["step"])
    for name, weight in reference.items():
        torch.testing.assert_close(other[name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_equal_the_whole_batch(tmp_path, kind):
    whole, cut = stage(kind), stage(kind, accumulate=8)
    run(tmp_path / "whole", whole)
    run(tmp_path / "cut", cut)
    assert_close(tmp_path, kind, whole.method.state_dict(), cut.method.state_dict())


@pytest.mark.parametrize("kind", ["momentum", "codebook", pytest.param("regression", marks=pytest.mark.slow), "policy"])
def test_two_processes_equal_one(tmp_path, kind):
    whole = stage(kind)
    run(tmp_path / "whole", whole)

    def action():
        both = stage(kind, accumulate=2 if kind == "momentum" else 1)
        if os.environ["RANK"] == "1":  # the first process's weights and buffers count
            torch.nn.init.zeros_(next(both.method.parameters()).data)
        first = run(tmp_path / "cut", both, max_steps=5)
        assert first.step == 5
        again = run(tmp_path / "cut", stage(kind, accumulate=2 if kind == "momentum" else 1), resume=True)
        assert again.finished

    toys.two_processes(action)
    assert_close(tmp_path, kind, whole.method.state_dict(), checkpoint.read_weights(tmp_path / "cut"))


def test_batch_statistics_of_two_processes_are_those_of_one(tmp_path):
    def normed():
        # plain SGD: Adam would blow up the rounding of a gradient that is exactly zero, that of a bias before batch norm
        return stage(method=lambda: Regression(norm=True), optimiser=Optimiser("sgd", lr=0.1))

    whole = normed()
    run(tmp_path / "whole", whole)
    toys.two_processes(lambda: run(tmp_path / "cut", normed()))
    assert_close(tmp_path, "norm", whole.method.state_dict(), checkpoint.read_weights(tmp_path / "cut"))


def test_two_processes_stages_errors_and_stop(tmp_path):
    def shared_stages():
        method = Regression()
        return stage(name="a", method=method, epochs=1, freeze=("encoder.*",)), stage(name="b", method=method, epochs=2)

    torch.manual_seed(7)
    one = shared_stages()
    run(tmp_path / "whole", *one)

    def action():
        torch.manual_seed(7)
        both = shared_stages()
        if os.environ["RANK"] == "1":  # a signal that only one process hears stops both
            both[1].source.batch = _raising_at(both[1].source.batch, 2, lambda: signal.raise_signal(signal.SIGTERM))
        stopped = run(tmp_path / "cut", *both)
        assert stopped.step == 6
        with pytest.raises(UserError, match="--resume"):
            run(tmp_path / "cut", *both)
        torch.manual_seed(7)
        run(tmp_path / "cut", *shared_stages(), resume=True)

    toys.two_processes(action)
    assert_close(tmp_path, "stages", one[1].method.state_dict(), checkpoint.read_weights(tmp_path / "cut"))


def _raising_at(batch, index, action):
    def wrapped(step):
        if step.index == index:
            action()
        return batch(step)

    return wrapped


@pytest.mark.parametrize("kind", KINDS)
def test_skipped_step_leaves_everything(tmp_path, kind):
    method = KINDS[kind]()
    at = stage(kind, method=method, ema=0.5)
    run(tmp_path / "a", at, max_steps=3)
    before = checkpoint.newest(tmp_path / "a")
    bad = stage(kind, method=method, ema=0.5)
    bad.source.poison = (3,)
    if kind == "policy":  # its own state moves on, as it does at every step
        before.training.pop("source.baseline")
    result = run(tmp_path / "a", bad, max_steps=4, resume=True)
    after = checkpoint.newest(tmp_path / "a")
    assert result.skipped == 1
    assert log(tmp_path / "a")[-1]["skipped"] == 1
    assert log(tmp_path / "a")[-1]["loss"] is None
    assert all(torch.equal(after.model[k], v) for k, v in before.model.items())
    assert all(torch.equal(after.training[k], v) for k, v in before.training.items())
    assert (after.state.step, after.state.consecutive) == (4, 1)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_skipping_on_the_device_equals_skipping_on_the_host(tmp_path, kind, monkeypatch):
    from kinema.training import update

    made = []
    original = update.Update.__init__
    for deferred in (True, False):
        monkeypatch.setattr(update.Update, "__init__", lambda self, *a, d=deferred, **k: original(self, *a, **{**k, "deferred": d}))
        one = stage(method=lambda: Regression(norm=True), source=Table(poison=(0, 1, 5)), optimiser=Optimiser(kind, lr=0.05))
        result = run(tmp_path / str(deferred), one)
        assert result.skipped == 3
        made.append(one.method)
    assert same(*made)
    assert torch.isfinite(made[0].norm.running_mean).all()
    assert log(tmp_path / "True") == log(tmp_path / "False")


@pytest.mark.parametrize("deferred", [True, False])
def test_many_bad_steps_name_the_rows(tmp_path, deferred, monkeypatch):
    from kinema.training import update

    original = update.Update.__init__
    monkeypatch.setattr(update.Update, "__init__", lambda self, *a, **k: original(self, *a, **{**k, "deferred": deferred}))
    source = Table(poison=tuple(range(2, 12)))
    rows = []
    batch = source.batch
    source.batch = lambda step: rows.append(batch(step)) or rows[-1]
    with pytest.raises(UserError, match=r"step 6: .* 5 times in a row") as caught:
        run(tmp_path, stage(source=source), log_every=100)
    assert f"batch: {', '.join(map(str, rows[6].index.tolist()))})" in str(caught.value)


def test_frozen_weights_stay_and_come_back(tmp_path):
    method = Regression()
    before = {k: v.clone() for k, v in method.state_dict().items()}
    run(tmp_path / "a", stage(method=method, freeze=("encoder.*",)))
    assert torch.equal(method.encoder.weight, before["encoder.weight"])
    assert not torch.equal(method.head.weight, before["head.weight"])
    assert method.encoder.weight.requires_grad
    with pytest.raises(UserError, match=r"'encodr\.\*' matches no parameter"):
        run(tmp_path / "b", stage(freeze=("encodr.*",)))
    with pytest.raises(UserError, match="nothing to train"):
        run(tmp_path / "c", stage(freeze=("*",)))


def three_stages():
    """The first two share a method, the third has its own, which shares a module with theirs."""
    torch.manual_seed(3)
    one, other = Regression(), Regression()
    other.encoder = one.encoder
    return (
        stage(name="head", method=one, epochs=1, freeze=("encoder.*",)),
        stage(name="all", method=one, epochs=2, ema=0.5),
        stage(name="other", method=other, epochs=1.5, freeze=("encoder.*",)),
    )


def test_stages_resume_in_the_right_one(tmp_path):
    whole = three_stages()
    assert run(tmp_path / "whole", *whole).step == 3 + 6 + 4
    for steps in (2, 3, 10, None):
        part = three_stages()
        run(tmp_path / "parts", *part, max_steps=steps, resume=steps != 2, keep=1)
    assert all(same(a.method, b.method) for a, b in zip(whole, part, strict=True))
    assert log(tmp_path / "whole") == log(tmp_path / "parts")
    assert [line["stage"] for line in log(tmp_path / "whole")] == ["head"] * 3 + ["all"] * 6 + ["other"] * 4
    # the last of each stage stays
    assert sorted(p.name for p in (tmp_path / "parts" / "checkpoints").iterdir()) == ["step-13", "step-3", "step-9"]
    again = three_stages()
    done = run(tmp_path / "parts", *again, resume=True)
    assert done.finished
    assert all(same(a.method, b.method) for a, b in zip(whole, again, strict=True))


def test_rates_follow_the_schedule_of_each_group(tmp_path):
    class Two(Regression):
        def parameter_groups(self):
            return [
                {"params": list(self.encoder.parameters()), "lr_scale": 0.1},
                {"params": list(self.head.parameters()), "schedule": Schedule("step", milestones=(1.0, 2.0)), "weight_decay": 0.0},
            ]

    from kinema.training import optim

    method, seen = Two(), []
    schedule = Schedule("cosine", warmup=1, final=0.1)
    optimizer, rates = optim.build(method, Optimiser(lr=2.0), schedule)
    for index in range(12):
        optim.set_rates(optimizer, rates, index / 3, 4)
        seen.append([g["lr"] for g in optimizer.param_groups])
    assert [s[1] for s in seen] == pytest.approx([2.0] * 3 + [0.2] * 3 + [0.02] * 6)
    assert [s[0] for s in seen[:4]] == pytest.approx([0, 0.2 / 3, 0.4 / 3, 0.2])
    assert seen[-1][0] == pytest.approx(0.2 * schedule.factor(11 / 3, 4))
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.05, 0.0]
    run(tmp_path, stage(optimiser=Optimiser(lr=0.3)))
    assert [line["lr"] for line in log(tmp_path)][:4] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_average_is_what_its_definition_says(tmp_path):
    weights = []

    class Spy(Regression):
        def loss(self, batch, step):
            weights.append(self.head.weight.detach().clone())
            return super().loss(batch, step)

    def look(end):
        live = end.method.head.weight.detach().clone()
        with end.averaged() as averaged:
            assert torch.equal(averaged.head.weight, end.average["head.weight"])
            assert not averaged.training
        assert torch.equal(end.method.head.weight, live)
        return {"norm": float(live.norm())}

    method = Spy()
    run(tmp_path, stage(method=method, ema=0.9), on_epoch=look)
    expected = weights[0].clone()
    for weight in [*weights[1:], method.head.weight.detach()]:
        expected = 0.9 * expected + 0.1 * weight
    fresh = Regression()
    checkpoint.load_model(tmp_path, fresh, average=True)
    torch.testing.assert_close(fresh.head.weight.detach(), expected)
    checkpoint.load_model(tmp_path, fresh)
    assert torch.equal(fresh.head.weight, method.head.weight)
    assert [line["evaluation"].keys() for line in log(tmp_path) if "evaluation" in line] == [{"norm"}] * 4


def test_init_from_with_a_prefix(tmp_path):
    first = stage()
    run(tmp_path / "a", first)

    class Other(Regression):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(8, 2)

    second = stage(method=Other(), init_from=tmp_path / "a", init_prefix="encoder.", freeze=("encoder.*",), epochs=1)
    run(tmp_path / "b", second)
    assert torch.equal(second.method.encoder.weight, first.method.encoder.weight)
    with pytest.raises(CheckpointError, match=r"made for another model: 2 misshapen: head\.weight"):
        run(tmp_path / "c", stage(method=Other(), init_from=tmp_path / "a"))
    with pytest.raises(UserError, match="without init_from"):
        stage(init_prefix="encoder.")


def test_bfloat16_learns_and_keeps_float32_weights(tmp_path):
    seen = []

    class Spy(Regression):
        def loss(self, batch, step):
            seen.append(self.encoder(batch.x).dtype)
            return super().loss(batch, step)

    method = Spy()
    run(tmp_path, stage(method=method, epochs=20), precision="bf16")
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    losses = [line["loss"] for line in log(tmp_path)]
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_equals_eager(tmp_path, kind, capfd):
    whole, other = stage(kind), stage(kind)
    run(tmp_path / "whole", whole)
    run(tmp_path / "cut", other, compile=True)
    assert_close(tmp_path, kind, whole.method.state_dict(), other.method.state_dict())
    assert "recompile_limit" not in capfd.readouterr().err


@pytest.fixture
def at_a_terminal():
    """Ctrl-C as Python handles it there; a shell that runs tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("at_a_terminal")
def test_first_signal_saves_second_acts(tmp_path):
    calm = stage()
    run(tmp_path / "whole", calm)
    one = stage()
    one.source.batch = _raising_at(one.source.batch, 4, lambda: signal.raise_signal(signal.SIGINT))
    result = run(tmp_path / "a", one)
    assert (result.interrupted, result.finished, result.step) == (True, False, 5)
    assert result.checkpoint == tmp_path / "a" / "checkpoints" / "step-5"
    part = stage()
    assert run(tmp_path / "a", part, resume=True).finished
    assert same(calm.method, part.method)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def twice():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)

    two = stage()
    two.source.batch = _raising_at(two.source.batch, 4, twice)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", two)
    assert checkpoint.latest(tmp_path / "b").name == "step-3"


def test_a_folder_holds_one_run(tmp_path):
    run(tmp_path, stage(epochs=1))
    with pytest.raises(UserError, match="pass --resume"):
        run(tmp_path, stage(epochs=1))
    with pytest.raises(UserError, match=r"preset \(was \"toy\", now \"other\"\), fit.stages.0.epochs \(was 1, now 2\)"):
        run(tmp_path, stage(epochs=2), resume=True, config={"preset": "other"})
    with pytest.raises(UserError, match=r"fit.seed \(was 0, now 1\)"):
        run(tmp_path, stage(epochs=1), resume=True, seed=1)
    assert json.loads((tmp_path / "config.json").read_text())["preset"] == "toy"

    busy = stage(epochs=1)
    busy.source.batch = _raising_at(busy.source.batch, 1, lambda: run(tmp_path / "x", stage(epochs=1), resume=True))
    with pytest.raises(UserError, match=f"another run .process {os.getpid()}. is using"):
        run(tmp_path / "x", busy)


def test_resume_before_the_first_checkpoint_begins_again(tmp_path):
    class Sudden(Exception):
        pass

    def stop():
        raise Sudden

    whole = stage()
    run(tmp_path / "whole", whole)
    one = stage()
    one.source.batch = _raising_at(one.source.batch, 2, stop)
    with pytest.raises(Sudden):
        run(tmp_path / "a", one)
    assert len(log(tmp_path / "a")) == 2
    two = stage()
    run(tmp_path / "a", two, resume=True)
    assert log(tmp_path / "a") == log(tmp_path / "whole")


def test_damaged_newest_is_passed_over(tmp_path, capsys):
    whole = stage()
    run(tmp_path / "whole", whole)
    run(tmp_path / "a", stage(), max_steps=8)
    newest = checkpoint.latest(tmp_path / "a")
    assert newest.name == "step-8"
    content = bytearray((newest / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (newest / "model.safetensors").write_bytes(content)
    assert checkpoint.latest(tmp_path / "a").name == "step-6"
    assert "damaged" in capsys.readouterr().err
    part = stage()
    run(tmp_path / "a", part, resume=True, checkpoint_every=Every(steps=1))
    assert same(whole.method, part.method)
    assert log(tmp_path / "whole") == log(tmp_path / "a")


def test_bad_options_teach(tmp_path):
    with pytest.raises(UserError, match="8 rows cannot be cut into 1 processes x 3 parts"):
        run(tmp_path / "a", stage(accumulate=3))
    with pytest.raises(UserError, match="accelerator 'gpu'"):
        run(tmp_path / "b", stage(), accelerator="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="accelerator cuda: this machine has none"):
            run(tmp_path / "c", stage(), accelerator="cuda")
    with pytest.raises(UserError, match="epochs 0"):
        stage(epochs=0)
    with pytest.raises(UserError, match="keep 0"):
        run(tmp_path / "d", stage(), keep=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write here"):
        run(tmp_path / "file" / "run", stage())

    class Forgets(Regression):
        def parameter_groups(self):
            return [{"params": [self.head.weight]}]

    with pytest.raises(ValueError, match="every trainable parameter"):
        run(tmp_path / "e", stage(method=Forgets))


def test_progress_without_a_terminal(tmp_path, capfd):
    run(tmp_path, stage(), quiet=False)
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("step 3 of 12  regression  epoch 1.00  loss ")


def test_tensorboard(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    run(tmp_path, stage(epochs=1), tensorboard=True)
    assert list((tmp_path / "tensorboard").glob("events*"))
    from kinema.training import log as log_module

    def absent(folder, step):
        raise UserError("TensorBoard is not installed: pip install tensorboard")

    monkeypatch.setattr(log_module, "_board", absent)
    with pytest.raises(UserError, match="pip install"):
        run(tmp_path / "b", stage(epochs=1), tensorboard=True)


def test_every():
    assert [Every().due(n, 3, 0) for n in range(1, 7)] == [False, False, True, False, False, True]
    assert [Every(epochs=0.5).due(n, 3, 0) for n in range(1, 7)] == [False, True, True, False, True, True]
    assert Every(epochs=None, seconds=60).due(1, 3, 61)
    assert not Every(epochs=None, seconds=60).due(3, 3, 59)
    with pytest.raises(UserError, match="every 0 steps"):
        Every(steps=0)


def test_seconds_between_checkpoints(tmp_path):
    one = stage(epochs=2)
    one.source.batch = _raising_at(one.source.batch, 3, lambda: time.sleep(0.3))
    run(tmp_path, one, checkpoint_every=Every(epochs=None, seconds=0.25), keep=10)
    assert [p.name for p in checkpoint.steps(tmp_path)][:2] == ["step-6", "step-4"]


def test_methods_without_after_step_are_told_apart():
    assert Regression.after_step is Method.after_step
    assert KINDS["momentum"].after_step is not Method.after_step


def test_layout_follows_the_launcher(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_JOB_NAME", "SLURM_NNODES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processes, "cores", lambda: 4)
    assert layout(4, "cpu") == Layout(4, 1)
    with pytest.raises(UserError, match="devices 0"):
        layout(0, "cpu")
    with pytest.raises(UserError, match="devices 5: this machine has 4 processor cores"):
        layout(5, "cpu")
    with pytest.raises(UserError, match="devices 2: mps is one device"):
        layout(2, "mps")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert layout(2, "cuda") == Layout(2, 1)
    with pytest.raises(UserError, match="1000 CUDA devices were asked for, 2 are here"):
        layout(1000, "cuda")
    for name, value in {"SLURM_NTASKS": "16", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}.items():
        monkeypatch.setenv(name, value)
    assert layout(1, "cpu") == Layout(8, 2)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert layout(1, "cpu") == Layout(1, 1)
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    assert layout(1, "cpu") == Layout(3, 2)


def test_a_parameter_that_is_sometimes_unused(tmp_path):
    """As with one process it simply waits; torch's own distribution would give up by default."""

    class Sometimes(Regression):
        def __init__(self):
            super().__init__()
            self.odd, self.never = torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)

        def loss(self, batch, step):
            losses = super().loss(batch, step)
            if step.index % 2:
                losses = replace(losses, total=losses.total + self.odd(batch.x).square().mean())
            return losses

    whole = stage(method=Sometimes)
    run(tmp_path / "whole", whole)
    toys.two_processes(lambda: run(tmp_path / "cut", stage(method=Sometimes)))
    assert_close(tmp_path, "sometimes", whole.method.state_dict(), checkpoint.read_weights(tmp_path / "cut"))


def test_a_carry_of_something_else_is_refused(tmp_path):
    class Odd(Regression):
        def loss(self, batch, step):
            return replace(super().loss(batch, step), carry=batch)

        def after_step(self, carry):
            raise AssertionError

    with pytest.raises(TypeError, match="not Rows"):
        run(tmp_path, stage(method=Odd))
