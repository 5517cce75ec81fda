"""What the machine refuses, memory, disk, permission, is one line too; and nothing is half-written or lost."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema import cli
from kinema.data.store import FRAMES, INDEX
from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.formats import npz
from kinema.motion.skeletons import SBU15
from kinema.verbs import about


def kinema_(*arguments):
    return cli.main([str(a) for a in arguments])


def snapshot(folder):
    return {p: p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file() and p.name != ".lock"}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/d/x"), "/d/x: No space left on device; free some space"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error; look at"),
        (PermissionError(errno.EACCES, "Permission denied", "/d/x"), "/d/x: Permission denied"),
        (MemoryError(), "not enough memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried\nto allocate"), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory"),
        (UserError("a\nb\x1b[2J"), r"a b\\x1b\[2J"),
    ],
)
def test_what_the_machine_refuses_is_one_line(bad, monkeypatch, error, said):
    def fail():
        raise error

    monkeypatch.setattr(about, "papers", fail)
    assert re.search(said, bad("papers"))


def test_our_own_mistake_is_ours(capfd, monkeypatch):
    monkeypatch.setattr(about, "papers", lambda: 1 // 0)
    assert kinema_("papers") == 1
    said = capfd.readouterr().err
    assert "ZeroDivisionError" in said
    assert said.endswith("kinema: this is our fault, not yours; please report it with the lines above\n")


def test_a_reader_that_leaves_is_no_error():
    """What `kinema data --help | true` does."""
    reader, writer = os.pipe()
    os.close(reader)
    script = "import sys; from kinema.cli import main; sys.exit(main(['data', '--help']))"
    done = subprocess.run([sys.executable, "-c", script], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_takes_nothing():
    script = "import sys; from kinema.cli import main; sys.exit(main(['data', '--help']))"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "kinema: No space left on device; free some space and run again\n")


def full_disk(descriptor):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("what", ["train", "build", "embed", "show", "evaluate"])
def test_a_full_disk_leaves_nothing_half_written(bad, made, tmp_path, monkeypatch, what):
    out = tmp_path / {"embed": "f.npz", "show": "f.png"}.get(what, "out")
    verbs = {
        "train": made.train,
        "build": ("data", "build", made.raw, "--dataset", "nw-ucla", "--workers", 1),
        "embed": ("embed", made.run, made.store, "--accelerator", "cpu"),
        "show": ("show", made.store),
        "evaluate": (
            "evaluate",
            made.run,
            "--data",
            made.store,
            "--split",
            "view",
            "--protocols",
            "raw-knn",
            "--accelerator",
            "cpu",
        ),
    }
    monkeypatch.setattr(os, "fsync", full_disk)
    said = bad(*verbs[what], "--out", out)
    assert "the disk is full" in said or "No space left" in said
    assert str(tmp_path) in said
    monkeypatch.undo()
    left = [p for p in tmp_path.rglob("*") if p.is_file() and p.name not in (".lock", "lock")]
    assert left == []
    assert kinema_(*verbs[what], "--out", out) == 0, "the same command works once there is room"


def test_a_disk_that_fills_up_while_training(bad, made, tmp_path, monkeypatch, good):
    out = ("--out", tmp_path / "r")
    good(*made.train, *out, "--max-steps", 1)
    before = snapshot(tmp_path / "r" / "checkpoints")
    monkeypatch.setattr(os, "fsync", full_disk)
    said = bad(*made.train, *out, "--resume")
    assert "the disk is full" in said or "No space left" in said
    monkeypatch.undo()
    assert snapshot(tmp_path / "r" / "checkpoints") == before
    assert "finished after 4 steps" in good(*made.train, *out, "--resume")


@pytest.mark.parametrize("what", ["train", "build", "embed", "show", "evaluate", "import-weights", "demo"])
@pytest.mark.parametrize("how", ["under a file", "read-only"])
def test_a_place_that_cannot_be_written(bad, made, tmp_path, monkeypatch, what, how):
    file = tmp_path / "file"
    file.write_text("precious")
    name = {"embed": "f.npz", "show": "f.png"}.get(what, "out")
    verbs = {
        "train": made.train,
        "build": ("data", "build", made.raw, "--dataset", "nw-ucla", "--workers", 1),
        "embed": ("embed", made.run, made.store),
        "show": ("show", made.store),
        "evaluate": ("evaluate", made.run, "--data", made.store, "--split", "view"),
        "import-weights": ("import-weights", "mamp", file, "--preset", "paper-ntu60"),
        "demo": ("demo",),
    }
    if how == "read-only":  # root may write anywhere, so the system's answer is given for it
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    said = bad(*verbs[what], "--out", (file if how == "under a file" else tmp_path / "folder") / name)
    assert "cannot write here" in said
    assert "choose another --out" in said
    assert snapshot(tmp_path) == {file: b"precious"}


def test_a_store_is_not_written_over_a_file_or_a_folder_of_something_else(bad, made, tmp_path):
    build = ("data", "build", made.raw, "--dataset", "nw-ucla", "--workers", 1, "--overwrite", "--out")
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("precious")
    before = snapshot(tmp_path)
    for name in ("file", "folder"):
        assert name in bad(*build, tmp_path / name)
    assert snapshot(tmp_path) == before


def test_damaged_stores(bad, made, tmp_path):
    for name, spoil in {
        "cut": lambda f: (f / FRAMES).write_bytes((f / FRAMES).read_bytes()[:500]),
        "empty": lambda f: (f / INDEX).write_text(""),
        "half": lambda f: (f / INDEX).write_text((f / INDEX).read_text()[:300]),
        "other": lambda f: (f / INDEX).write_text("[]"),
    }.items():
        shutil.copytree(made.store, tmp_path / name)
        spoil(tmp_path / name)
        for verb in (
            ["data", "check", tmp_path / name],
            ["show", tmp_path / name],
            ["train", "mamp", "--data", tmp_path / name, "--out", tmp_path / "r"],
        ):
            assert str(tmp_path / name) in bad(*verb)
    flipped = tmp_path / "flipped"
    shutil.copytree(made.store, flipped)
    content = bytearray((flipped / FRAMES).read_bytes())
    content[len(content) // 2] ^= 1
    (flipped / FRAMES).write_bytes(content)
    assert "checksum does not match" in bad("data", "check", flipped)
    assert not (tmp_path / "r").exists()


def test_a_file_name_that_is_no_text(bad, tmp_path):
    (tmp_path / "raw").mkdir()
    npz.write(Clip(np.ones((2, 1, 15, 3), np.float32), SBU15), tmp_path / "raw" / "a.npz")
    os.rename(tmp_path / "raw" / "a.npz", os.fsencode(tmp_path / "raw") + b"/a\xff.npz")
    said = bad("data", "build", tmp_path / "raw", "--out", tmp_path / "s", "--workers", 1)
    assert "rename the file" in said
    assert r"a\udcff" in said
    assert not (tmp_path / "s").exists()
