"""How a run was made: written down apart from its configuration, and never in the way of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from toys import stage

from kinema.training import made as made_
from kinema.training.fit import fit
from kinema.training.made import MADE, asked, command, commit, made, read_made

OPTIONS = {"config": {"preset": "toy"}, "accelerator": "cpu", "quiet": True}
KEYS = {"command", "kinema", "commit", "torch", "python", "device", "processes", "date", "seconds"}


def test_every_part_of_a_run_is_written_down_and_the_configuration_stays(tmp_path):
    with asked(("train", "toy", "--max-steps", "3")):
        fit([stage()], tmp_path / "r", max_steps=3, **OPTIONS)
    before = (tmp_path / "r" / "config.json").read_bytes()
    with asked(("train", "toy", "--resume")):
        fit([stage()], tmp_path / "r", resume=True, **OPTIONS)
    parts = read_made(tmp_path / "r")
    assert [part["command"] for part in parts] == ["kinema train toy --max-steps 3", "kinema train toy --resume"]
    assert all(set(part) == KEYS and part["seconds"] >= 0 for part in parts)
    assert (tmp_path / "r" / "config.json").read_bytes() == before


def test_a_run_without_it_goes_on(tmp_path):
    fit([stage()], tmp_path / "r", max_steps=3, **OPTIONS)
    (tmp_path / "r" / MADE).unlink()
    assert fit([stage()], tmp_path / "r", resume=True, **OPTIONS).finished
    assert len(read_made(tmp_path / "r")) == 1


@pytest.mark.parametrize("text", ["", "{", "3", '{"a": 1}', "[1, null]", "[" * 100_000, b"\xff\xfe".decode("latin1")])
def test_what_cannot_be_read_is_nothing(tmp_path, text):
    (tmp_path / MADE).write_text(text, encoding="latin1")
    assert read_made(tmp_path) == []


def test_a_run_that_is_said_again_adds_nothing(tmp_path):
    for resume in (False, True):
        fit([stage()], tmp_path / "r", resume=resume, **OPTIONS)
    assert len(read_made(tmp_path / "r")) == 1


def test_a_part_that_was_killed_is_told_as_far_as_its_checkpoints_go(tmp_path):
    def killed(end):
        if end.epoch == 2:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fit([stage()], tmp_path / "r", on_epoch=killed, **OPTIONS)
    [part] = read_made(tmp_path / "r")
    assert part["seconds"] >= 0


def test_the_command_is_told_as_it_is_typed_without_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/somebody")
    with asked(("train", "mamp", "--out", "/home/somebody/my runs/a b", "--data", "/home/somebody-else/x")):
        assert command() == "kinema train mamp --out ~/'my runs/a b' --data /home/somebody-else/x"
    monkeypatch.setattr(sys, "argv", ["/home/somebody/code/study.py", "--fast"])
    assert command() == "study.py --fast"
    for home in ("/", ""):
        monkeypatch.setenv("HOME", home)
        with asked(("show", "/a/b")):
            assert command() == "kinema show /a/b"


def git(folder, *words):
    name = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(["git", "-C", str(folder), *name, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_code_and_not_of_what_it_lies_in(monkeypatch, tmp_path):
    package = tmp_path / "kinema" / "training"
    package.mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("a")
    (package.parent / "__init__.py").write_text("")
    monkeypatch.setattr(made_, "__file__", str(package / "made.py"))
    assert commit() is None  # no checkout
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "notes.txt")
    git(tmp_path, "commit", "-qm", "notes")
    assert commit() is None  # installed inside somebody's own checkout
    git(tmp_path, "add", "kinema")
    git(tmp_path, "commit", "-qm", "code")
    assert commit() == git(tmp_path, "rev-parse", "HEAD")[:12]
    (package.parent / "__init__.py").write_text("changed")
    assert commit() == git(tmp_path, "rev-parse", "HEAD")[:12] + "+"
    monkeypatch.setenv("PATH", "")
    assert commit() is None  # no git


def test_it_is_json_and_names_the_device():
    told = made("cpu")
    assert json.loads(json.dumps(told)) == told
    assert told["device"].startswith("cpu (")
    assert Path.home().as_posix() not in json.dumps({**told, "command": ""})
