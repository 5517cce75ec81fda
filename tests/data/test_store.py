import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from fake_format import SKELETON, clip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from kinema.data.ragged import RaggedWriter
from kinema.data.store import FRAMES, INDEX, Store, relative_source
from kinema.errors import FormatError, UserError
from kinema.motion.clip import Caption


def full(seed=1):
    rng = np.random.default_rng(seed)
    return clip(
        seed,
        frames=3,
        people=2,
        fps=15.0,
        confidence=rng.random((3, 2, 4)).astype(np.float32),
        body_ids=rng.integers(0, 9, (3, 2)),
        rotations=rng.normal(size=(3, 2, 4, 4)).astype(np.float32),
        offsets=rng.normal(size=(2, 4, 3)).astype(np.float32),
        contacts=rng.random((3, 2, 2)) < 0.5,
        image_size=(640, 480),
        label=1,
        label_name="wave",
        captions=(Caption("waves", 0.1, 0.2), Caption("stands")),
        subject="s1",
        view="left",
        units="normalised",
        meta={"camera": 2, "take": "x"},
        source="in/side/file.txt",
    )


def same(a, b):
    for name in ("positions", "confidence", "body_ids", "rotations", "offsets", "contacts"):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None), name
        assert left is None or np.array_equal(left, right), name
    for name in ("fps", "units", "image_size", "label", "label_name", "captions", "subject", "view", "meta", "skeleton"):
        assert getattr(a, name) == getattr(b, name), name


@pytest.fixture
def clips():
    return [
        ("plain", clip(0, label=0, label_name="rest", units="normalised")),
        ("full", full()),
        ("again", clip(2, frames=1, label=1, label_name="wave", units="normalised")),
    ]


def test_what_is_written_is_read(tmp_path, clips):
    store = Store.write(tmp_path / "s", clips, name="mine")
    assert len(store) == 3
    assert store.classes == ("rest", "wave")
    assert store.labels.tolist() == [0, 1, 1]
    for i, (name, wanted) in enumerate(clips):
        same(store.clip(i), wanted)
        assert store.entries[i].id == name
    same(store.clip(-1), clips[-1][1])
    with pytest.raises(IndexError):
        store.clip(3)
    store.verify()
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == [FRAMES, INDEX]


def test_any_safetensors_reader_reads_the_frames(tmp_path, clips):
    Store.write(tmp_path / "s", clips, name="mine")
    arrays = load_file(tmp_path / "s" / FRAMES)
    assert arrays["positions"].shape == (5 + 6 + 1, 4, 3)
    assert arrays["positions.starts"].tolist() == [0, 5, 11, 12]
    assert arrays["confidence.starts"].tolist() == [0, 0, 6, 6]


def test_opening_maps_and_does_not_copy(tmp_path, clips):
    store = Store.write(tmp_path / "s", clips, name="mine")
    first, second = store.clip(0).positions, store.clip(0).positions
    assert not first.flags.writeable
    assert np.shares_memory(first, second)


def test_the_same_clips_make_the_same_bytes(tmp_path, clips):
    a, b = (Store.write(tmp_path / n, clips, name="mine") for n in "ab")
    assert a.checksum == b.checksum
    for name in (FRAMES, INDEX):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    other = Store.write(tmp_path / "c", [(n, c.with_(label=1, label_name="x")) for n, c in clips], name="mine")
    assert other.checksum != a.checksum


def test_names_without_numbers_become_sorted_classes(tmp_path):
    store = Store.write(tmp_path / "s", [(str(i), clip(label_name=n)) for i, n in enumerate("cab")], name="x")
    assert store.classes == ("a", "b", "c")
    assert store.labels.tolist() == [2, 0, 1]


def test_classes_that_are_given_are_kept(tmp_path):
    store = Store.write(tmp_path / "s", [("a", clip(label=2)), ("b", clip())], name="x", classes=["u", "v", "w"])
    assert store.clip(0).label_name == "w"
    assert store.labels.tolist() == [2, -1]
    with pytest.raises(UserError, match="3 classes"):
        Store.write(tmp_path / "t", [("a", clip(label=3))], name="x", classes=["u", "v", "w"])


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([], "no clips"),
        ([("a", clip()), ("a", clip())], "two clips are called 'a'"),
        ([("a", clip()), ("b", clip(coordinates=2)), ("c", clip())], "2 of stick .4 joints, 3-D, metres., such as a; 1 of .* 2-D"),
        ([("a", clip()), ("b", clip(units="pixels"))], "1 of stick .4 joints, 3-D, pixels., such as b"),
        ([("a", clip(label=0, label_name="x")), ("b", clip(label=0, label_name="y"))], "label 0 is called 'y'"),
        ([("a", clip(meta={"x": float("nan")}))], "cannot be written as JSON"),
    ],
)
def test_clips_that_do_not_fit_are_named_and_leave_nothing(tmp_path, clips, message):
    with pytest.raises(UserError, match=message):
        Store.write(tmp_path / "s", clips, name="x")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(tmp_path, clips, monkeypatch):
    def refuse(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RaggedWriter, "finish", refuse)
    with pytest.raises(UserError, match="disk is full"):
        Store.write(tmp_path / "s", clips, name="x")
    assert not list(tmp_path.iterdir())


