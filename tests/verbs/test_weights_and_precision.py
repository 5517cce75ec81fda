"""Which weights and which precision a run is used in, through the real commands, on this machine and on another."""

import json
import shutil

import numpy as np
import pytest
import torch

from kinema import cli
from kinema.data.store import Store
from kinema.recognition import protocols
from kinema.recognition.protocols import weights_digest
from kinema.recognition.run import open_run
from kinema.training import precision
from kinema.training.checkpoint import AVERAGE, read_weights
from kinema.training.precision import Verdict


def kinema_(*words):
    return cli.main([str(word) for word in words])


@pytest.fixture
def machine(monkeypatch):
    """Puts the process on a machine where bf16 pays, or does not."""

    def put(pays):
        monkeypatch.setattr(precision, "_judged", lambda kind: Verdict(pays, "for a test"))

    return put


def features(path):
    with np.load(path) as found:
        return found["features"]


def config(folder):
    return json.loads((folder / "config.json").read_text())


def precisions(folder):
    found = config(folder)
    return found["fit"]["precision"], found["recipe"]["precision"], found["recipe"]["supervision"]["precision"]


@pytest.fixture
def auto(made):
    """The words of a training in the preset's own precision."""
    words = list(made.train)
    return words[: words.index("--precision")]


@pytest.mark.parametrize("here", [True, False])
def test_a_run_from_another_machine_is_never_slow_here(good, made, auto, machine, tmp_path, here):
    low, other = ("bf16", "32") if here else ("32", "bf16")
    machine(here)
    run = tmp_path / "run"
    good(*auto, "--out", run, "--max-steps", 3)
    assert precisions(run) == (low, low, "auto")
    machine(not here)
    good(*auto, "--out", run, "--resume")
    assert precisions(run) == (low, low, "auto"), "it goes on as it began"

    good("embed", run, made.store, "--out", tmp_path / "there.npz")
    machine(here)
    good("embed", run, made.store, "--out", tmp_path / "here.npz")
    trained = open_run(run)
    clips = [trained.recipe.prepare(clip) for clip in stored(made)]
    exact = protocols.features(
        trained.encoder(), clips, pooling="joints", crop=trained.recipe.crop, views=trained.recipe.probe_views, precision="32"
    )
    in_bf16 = not np.array_equal(features(tmp_path / "here.npz"), exact)
    assert in_bf16 == here
    np.testing.assert_array_equal(features(tmp_path / "there.npz"), exact)  # a run in fp32 stays so where bf16 pays

    tune = (
        "finetune",
        run,
        "--data",
        made.store,
        "--split",
        "view",
        "--epochs",
        1,
        "--accelerator",
        "cpu",
        "--out",
        tmp_path / "c",
    )
    good(*tune)
    assert precisions(tmp_path / "c") == (low, low, low)
    machine(not here)
    good(*tune)  # it is there already
    assert precisions(tmp_path / "c") == (low, low, low)
    good(*tune[:-1], tmp_path / "d")
    assert precisions(tmp_path / "d") == (other, low, other), "another training is settled anew"
    good(*tune[:-1], tmp_path / "e", "--set", f"supervision.precision={low}")
    assert precisions(tmp_path / "e") == (low, low, low), "who asks gets it"

    def told():
        said = json.loads(good("recognize", made.store, "--run", tmp_path / "c", "--json"))
        return said["labels"]

    one = told()
    machine(here)
    assert (told() == one) == (not here), "a classifier too is used in bf16 only where it pays"


def stored(made):
    store = Store.open(made.store)
    return [store.clip(i) for i in range(len(store))]


def test_runs_of_machines_that_settled_otherwise_are_averaged(good, made, auto, machine, tmp_path, capfd):
    for seed, pays in enumerate((True, False)):
        machine(pays)
        good(*auto, "--out", tmp_path / str(seed), "--seed", seed)
    shared = ("--data", made.store, "--split", "view", "--accelerator", "cpu", "--out", tmp_path / "e")
    protocols_asked = ("--protocols", "linear", "finetune", "--epochs", 1)
    good("evaluate", tmp_path / "0", tmp_path / "1", *shared, *protocols_asked)
    assert precisions(tmp_path / "e" / "protocols" / "finetune-seed0") == ("32", "bf16", "32")


def test_an_older_run_that_says_bf16_opens_resumes_and_is_evaluated(good, made, auto, machine, tmp_path):
    """Presets said bf16 themselves, for pre-training and for classifiers, whatever the machine."""
    run = tmp_path / "run"
    machine(True)
    older = (*auto, "--precision", "bf16", "--set", "supervision.precision=bf16", "--out", run)
    good(*older, "--max-steps", 3)
    assert precisions(run) == ("bf16", "bf16", "bf16")
    machine(False)
    good(*auto, "--out", run, "--resume")
    assert precisions(run) == ("bf16", "bf16", "bf16")
    shared = ("--data", made.store, "--split", "view", "--accelerator", "cpu", "--protocols", "finetune", "--epochs", 1)
    good("evaluate", run, *shared, "--out", tmp_path / "e")
    assert precisions(tmp_path / "e" / "protocols" / "finetune-seed0") == ("32", "bf16", "32")


