"""`kinema data stage`: a world as a store, whole or not at all."""

import errno
import os

import numpy as np
import pytest

from kinema import cli
from kinema.data.stage import signs1, stage1, world
from kinema.data.store import Store


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def sizes(module, name, count):
    tested = [module.SPLITS[name](module.draw(i)) for i in range(100)]
    tests = sum(tested[:count])
    least = 1 + max(tested.index(True), tested.index(False))
    return f"split {name} {count - tests} / {tests}" if 0 < tests < count else f"split {name} needs {least} clips or more"


@pytest.mark.parametrize(("name", "module", "skeleton"), [("stage-1", stage1, "smpl22"), ("signs-1", signs1, "sign49")])
def test_a_world_becomes_a_store(good, tmp_path, name, module, skeleton):
    said = good("data", "stage", name, "--out", tmp_path / "s", "--clips", 8)
    store = Store.open(tmp_path / "s")
    parts = ", ".join(sizes(module, split, 8) for split in sorted(module.SPLITS))
    assert said == f"{tmp_path / 's'}: 8 clips, {len(module.CLASSES)} classes, skeleton {skeleton}; {parts}\n"
    assert (store.name, store.classes) == (name, module.CLASSES)
    np.testing.assert_array_equal(store.clip(5).positions, module.clip(5).positions)
    assert "whole; 8 clips" in good("data", "check", tmp_path / "s")


def test_all_of_it_is_written_by_default(monkeypatch, good, tmp_path):
    monkeypatch.setitem(world.WORLDS, "stage-1", (world.write, 3))
    assert "3 clips" in good("data", "stage", "stage-1", "--out", tmp_path / "s")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("error", "code", "line"),
    [(KeyboardInterrupt(), 130, "interrupted"), (OSError(errno.ENOSPC, "No space left on device"), 2, "the disk is full")],
    ids=["interrupted", "full"],
)
def test_what_was_not_finished_leaves_nothing(monkeypatch, good, capfd, tmp_path, overwrite, error, code, line):
    words = ("data", "stage", "signs-1", "--out", tmp_path / "s", "--clips", 4)
    if overwrite:
        good(*words)
        words = (*words, "--overwrite")
    before = contents(tmp_path)
    made = signs1.clip

    def clip(index):
        if index == 3:
            raise error
        return made(index)

    monkeypatch.setattr(signs1, "clip", clip)
    capfd.readouterr()
    assert cli.main([str(word) for word in words]) == code
    assert line in capfd.readouterr().err
    assert contents(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == (["s"] if overwrite else [])
    monkeypatch.undo()
    good(*words)
    assert Store.open(tmp_path / "s").entries[3].id == "000003"


def test_nothing_is_written_over(good, bad, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text").write_text("precious")
    good("data", "stage", "stage-1", "--out", tmp_path / "s", "--clips", 2)
    before = contents(tmp_path)
    assert "there is a store already; give --overwrite" in bad("data", "stage", "stage-1", "--out", tmp_path / "s", "--clips", 3)
    said = bad("data", "stage", "stage-1", "--out", tmp_path / "thesis", "--clips", 3, "--overwrite")
    assert "exists and is not a store; it is left alone" in said
    assert "cannot write here" in bad("data", "stage", "stage-1", "--out", tmp_path / "thesis" / "text" / "s")
    assert contents(tmp_path) == before
    good("data", "stage", "stage-1", "--out", tmp_path / "s", "--clips", 3, "--overwrite")
    assert len(Store.open(tmp_path / "s")) == 3
    assert sorted(os.listdir(tmp_path)) == ["s", "thesis"]
