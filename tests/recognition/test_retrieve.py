"""Retrieval: what is near is found, a query is not its own neighbour, and kept features answer only for what they were made of."""

import shutil

import numpy as np
import pytest
import torch

from kinema import cli
from kinema.data.store import Store
from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.skeletons import KINECT20, MSR20
from kinema.recognition import retrieve as module
from kinema.recognition.predict import embed
from kinema.recognition.retrieve import FOLDER, cosine, retrieve, same
from kinema.recognition.run import open_run

SMALL_CMD = (
    "model.network.hidden=6",
    "model.network.layers=1",
    "model.frames=8",
    "model.dim=5",
    "model.queue=9",
    "model.neighbours=4",
)


@pytest.fixture(scope="module")
def store(made):
    return Store.open(made.store)


@pytest.fixture
def run(made, tmp_path):
    """The trained run in a folder of its own, so that nothing is kept there yet."""
    shutil.copytree(made.run, tmp_path / "run")
    return open_run(tmp_path / "run")


@pytest.fixture(scope="module")
def cmd(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cmd") / "run"
    options = [word for value in SMALL_CMD for word in ("--set", value)]
    options += ["--epochs", "1", "--batch-size", "4", "--accelerator", "cpu"]
    assert cli.main(["train", "cmd", "--data", str(made.store), "--out", str(folder), *options]) == 0
    return open_run(folder)


def shaken(clip, amount=1e-3):
    noise = np.random.default_rng(0).normal(size=clip.positions.shape).astype(np.float32)
    return clip.with_(positions=clip.positions + amount * noise)


def kept(trained):
    return sorted((trained.folder / FOLDER).iterdir())


@pytest.mark.parametrize("row", [0, 7, 23])
def test_the_nearest_of_a_shaken_copy_is_what_was_shaken(run, store, row):
    found = retrieve(run, shaken(store.clip(row)), store, top=4)
    assert [found[0].row, len(found)] == [row, 4]
    entry = store.entries[row]
    assert (found[0].id, found[0].label, found[0].source) == (entry.id, entry.label, entry.source)
    assert found[0].class_name == store.classes[entry.label]
    likeness = [n.similarity for n in found]
    assert likeness == sorted(likeness, reverse=True)
    assert -1 <= likeness[-1] < likeness[0] <= 1 + 1e-6


def test_a_clip_of_the_store_is_not_its_own_neighbour(run, store):
    clip = store.clip(5)
    assert same(clip, store) == [5]
    assert same(shaken(clip), store) == []
    found = retrieve(run, clip, store, top=100)
    assert sorted(n.row for n in found) == [i for i in range(len(store)) if i != 5]
    # its own features are those of the store, so likeness goes both ways
    there = {n.row: n.similarity for n in found}
    back = {n.row: n.similarity for n in retrieve(run, store.clip(9), store, top=100)}
    assert there[9] == pytest.approx(back[5], abs=1e-6)


def test_the_order_is_that_of_the_protocol(run, store):
    """Cosine of features standardised by the clips searched, written out anew."""
    table = module.store_features(run, run.encoder(), run.encoder(), None, store)
    rows = np.array([3, 4, 6, 9, 12, 20])
    standard = torch.from_numpy((table - table[rows].mean(0)) / (table[rows].std(0) + 1e-6))
    wanted = torch.nn.functional.cosine_similarity(standard[6:7], standard[rows[rows != 6]])
    found = retrieve(run, store.clip(6), store, rows=rows)
    assert {n.row: n.similarity for n in found} == pytest.approx(
        dict(zip(rows[rows != 6].tolist(), wanted.tolist(), strict=True)), abs=1e-5
    )


def test_a_vector_without_length_is_like_nothing():
    gallery = np.float32([[1, 0], [0, 0], [-2, 0], [0, 3]])
    assert cosine(np.float32([2, 0]), gallery).tolist() == [1, 0, -1, 0]
    assert cosine(np.float32([0, 0]), gallery).tolist() == [0, 0, 0, 0]


# what is kept


def test_the_second_question_computes_nothing_of_the_store(run, store, monkeypatch):
    said = []
    first = retrieve(run, store.clip(0), store, say=said.append)
    assert said == ["computing features of 24 clips"]
    assert len(kept(run)) == 1

    def refuse(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(module.protocols, "features", refuse)
    assert retrieve(run, store.clip(0), store, say=said.append) == first
    assert len(said) == 1


@pytest.mark.parametrize("harm", ["cut", "altered", "emptied", "other file"])
def test_a_damaged_file_is_told_and_mended(run, store, harm):
    first = retrieve(run, store.clip(0), store)
    [file] = kept(run)
    whole = file.read_bytes()
    spoilt = {"cut": whole[:-9], "emptied": b"", "other file": b"hello" * 99, "altered": whole[:-9] + bytes(9)}[harm]
    file.write_bytes(spoilt)
    said = []
    assert retrieve(run, store.clip(0), store, say=said.append) == first
    assert said == [f"{file}: damaged; computed again", "computing features of 24 clips"]
    assert file.read_bytes() == whole


def test_a_run_that_was_trained_on_is_asked_anew(run, made, store):
    retrieve(run, store.clip(0), store)
    before = kept(run)[0].read_bytes()
    shutil.rmtree(run.folder / "checkpoints")
    shutil.copytree(made.other / "checkpoints", run.folder / "checkpoints")
    said = []
    found = retrieve(run, store.clip(0), store, say=said.append)
    assert "features of other weights" in said[0]
    assert len(kept(run)) == 1
    assert kept(run)[0].read_bytes() != before
    fresh = retrieve(open_run(made.other), store.clip(0), store)
    shutil.rmtree(made.other / FOLDER)
    assert found == fresh


def test_another_store_has_a_file_of_its_own(run, store, tmp_path):
    other = Store.write(tmp_path / "s", [(f"{i}", store.clip(i)) for i in range(9)], name="part", classes=store.classes)
    retrieve(run, store.clip(0), store)
    assert len(retrieve(run, store.clip(0), other, top=99)) == 8
    assert len(kept(run)) == 2
    other.checksum = "../../" * 9 + "elsewhere"  # a store is a file that somebody may have given us
    retrieve(run, store.clip(0), other)
    assert len(kept(run)) == 3


def test_what_cannot_be_kept_is_told_and_answered(run, store):
    (run.folder / FOLDER).write_text("in the way")
    said = []
    assert len(retrieve(run, store.clip(0), store, say=said.append)) == 5
    assert said[0] == "computing features of 24 clips"
    assert "the features are not kept for the next time" in said[1]


# streams


def test_streams_are_asked_apart_and_together(cmd, store):
    query = store.clip(2)
    each = {s: {n.row: n.similarity for n in retrieve(cmd, query, store, top=99, stream=s)} for s in ("joint", "motion", "bone")}
    assert len({tuple(v) for v in each.values()}) == 3
    together = retrieve(cmd, query, store, top=99)
    assert together == retrieve(cmd, query, store, top=99, stream="all")
    for n in together:
        assert n.similarity == pytest.approx(np.mean([e[n.row] for e in each.values()]), abs=1e-6)
    assert len(kept(cmd)) == 3
    found = retrieve(cmd, shaken(query), store, top=1)
    assert found[0].row == 2


def test_a_stream_that_is_not_there_is_told(cmd, run, store):
    with pytest.raises(UserError, match=r"unknown stream of .* 'bones': did you mean bone\? known: joint, motion, bone, all"):
        retrieve(cmd, store.clip(0), store, stream="bones")
    for name in ("joint", "all"):
        with pytest.raises(UserError, match=rf"stream '{name}': .*run \(mamp\) has no streams to choose from; leave it out"):
            retrieve(run, store.clip(0), store, stream=name)


# a user's mistakes


def walk(skeleton=KINECT20, coordinates=3, value=1.0):
    positions = np.random.default_rng(1).normal(size=(12, 1, len(skeleton), coordinates)) * value
    return Clip(positions.astype(np.float32), skeleton, source="mine.npz")


@pytest.mark.parametrize(
    ("query", "options", "said"),
    [
        (walk(MSR20), {}, r"mine.npz: msr20 \(20 joints\), but .* was trained on kinect20 \(20 joints\)"),
        (walk(coordinates=2), {}, "mine.npz: 2 coordinates a joint, but .* was trained on 3"),
        (walk(value=0.0), {}, "mine.npz: nobody is in any of its 12 frames"),
        (walk(), {"top": 0}, "top 0: expected 1 or more"),
        (walk(), {"top": -3}, "top -3: expected 1 or more"),
        (walk(), {"rows": np.array([], int)}, "holds no other clip to compare with"),
    ],
)
def test_a_question_that_cannot_be_answered(run, store, query, options, said):
    with pytest.raises(UserError, match=said):
        retrieve(run, query, store, **options)
    assert not (run.folder / FOLDER).exists()


@pytest.mark.parametrize("clip", [walk(MSR20), walk(coordinates=2)])
def test_what_cannot_be_compared_has_no_features_either(run, clip):
    with pytest.raises(UserError, match=r"mine.npz: .*, but .* was trained on"):
        embed(run, [clip])


def test_a_store_of_the_query_alone(run, store, tmp_path):
    alone = Store.write(tmp_path / "s", [("a", store.clip(0))], name="alone", classes=store.classes)
    with pytest.raises(UserError, match="holds no other clip to compare with"):
        retrieve(run, store.clip(0), alone)


def test_features_that_are_not_finite_are_told(run, store, monkeypatch):
    monkeypatch.setattr(module.protocols, "features", lambda encoder, clips, **_: np.full((len(clips), 3), np.nan, np.float32))
    with pytest.raises(UserError, match="not finite; did the training diverge"):
        retrieve(run, store.clip(0), store)
    assert not (run.folder / FOLDER).exists()