def test_kept_features_of_a_store_are_not_mixed_with_those_of_another_precision(good, made, auto, machine, tmp_path):
    machine(True)
    run = tmp_path / "run"
    good(*auto, "--out", run)
    ask = ("retrieve", made.store, "--data", made.store, "--run", run, "--out", tmp_path / "r.png")
    assert "computing features" in good(*ask)
    assert "computing features" not in good(*ask)
    machine(False)
    said = good(*ask)
    assert "of another way to compute them" in said
    assert "computing features" in said


# averaged weights


@pytest.fixture(scope="module")
def averaged(made, tmp_path_factory):
    """A run that keeps an average, far from its last weights."""
    folder = tmp_path_factory.mktemp("averaged")
    assert kinema_(*made.train, "--set", "ema=0.99", "--lr", 0.01, "--out", folder / "run") == 0
    return folder / "run"


def test_a_run_with_an_ema_is_used_by_its_averaged_weights(good, made, averaged, tmp_path, capfd):
    held = read_weights(averaged)
    average = {name.removeprefix(AVERAGE): value for name, value in held.items() if name.startswith(AVERAGE)}
    assert average
    assert not torch.equal(average["norm.weight"], held["norm.weight"])
    assert all(
        torch.equal(value, average.get(name, held[name])) for name, value in open_run(averaged).encoder().state_dict().items()
    )
    assert all(torch.equal(value, held[name]) for name, value in open_run(averaged, last=True).encoder().state_dict().items())

    good("embed", averaged, made.store, "--out", tmp_path / "a.npz")
    good("embed", averaged, made.store, "--out", tmp_path / "l.npz", "--weights", "last")
    good("embed", made.run, made.store, "--out", tmp_path / "n.npz")
    good("embed", made.run, made.store, "--out", tmp_path / "m.npz", "--weights", "last")
    assert np.abs(features(tmp_path / "a.npz") - features(tmp_path / "l.npz")).max() > 1e-3
    np.testing.assert_array_equal(features(tmp_path / "n.npz"), features(tmp_path / "m.npz"))


def test_the_weights_that_are_used_are_told(made, averaged, tmp_path, capfd):
    for words, said in (
        (("embed", averaged), True),
        (("embed", averaged, "--weights", "last"), False),
        (("embed", made.run), False),
    ):
        assert kinema_(words[0], words[1], made.store, "--out", tmp_path / "f.npz", *words[2:]) == 0
        err = capfd.readouterr().err
        assert (f"{averaged}: its averaged weights are used (ema 0.99); --weights last takes" in err) == said
        assert err.count("\n") == said
    begin = (*made.train, "--max-steps", 1, "--init")
    assert kinema_(*begin, averaged, "--out", tmp_path / "one") == 0
    assert "this run begins from its averaged weights" in capfd.readouterr().err
    assert kinema_(*begin, made.run, "--out", tmp_path / "two") == 0
    assert "averaged" not in capfd.readouterr().err


def test_a_run_begins_from_averaged_weights(good, made, averaged, tmp_path):
    good(*made.train, "--max-steps", 1, "--lr", 1e-9, "--init", averaged, "--out", tmp_path / "run")
    begun, average = open_run(tmp_path / "run").encoder(), open_run(averaged).encoder()
    for name, value in begun.state_dict().items():
        torch.testing.assert_close(value, average.state_dict()[name], atol=1e-7, rtol=1e-5)


def test_classifiers_and_measures_are_of_the_weights_that_were_asked_for(good, made, averaged, tmp_path):
    shared = ("--data", made.store, "--split", "view", "--accelerator", "cpu", "--epochs", 1)
    for weights, last in (("average", False), ("last", True)):
        good("evaluate", averaged, *shared, "--weights", weights, "--protocols", "linear", "finetune", "--out", tmp_path / "e")
        assert json.loads((tmp_path / "e" / "metrics.json").read_text())["weights"] == weights
        name = "finetune-last-seed0" if last else "finetune-seed0"
        began = weights_digest(open_run(averaged, last=last).encoder().alone())
        assert config(tmp_path / "e" / "protocols" / name)["encoder"] == began
        good("finetune", averaged, *shared, "--weights", weights, "--out", tmp_path / weights)
        assert config(tmp_path / weights)["encoder"] == began
    good("evaluate", made.run, *shared, "--protocols", "linear", "--out", tmp_path / "n")
    assert json.loads((tmp_path / "n" / "metrics.json").read_text())["weights"] == "last"


def test_kept_features_are_of_the_weights_that_were_asked_for(good, made, averaged, tmp_path):
    ask = ("retrieve", made.store, "--data", made.store, "--run", averaged, "--out", tmp_path / "r.png")
    good(*ask)
    assert "computing features" not in good(*ask)
    assert "features of other weights" in good(*ask, "--weights", "last")
    assert "computing features" not in good(*ask, "--weights", "last")


def test_a_recipe_that_promises_an_average_which_is_not_there(made, tmp_path, capfd):
    shutil.copytree(made.run, tmp_path / "run")
    changed = config(tmp_path / "run")
    changed["recipe"]["ema"] = 0.9
    (tmp_path / "run" / "config.json").write_text(json.dumps(changed))
    assert kinema_("embed", tmp_path / "run", made.store, "--out", tmp_path / "f.npz") == 2
    assert "holds no averaged weights" in capfd.readouterr().err.splitlines()[-1]
    assert kinema_("embed", tmp_path / "run", made.store, "--out", tmp_path / "f.npz", "--weights", "last") == 0
