import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import fake_format
import numpy as np
import pytest

from kinema.data import build as build_module
from kinema.data import splits
from kinema.data.build import build
from kinema.data.store import FRAMES, INDEX, Store
from kinema.errors import FormatError, UserError

DATA = Path(os.environ.get("KINEMA_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(build_module, "CHUNK", 8)


def make(source, out, **options):
    return build(source, out, format=fake_format, **{"workers": 1, **options})


def content(folder):
    return {name: (folder / name).read_bytes() for name in (FRAMES, INDEX)}


def test_a_folder_becomes_a_store(tmp_path):
    summary = make(fake_format.folder(tmp_path / "raw", 20), tmp_path / "s")
    store = Store.open(tmp_path / "s")
    assert (summary.clips, summary.files, summary.skipped, summary.resumed) == (20, 20, (), 0)
    assert [e.id for e in store.entries] == [f"clip{i:03}" for i in range(20)]
    assert store.clip(7).source == "clip007"
    assert store.classes == ("a", "b", "c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw", "s"]
    assert str(tmp_path) not in (tmp_path / "s" / INDEX).read_text()


def test_the_bytes_do_not_depend_on_the_workers(tmp_path):
    raw = fake_format.folder(tmp_path / "raw", 30, copies=2)
    (raw / "clip004.json").write_text(json.dumps({"bad": "torn page"}))
    one, two = make(raw, tmp_path / "one"), make(raw, tmp_path / "two", workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert one.skipped == two.skipped == (("clip004", "torn page"),)
    assert one.clips == 58
    assert "torn page" in "\n".join(one.lines())


def test_an_interrupted_build_continues_to_the_same_bytes(tmp_path, monkeypatch):
    raw = fake_format.folder(tmp_path / "raw", 30)
    make(raw, tmp_path / "whole")
    seen = []

    def read(job):
        if len(seen) == 20:
            raise KeyboardInterrupt
        seen.append(job.name)
        return fake_format.read(job)

    with pytest.raises(KeyboardInterrupt):
        build(raw, tmp_path / "s", format=SimpleNamespace(__name__="fake_format", jobs=fake_format.jobs, read=read), workers=1)
    assert not (tmp_path / "s").exists()
    summary = make(raw, tmp_path / "s")
    assert summary.resumed == 16
    a, b = content(tmp_path / "whole"), content(tmp_path / "s")
    assert a == b
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw", "s", "whole"]


def test_a_killed_build_continues_to_the_same_bytes(tmp_path):
    raw = fake_format.folder(tmp_path / "raw", 40, sleep=0.01)
    out, work = tmp_path / "s", tmp_path / ".s.building"
    script = (
        "import fake_format, kinema.data.build as b; b.CHUNK = 8;"
        f"b.build({str(raw)!r}, {str(out)!r}, format=fake_format, workers=1)"
    )
    places = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    child = subprocess.Popen([sys.executable, "-c", script], env=environment)
    until = time.monotonic() + 30
    while not list(work.glob("part-*.bad.json")) and time.monotonic() < until:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not out.exists()
    (work / ".kinema-tmp-left").mkdir()
    summary = make(raw, out)
    assert 0 < summary.resumed < 40
    make(raw, tmp_path / "whole")
    assert content(out) == content(tmp_path / "whole")
    assert not work.exists()


def test_a_changed_source_starts_over(tmp_path):
    raw = fake_format.folder(tmp_path / "raw", 20)
    (raw / "clip019.json").write_text(json.dumps({"bad": "torn"}))
    with pytest.raises(FormatError, match=r"clip019.*torn"):
        make(raw, tmp_path / "s", strict=True)
    (raw / "clip019.json").write_text(json.dumps({"frames": 4}))
    summary = make(raw, tmp_path / "s", strict=True)
    assert (summary.clips, summary.resumed) == (20, 0)


def test_strict_names_a_bad_file_of_an_earlier_run(tmp_path, monkeypatch):
    raw = fake_format.folder(tmp_path / "raw", 4)
    (raw / "clip002.json").write_text(json.dumps({"bad": "torn"}))
    monkeypatch.setattr(build_module, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        make(raw, tmp_path / "s")
    monkeypatch.undo()
    monkeypatch.setattr(build_module, "CHUNK", 8)
    with pytest.raises(FormatError, match="clip002: torn"):
        make(raw, tmp_path / "s", strict=True)


def test_nothing_to_read_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no files"):
        make(tmp_path / "empty", tmp_path / "s")
    raw = fake_format.folder(tmp_path / "raw", 3, bad="torn")
    for workers in (1, 2):
        with pytest.raises(UserError, match="none of 3 files could be read; the first: clip000: torn"):
            make(raw, tmp_path / "s", workers=workers)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "raw"]


def test_a_build_that_read_nothing_leaves_nothing_and_others_keep_what_they_read(tmp_path):
    work = tmp_path / ".s.building"
    raw = fake_format.folder(tmp_path / "raw", 20)
    (raw / "clip000.json").write_text(json.dumps({"bad": "torn"}))
    with pytest.raises(FormatError, match=r"clip000.*torn"):
        make(raw, tmp_path / "s", strict=True)
    assert not work.exists()
    fake_format.folder(tmp_path / "later", 20)
    (tmp_path / "later" / "clip012.json").write_text(json.dumps({"bad": "torn"}))
    with pytest.raises(FormatError, match=r"clip012.*torn"):
        make(tmp_path / "later", tmp_path / "s", strict=True)
    assert len(Store.open(work / "part-000000", resolved=False)) == 8
    assert make(tmp_path / "later", tmp_path / "s").resumed == 8
    assert not work.exists()


def test_wrong_options_are_told(tmp_path):
    raw = fake_format.folder(tmp_path / "raw", 3)
    with pytest.raises(UserError, match="did you mean nw-ucla"):
        build(raw, tmp_path / "s", dataset="nw-ulca")
    with pytest.raises(UserError, match="unknown format 'nope'"):
        build(raw, tmp_path / "s", format="nope")
    with pytest.raises(UserError, match="own format"):
        build(raw, tmp_path / "s", dataset="sbu", format="npz")
    with pytest.raises(UserError, match="--index"):
        make(raw, tmp_path / "s", index=raw / "x.csv")
    (tmp_path / "taken").write_text("x")
    with pytest.raises(UserError, match="not a store"):
        make(raw, tmp_path / "taken")


def test_a_second_build_of_the_same_store_is_refused(tmp_path):
    raw = fake_format.folder(tmp_path / "raw", 3)
    with build_module.work_folder(tmp_path / ".s.building", "x"):
        with pytest.raises(UserError, match="another build"):
            make(raw, tmp_path / "s")
        assert (tmp_path / ".s.building").exists()  # it is the other's


def test_our_own_mistakes_are_not_hidden_and_name_the_file(tmp_path):
    raw = fake_format.folder(tmp_path / "raw", 3)
    broken = SimpleNamespace(__name__="broken", jobs=fake_format.jobs, read=lambda job: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        build(raw, tmp_path / "s", format=broken, workers=1)
    assert "clip000" in caught.value.__notes__[0]


def test_a_user_brings_arrays_and_a_table(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for i in range(6):
        np.save(raw / f"{i}.npy", np.random.default_rng(i).normal(size=(5, 4, 3)))
    rows = [f"{i}.npy,{'jump' if i % 2 else 'wave'},{'test' if i > 3 else 'train'}" for i in range(6)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["file,label,split", *rows]))
    summary = build(raw, tmp_path / "s", format="user", index=table, skeleton=fake_format.SKELETON, workers=1)
    store = Store.open(summary.store)
    assert store.classes == ("jump", "wave")
    assert store.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert splits.split(store, "given").test.tolist() == [4, 5]


@pytest.fixture
def windows(tmp_path):
    """A file of which a table cuts 40 clips, and another of which it cuts one."""
    raw = tmp_path / "raw"
    raw.mkdir()
    np.save(raw / "long.npy", np.random.default_rng(0).normal(size=(30_000, 4, 3)).astype(np.float32))
    np.save(raw / "short.npy", np.random.default_rng(1).normal(size=(5, 4, 3)))
    rows = [f"long.npy,{'ab'[i % 2]},{700 * i},{700 * i + 700}" for i in range(40)]
    (raw / "clips.csv").write_text("\n".join(["file,label,start,end", "short.npy,c,,", *rows, "short.npy,c,0,9"]))
    return raw


def test_clips_of_one_file_stay_together_and_one_at_a_time(windows, tmp_path, monkeypatch):
    parts = []
    original = build_module._read_chunk
    monkeypatch.setattr(
        build_module, "_read_chunk", lambda jobs, *more: parts.append([j.name for j in jobs]) or original(jobs, *more)
    )
    tracemalloc.start()
    summary = build(windows, tmp_path / "one", skeleton=fake_format.SKELETON, workers=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(parts) == 1, "the rows of a file are never parted"
    assert peak < 4 * (windows / "long.npy").stat().st_size
    assert summary.skipped == (("short.npy[0:9]", "5 frames; line 43 of the table asks for 0 to 9"),)
    lines = summary.lines()
    assert "41 clips from 42 rows" in lines[0]
    assert "41 clips, 1 skipped:" in lines
    assert [e.frames for e in Store.open(tmp_path / "one").entries] == [5] + [700] * 40


def test_the_bytes_of_cuts_do_not_depend_on_the_workers(windows, tmp_path):
    for i in range(20):
        np.save(windows / f"{i}.npy", np.random.default_rng(i).normal(size=(5, 4, 3)))
    with (windows / "clips.csv").open("a") as table:
        table.write("\n" + "\n".join(f"{i}.npy,d,," for i in range(20)))
    for workers, out in ((1, "one"), (2, "two")):
        build(windows, tmp_path / out, skeleton=fake_format.SKELETON, workers=workers)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_class_whose_clips_are_all_bad_keeps_its_name(windows, tmp_path):
    (windows / "clips.csv").write_text("file,label,start,end\nshort.npy,a,,\nlong.npy,b,99999,\nlong.npy,c,0,5\n")
    build(windows, tmp_path / "s", skeleton=fake_format.SKELETON, workers=1)
    assert Store.open(tmp_path / "s").classes == ("a", "b", "c")


def test_who_asks_is_told_how_far_it_is(windows, tmp_path):
    told = []
    build(windows, tmp_path / "s", skeleton=fake_format.SKELETON, workers=1, progress=lambda *step: told.append(step))
    assert [step for step in told if step[0] == "row"] == [("row", i, 42) for i in range(1, 43)]
    assert told[-1] == ("clip", 41, None)


def test_a_table_that_is_named_needs_no_format(windows, tmp_path):
    (windows / "clips.csv").rename(tmp_path / "table.csv")
    summary = build(windows, tmp_path / "s", index=tmp_path / "table.csv", skeleton=fake_format.SKELETON, workers=1)
    assert summary.clips == 41


def test_one_and_several_in_the_summary(tmp_path):
    raw = fake_format.folder(tmp_path / "raw", 2)
    (raw / "clip001.json").write_text(json.dumps({"bad": "torn"}))
    lines = make(raw, tmp_path / "s").lines()
    assert "1 clip from 2 files" in lines[0]
    assert lines[1:] == ["1 clip, 1 skipped:", "  clip001: torn"]
    (raw / "clip000.json").unlink()
    with pytest.raises(UserError, match="its one file could not be read: clip001: torn"):
        make(raw, tmp_path / "t")


def check_counts(tmp_path, monkeypatch, name, file):
    monkeypatch.setattr(build_module, "CHUNK", 64)
    summary = build(DATA / file, tmp_path / "s", dataset=name, workers=1)
    assert summary.skipped == ()
    store = Store.open(tmp_path / "s")
    assert splits.check(store, strict=True) == []
    assert store.dataset == name


@pytest.mark.skipif(not (DATA / "sbu_interaction.zip").exists(), reason="needs sbu_interaction.zip")
def test_real_data_has_the_published_counts(tmp_path, monkeypatch):
    check_counts(tmp_path, monkeypatch, "sbu", "sbu_interaction.zip")


REAL = {
    "nw-ucla": "nw_ucla.zip",
    "utd-mhad": "utd_mhad_skeleton.zip",
    "utkinect": "utkinect.zip",
    "msr-action3d": "msr_action3d.zip",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_more_real_data_has_the_published_counts(tmp_path, monkeypatch, name):
    if not (DATA / REAL[name]).exists():
        pytest.skip(f"needs {REAL[name]}")
    check_counts(tmp_path, monkeypatch, name, REAL[name])


def test_a_clip_without_anybody_is_a_bad_file(tmp_path, monkeypatch):
    raw = fake_format.folder(tmp_path / "raw", 10)
    original = fake_format.read

    def read(job):
        """The first clip is empty by its numbers, the second by its confidence, of the third one of two copies."""
        found = original(job)
        clip = found[0]
        number = int(job.name.removeprefix("clip"))
        if number in (0, 2):
            clip = clip.with_(positions=np.zeros_like(clip.positions))
        if number == 1:
            clip = clip.with_(confidence=np.zeros(clip.positions.shape[:3], np.float32))
        return [found[0], clip] if number == 2 else [clip]

    monkeypatch.setattr(fake_format, "read", read)
    summary = make(raw, tmp_path / "s")
    assert summary.skipped == tuple(
        (name, f"nobody is in any of its {frames} frames") for name, frames in (("clip000", 3), ("clip001", 4), ("clip002#2", 5))
    )
    assert [e.id for e in Store.open(tmp_path / "s").entries] == ["clip002#1", *(f"clip{i:03}" for i in range(3, 10))]
    with pytest.raises(FormatError, match=r"clip000.*nobody is in any of its 3 frames"):
        make(raw, tmp_path / "t", strict=True)
    for file in sorted(raw.iterdir())[3:]:
        file.unlink()
    (raw / "clip002.json").unlink()
    with pytest.raises(UserError, match="none of 2 files could be read; the first: clip000: nobody is in any"):
        make(raw, tmp_path / "t")
