"""A store that replaces another and is killed before any of its system calls: the name holds the old store or the new one, whole."""

import errno
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from toys import fork

from kinema.data import publish
from kinema.data.build import build
from kinema.data.publish import exchange, hidden
from kinema.data.stage import signs1, world
from kinema.data.store import Store
from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.formats import npz
from kinema.motion.skeletons import NTU25

OLD, NEW = 2, 3
"""Clips of the old store and of the new one."""


def clips(count):
    return [(f"{i}", Clip(np.full((4, 1, 25, 3), count, np.float32), NTU25)) for i in range(count)]


def directly(folder, count):
    Store.write(folder, clips(count), name="x", overwrite=True)


def built(folder, count):
    raw = folder.parent / f"raw-{count}"
    if not raw.exists():
        raw.mkdir()
        for name, clip in clips(count):
            npz.write(clip, raw / f"{name}.npz")
    build(raw, folder, workers=1, progress=False, overwrite=True)


def staged(folder, count):
    world.write_signs(folder, count, overwrite=True)


@pytest.fixture(params=["exchange", "three steps"])
def way(request, monkeypatch, tmp_path):
    if request.param == "three steps":
        monkeypatch.setattr(publish, "exchange", lambda one, other: False)
        return request.param
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this system exchanges no names")
    (tmp_path / "a").rmdir()
    (tmp_path / "b").rmdir()
    return request.param


EVENTS = ("open", "os.", "shutil.", "ctypes.", "tempfile.", "fcntl.")


def killed_at(step, action):
    """Runs `action` in a process that dies before its `step`-th call of the system; whether it got so far."""

    def die_in_time():
        left = step

        def hook(event, arguments):
            nonlocal left
            if event.startswith(EVENTS) and event != "os.kill":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        action()

    status = os.waitpid(fork(die_in_time), 0)[1]
    assert status == signal.SIGKILL or os.waitstatus_to_exitcode(status) == 0
    return status == signal.SIGKILL


def is_whole(folder):
    store = Store.open(folder)
    store.verify()
    assert len(store) in (OLD, NEW)
    return len(store)


@pytest.mark.parametrize("replace", [directly, *(pytest.param(f, marks=pytest.mark.slow) for f in (built, staged))])
def test_killed_before_every_call(tmp_path, way, replace, capfd, monkeypatch):
    if replace is staged:  # drawing signs takes longer than everything else
        monkeypatch.setattr(signs1, "clip", lambda index: clips(1)[0][1].with_(label=0, meta=dict(signs1_facts)))
    folder = tmp_path / "s"
    replace(folder, OLD)
    replace(folder, NEW)
    clean = sorted(p.name for p in tmp_path.iterdir())
    replace(folder, OLD)
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("raw")) == ["s"]
    found, step, without = [], 0, 0
    while killed_at(step, lambda: replace(folder, NEW)):
        named = folder.exists()
        without += not named
        assert named or way == "three steps", f"no store has the name at call {step}"
        capfd.readouterr()
        found.append(is_whole(folder))
        assert ("the store that was there before is back" in capfd.readouterr().err) == (not named)
        replace(folder, OLD)  # takes over or removes what is left
        assert is_whole(folder) == OLD
        assert sorted(p.name for p in tmp_path.iterdir()) == clean
        step += 1
    assert is_whole(folder) == NEW
    assert found == sorted(found), "once the new one is there it stays"
    assert set(found) == {OLD, NEW}
    assert without == (way == "three steps")


signs1_facts = signs1.clip(0).meta


def test_a_name_without_its_store_is_found_by_whoever_looks_first(good, bad, tmp_path):
    folder = tmp_path / "s"

    def interrupted():
        Store.write(folder, clips(OLD), name="x", overwrite=True)
        folder.rename(hidden(folder))

    interrupted()
    assert "s: whole; 2 clips" in good("data", "check", folder)
    interrupted()
    assert "clip 1 of 2" in good("show", folder, "--clip", "1", "--out", tmp_path / "a.png")
    interrupted()
    with pytest.raises(UserError, match="there is a store already; give --overwrite"):
        Store.write(folder, clips(NEW), name="x")
    interrupted()
    Store.write(folder, clips(NEW), name="x", overwrite=True)
    assert is_whole(folder) == NEW
    assert not hidden(folder).exists()


def test_a_reader_that_puts_the_old_one_back_in_between_does_not_disturb(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "exchange", lambda one, other: False)
    directly(tmp_path / "s", OLD)
    rename, read = os.rename, []

    def slow(source, target):
        rename(source, target)
        if Path(target) == hidden(tmp_path / "s") and not read:
            read.append(is_whole(tmp_path / "s"))

    monkeypatch.setattr(publish.os, "rename", slow)
    directly(tmp_path / "s", NEW)
    assert read == [OLD]
    assert is_whole(tmp_path / "s") == NEW
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_a_refusal_leaves_the_old_one(tmp_path, way, monkeypatch):
    directly(tmp_path / "s", OLD)
    rename = os.rename

    def refuse(source, target):
        if Path(target) == tmp_path / "s" and Path(source).name == "store":
            raise OSError(errno.EIO, "Input/output error", str(target))
        rename(source, target)

    if way == "exchange":
        monkeypatch.setattr(publish, "exchange", lambda one, other: refuse(Path("store"), other))
    monkeypatch.setattr(publish.os, "rename", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        directly(tmp_path / "s", NEW)
    assert is_whole(tmp_path / "s") == OLD
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP])
def test_a_system_that_cannot_exchange(tmp_path, monkeypatch, number):
    class Library:
        def renameat2(self, *_):
            return -1

        renamex_np = renameat2

    monkeypatch.setattr(publish.ctypes, "CDLL", lambda *_, **__: Library())
    monkeypatch.setattr(publish.ctypes, "get_errno", lambda: number)
    directly(tmp_path / "s", OLD)
    directly(tmp_path / "s", NEW)
    assert is_whole(tmp_path / "s") == NEW
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "disk").mkdir()
    for replace in (directly, built):
        directly(tmp_path / "disk" / "s", OLD)
        (tmp_path / "s").unlink(missing_ok=True)
        (tmp_path / "s").symlink_to(tmp_path / "disk" / "s")
        replace(tmp_path / "s", NEW)
        assert (tmp_path / "s").is_symlink()
        assert is_whole(tmp_path / "disk" / "s") == NEW
        assert [p.name for p in (tmp_path / "disk").iterdir()] == ["s"]


def test_the_leftover_of_a_store_is_not_that_of_another(tmp_path):
    directly(tmp_path / "s", OLD)
    directly(tmp_path / "s.replaced", OLD)
    hidden(tmp_path / "t").mkdir()
    directly(tmp_path / "s", NEW)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".t.replaced", "s", "s.replaced"]