def test_only_a_store_is_overwritten(tmp_path, clips):
    folder = tmp_path / "s"
    Store.write(folder, clips, name="x")
    with pytest.raises(UserError, match="--overwrite"):
        Store.write(folder, clips, name="x")
    store = Store.write(folder, clips[:1], name="x", overwrite=True)
    assert len(store) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["s"]
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="left alone"):
        Store.write(folder, clips, name="x", overwrite=True)
    assert (folder / "thesis.txt").exists()


def test_no_path_of_the_machine_is_written(tmp_path):
    assert relative_source("a/b.txt") == "a/b.txt"
    assert relative_source("/home/me/a.zip:b/c.txt") == "c.txt"
    assert relative_source("C:\\me\\c.txt") == "c.txt"
    assert relative_source("../up/c.txt") == "c.txt"
    Store.write(tmp_path / "s", [("a", clip(source=str(tmp_path / "secret" / "c.txt")))], name="x")
    assert str(tmp_path) not in (tmp_path / "s" / INDEX).read_text()


def test_a_missing_store_is_told(tmp_path):
    with pytest.raises(UserError, match="no store here"):
        Store.open(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "s"
    Store.write(folder, [("a", full()), ("b", clip(3, label=0, label_name="rest", units="normalised"))], name="x")
    return folder


def attack(whole, tmp_path, name, content):
    folder = tmp_path / "damaged"
    folder.mkdir(exist_ok=True)
    for file in (FRAMES, INDEX):
        (folder / file).write_bytes(content if file == name else (whole / file).read_bytes())
    return folder


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_a_format_error_or_harmless(whole, tmp_path, data):
    name = data.draw(st.sampled_from([FRAMES, INDEX]))
    content = bytearray((whole / name).read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        end = 700 if name == FRAMES else len(content)
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    folder = attack(whole, tmp_path, name, bytes(content))
    with contextlib.suppress(FormatError):  # anything else fails the test
        store = Store.open(folder)
        for i in range(len(store)):
            store.clip(i)


@pytest.mark.parametrize(
    "change",
    [
        {"kinema_store": 2},
        {"kinema_store": None},
        {"classes": 3},
        {"clips": [{"id": "a", "frames": 10**30, "people": 1}]},
        {"clips": [{"id": "a", "frames": 3, "people": 2}]},
        {"clips": [3]},
        {"skeleton": {"joints": ["a"]}},
    ],
)
def test_an_index_that_does_not_fit_is_refused(whole, tmp_path, change):
    index = json.loads((whole / INDEX).read_text()) | change
    with pytest.raises(FormatError, match=r"again|skeleton"):
        Store.open(attack(whole, tmp_path, INDEX, json.dumps(index).encode()))


def test_changed_numbers_are_found_by_verify(whole, tmp_path):
    content = bytearray((whole / FRAMES).read_bytes())
    content[4096] ^= 1
    store = Store.open(attack(whole, tmp_path, FRAMES, bytes(content)))
    with pytest.raises(FormatError, match="checksum"):
        store.verify()


def test_nan_on_disk_is_found_when_read(whole, tmp_path):
    content = bytearray((whole / FRAMES).read_bytes())
    content[4096:4100] = np.float32(np.nan).tobytes()
    store = Store.open(attack(whole, tmp_path, FRAMES, bytes(content)))
    with pytest.raises(FormatError, match=r"clip a: .*NaN"):
        store.clip(0)


def test_many_clips_open_with_little_memory(tmp_path):
    big = clip(frames=2000)
    store = Store.write(tmp_path / "s", ((str(i), big) for i in range(200)), name="x")
    assert os.path.getsize(tmp_path / "s" / FRAMES) > 19_000_000

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    if os.path.exists("/proc/self/statm"):
        before = resident()
        again = Store.open(tmp_path / "s")
        assert resident() - before < 3_000_000
        assert len(again) == len(store)
    assert store.skeleton == SKELETON


def test_a_store_is_opened_from_within(tmp_path, monkeypatch, good):
    Store.write(tmp_path / "s", [("a", clip(0))], name="s", classes=("x",))
    monkeypatch.chdir(tmp_path / "s")
    assert len(Store.open(Path("."))) == 1
    assert "whole; 1 clip" in good("data", "check", ".")
