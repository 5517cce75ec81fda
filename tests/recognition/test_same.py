"""A copy of a stored clip is known for one, however it was written in between; another take of the motion is not."""

import io
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinema.data.store import Store
from kinema.motion.clip import Clip
from kinema.motion.formats import dotpose, npz, read_file
from kinema.motion.keypoints import HOLISTIC75
from kinema.motion.skeleton import Skeleton
from kinema.recognition.retrieve import NEAR, body_size, same

STICK = Skeleton.from_json({"name": "stick", "joints": ["hip", "head", "hand"], "parents": [None, "hip", "hip"]}, "stick")


def walk(seed, frames=20, people=1, scale=1.0, offset=0.0):
    """Somebody of about `scale` who moves; `offset` away from the origin."""
    rng = np.random.default_rng(seed)
    still = np.array([[0, 1, 0], [0, 1.7, 0], [0.5, 1.2, 0.2]]) * scale
    path = rng.normal(0, 0.02, (frames, people, 3, 3)).cumsum(0) * scale
    return Clip((still + path + offset).astype(np.float32), STICK, fps=30)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    clips = [(f"{i}", walk(i, people=1 + i % 2)) for i in range(12)]
    return Store.write(tmp_path_factory.mktemp("same") / "s", clips, name="walks")


def text(clip, form):
    """The positions, written as text and read again."""
    stream = io.StringIO()
    np.savetxt(stream, clip.positions.reshape(clip.frames, -1), delimiter=",", fmt=form)
    stream.seek(0)
    return clip.with_(positions=np.loadtxt(stream, delimiter=",", ndmin=2).reshape(clip.positions.shape).astype(np.float32))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.integers(0, 11),
    st.sampled_from(["%.4f", "%.5f", "%.6f", "%.6g", "%.8e", "%.17g"]),
    st.sampled_from([24.0, 29.97, 30.00001, 120]),
)
def test_text_in_between_changes_nothing(store, row, form, fps):
    copy = text(store.clip(row), form).with_(fps=fps, source="Gehe\u0301.csv", label_name="gehe\u0301", label=99)
    assert same(copy, store) == [row]


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-3, 1e4), st.floats(-3, 3), st.integers(0, 50))
def test_the_scale_is_that_of_the_motion(tmp_path_factory, scale, offset, seed):
    clip = walk(seed, scale=scale, offset=offset * scale)
    found = Store.write(tmp_path_factory.mktemp("one") / "s", [("a", clip)], name="one")
    size = body_size(clip)
    nudge = np.random.default_rng(seed).uniform(-1, 1, clip.positions.shape).astype(np.float32)
    assert same(clip.with_(positions=clip.positions + np.float32(0.5 * NEAR * size) * nudge), found) == [0]
    assert same(clip.with_(positions=clip.positions + np.float32(6 * NEAR * size) * nudge), found) == []


def test_one_joint_at_one_moment_makes_another_motion(store):
    for frame, joint in ((0, 0), (10, 1), (19, 2)):
        positions = store.clip(4).positions.copy()
        positions[frame, 0, joint, 2] += 0.01
        assert same(store.clip(4).with_(positions=positions), store) == []


def test_another_take_of_a_motion_is_another_one(tmp_path):
    """What a sensor adds to a motion that somebody repeats exactly, as nobody can: a millimetre of noise."""
    clip = walk(0)
    takes = [
        clip.with_(positions=clip.positions + np.random.default_rng(i).normal(0, 1e-3, clip.positions.shape).astype(np.float32))
        for i in range(5)
    ]
    store = Store.write(tmp_path / "s", [(f"{i}", take) for i, take in enumerate(takes)], name="takes")
    assert same(clip, store) == []
    assert [same(text(take, "%.5f"), store) for take in takes] == [[0], [1], [2], [3], [4]]


def test_shapes_that_differ_are_not_compared(store, tmp_path):
    clip = store.clip(0)
    assert same(clip.with_(positions=clip.positions[:-1]), store) == []
    assert same(clip.with_(positions=clip.positions[..., :2]), store) == []
    assert same(clip.with_(positions=np.repeat(clip.positions, 3, 1)), store) == []
    other = Skeleton.from_json({"name": "two", "joints": ["hip", "head"], "parents": [None, "hip"]}, "two")
    assert same(Clip(clip.positions[:, :, :2], other), store) == []
    nobody = clip.with_(positions=np.zeros_like(clip.positions))
    assert same(nobody, store) == []
    empty = Store.write(tmp_path / "s", [("0", nobody), ("1", clip)], name="one")
    assert same(nobody, empty) == [0]


def test_files_in_between(store, tmp_path):
    npz.write(store.clip(3), tmp_path / "a.npz")
    assert same(read_file(tmp_path / "a.npz")[0], store) == [3]

    def signer(seed):
        rng = np.random.default_rng(seed)
        positions = (rng.random((15, 1, 75, 2)) * (640, 480)).astype(np.float32)
        confidence = (rng.random((15, 1, 75)) > 0.2).astype(np.float32) * rng.random((15, 1, 75), np.float32)
        return Clip(positions * (confidence > 0)[..., None], HOLISTIC75, 25, confidence, units="pixels", image_size=(640, 480))

    signers = Store.write(tmp_path / "s", [(f"{i}", signer(i)) for i in range(3)], name="signers")
    dotpose.write(signers.clip(1), tmp_path / "a.pose")
    assert same(read_file(tmp_path / "a.pose")[0], signers) == [1]


def test_a_large_store_is_compared_at_once(tmp_path, monkeypatch):
    """All clips as long as the query: one frame of each is looked at, and only the copy is read whole."""
    store = Store.write(tmp_path / "s", ((f"{i}", walk(i)) for i in range(3000)), name="many")
    read = []
    original = Store.clip
    monkeypatch.setattr(Store, "clip", lambda self, i: read.append(i) or original(self, i))
    query = text(original(store, 1234), "%.5f")
    begun = time.process_time()
    assert same(query, store) == [1234]
    assert time.process_time() - begun < 1
    assert len(read) <= 2
