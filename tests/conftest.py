"""What the tests of the command line share: running a verb, and a little world to run it on."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent / "motion"))
import writers

from kinema import cli

TINY = ("--set", "model.encoder.width=16", "--set", "model.encoder.depth=1", "--set", "model.encoder.heads=2")
TINY += ("--set", "model.decoder_width=16", "--set", "model.decoder_depth=1", "--set", "model.encoder.frames=8")
TINY += ("--epochs", "1", "--batch-size", "4", "--accelerator", "cpu", "--precision", "32")


def kinema_(*arguments):
    return cli.main([str(a) for a in arguments])


@pytest.fixture
def good(capfd):
    """Runs a verb that must succeed; gives what it printed."""

    def run(*arguments):
        code = kinema_(*arguments)
        captured = capfd.readouterr()
        assert code == 0, captured.err
        return captured.out

    return run


@pytest.fixture
def bad(capfd):
    """Runs a verb that must fail as a user's mistake; gives its one line."""

    def run(*arguments):
        capfd.readouterr()
        code = kinema_(*arguments)
        captured = capfd.readouterr()
        assert code == 2, captured
        assert captured.err.startswith("kinema: ")
        assert captured.err.count("\n") == 1, captured.err
        assert captured.err.endswith("\n")
        assert "Traceback" not in captured.err
        return captured.err

    return run


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder of NW-UCLA files, its store, a trained run, and the run of another seed."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "raw").mkdir()
    for i in range(24):
        name = f"a{[1, 2, 3][i % 3]:02}_s{i % 4 + 1:02}_e00_v{i // 8 + 1:02}"
        writers.nw_ucla(folder / "raw", writers.people("nw-ucla", frames=10, seed=i), name)
    assert kinema_("data", "build", folder / "raw", "--dataset", "nw-ucla", "--out", folder / "store", "--workers", 1) == 0
    train = ("train", "mamp", "--data", folder / "store", "--split", "view", *TINY)
    assert kinema_(*train, "--out", folder / "run") == 0
    assert kinema_(*train, "--out", folder / "other", "--seed", 1) == 0
    return SimpleNamespace(
        raw=folder / "raw", store=folder / "store", run=folder / "run", other=folder / "other", train=train, tiny=TINY
    )
