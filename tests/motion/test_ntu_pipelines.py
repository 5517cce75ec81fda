"""MAMP's and CMD's preparation: rule by rule on made-up clips, and as a whole against reference vectors."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ntu_writers import person

from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.ntu_pipelines import (
    cmd_actors,
    cmd_bodies,
    cmd_centre,
    cmd_prenormalise,
    mamp_actors,
    mamp_centre,
    mamp_denoise,
    mamp_duplicate,
    mamp_npz_arrays,
)
from kinema.motion.prepare import Preparation, prepare
from kinema.motion.skeletons import KINECT20, NTU25

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = Path(os.environ.get("KINEMA_GOLDEN", TESTS.parents[1] / "shared" / "golden")) / "recognition"
sys.path.insert(0, str(TESTS / "parity"))


def clip(*bodies, frames=20, **more):
    """Bodies are (id, slot, first frame, joints)."""
    slots = 1 + max(slot for _, slot, _, _ in bodies)
    positions, ids = np.zeros((frames, slots, 25, 3), np.float32), np.zeros((frames, slots), np.int64)
    for identity, slot, first, joints in bodies:
        positions[first : first + len(joints), slot], ids[first : first + len(joints), slot] = joints, identity
    return Clip(positions, NTU25, body_ids=ids, **more)


def wide(frames, seed=0):
    return person(frames, seed)[..., [1, 0, 2]]


@pytest.mark.parametrize("name", ["ntu_raw", "cmd_prenorm"])
def test_reference_vectors(name):
    safetensors = pytest.importorskip("safetensors.numpy")
    file = GOLDEN / f"{name}.safetensors"
    if not file.exists():
        pytest.skip(f"needs {file}")
    import cases_ntu

    tensors = safetensors.load_file(file)
    inputs = {k.removeprefix("input."): v for k, v in tensors.items() if k.startswith("input.")}
    expected = {k.removeprefix("output."): v for k, v in tensors.items() if k.startswith("output.")}
    computed = getattr(cases_ntu, f"run_{name}")(inputs, json.loads(file.with_suffix(".json").read_text()))
    assert set(computed) == set(expected)
    for key, value in expected.items():
        assert computed[key].dtype == value.dtype, key
        np.testing.assert_allclose(computed[key], value, atol=1e-6, err_msg=key)


def test_one_body_drops_empty_frames():
    body = person(12).astype(np.float32)
    np.testing.assert_array_equal(mamp_denoise(clip((5, 0, 3, body))), body.reshape(12, 75))


def test_a_short_second_body_is_noise():
    body = person(20).astype(np.float32)
    denoised = mamp_denoise(clip((5, 0, 0, body), (6, 1, 4, person(11, 1))))
    np.testing.assert_array_equal(denoised, body.reshape(20, 75))
    assert mamp_denoise(clip((5, 0, 0, body), (6, 1, 4, person(12, 1)))).shape == (20, 150)


def test_a_lying_second_body_is_noise():
    assert mamp_denoise(clip((5, 0, 0, person(20)), (6, 1, 0, wide(20)))).shape == (20, 75)
    # the first to be examined goes, the last that is left stays whatever it looks like
    np.testing.assert_allclose(
        mamp_denoise(clip((5, 0, 0, wide(20, 1)), (6, 1, 0, wide(20, 2))))[0, :3], wide(20, 2)[0, 0], atol=1e-6
    )


def test_of_bodies_that_are_all_too_short_the_longest_is_kept():
    denoised = mamp_denoise(clip((5, 0, 0, person(4)), (6, 0, 8, person(7, 1)), frames=15))
    assert denoised.shape == (7, 75)
    np.testing.assert_allclose(denoised[:, :3], person(7, 1)[:, 0], atol=1e-6)


def test_the_liveliest_is_actor_one_and_successors_continue_an_actor():
    calm, lively, later = person(14, 1, 0.2), person(14, 2, 0.4), person(14, 3, 0.3)
    denoised = mamp_denoise(clip((1, 0, 0, calm), (2, 1, 0, lively), (3, 0, 16, later), frames=30)).reshape(-1, 2, 25, 3)
    assert len(denoised) == 28  # the two empty frames between are dropped
    np.testing.assert_allclose(denoised[:14, 0], lively, atol=1e-6)
    np.testing.assert_allclose(denoised[:14, 1], calm, atol=1e-6)
    np.testing.assert_allclose(denoised[14:, 0], later, atol=1e-6)
    assert not denoised[14:, 1].any()


def test_gaps_of_a_body_are_closed():
    first, second = person(30, 1), person(24, 2)
    gap = clip((1, 0, 0, first), (2, 1, 0, second[:12]), (2, 1, 18, second[12:]), frames=30)
    denoised = mamp_denoise(gap).reshape(-1, 2, 25, 3)
    short = 0 if not denoised[24:, 0].any() else 1  # it was moved up and ends at frame 24
    np.testing.assert_allclose(denoised[:24, short], second, atol=1e-6)


def test_an_id_twice_in_a_frame_counts_once():
    body = person(20).astype(np.float32)
    np.testing.assert_array_equal(mamp_denoise(clip((5, 0, 0, body), (5, 1, 0, person(20, 9)))), body.reshape(20, 75))


def test_centre_is_the_first_spine_and_keeps_the_path():
    moved = mamp_centre(mamp_actors(clip((1, 0, 0, person(20, 1)), (2, 1, 5, person(15, 2)))))
    main = next(m for m in (0, 1) if moved.positions[0, m].any())
    assert moved.people == 2
    assert not moved.positions[:5, 1 - main].any()
    if main == 0:
        assert not moved.positions[0, 0, 1].any()
    assert np.ptp(moved.positions[:, main, 1], axis=0).max() > 0.01


def test_duplicate_fills_an_absent_second_person_only():
    single = mamp_actors(clip((1, 0, 0, person(20))))
    twice = mamp_duplicate(single)
    assert twice.people == 2
    np.testing.assert_array_equal(twice.positions[:, 0], twice.positions[:, 1])
    both = mamp_actors(clip((1, 0, 0, person(20)), (2, 1, 0, person(20, 1))))
    assert mamp_duplicate(both) is both
    empty = single.with_(positions=np.pad(single.positions, ((0, 0), (0, 1), (0, 0), (0, 0))))
    np.testing.assert_array_equal(mamp_duplicate(empty).positions, twice.positions)


def named(performer, camera, setup=2, frames=20, action=1, two=False):
    bodies = [(1, 0, 0, person(frames, performer))] + ([(2, 1, 0, person(frames, 77))] if two else [])
    meta = {"performer": performer, "camera": camera, "setup": setup}
    return clip(*bodies, frames=frames, label=action - 1, meta=meta)


@pytest.mark.parametrize("split", ["XSub", "XView", "XSub120", "XSet120"])
def test_npz_arrays(split):
    clips = [named(8, 3), named(3, 1, setup=1, frames=14), named(1, 2, two=True), named(2, 2)]
    arrays = mamp_npz_arrays(clips, split)
    classes = 120 if "120" in split else 60
    assert arrays["x_train"].shape == (3, 20, 150)
    assert arrays["x_test"].shape == (1, 20, 150)
    assert arrays["y_train"].shape == (3, classes)
    assert not arrays["x_test"][0, 14:].any()
    second = arrays["x_test"][0, :14, 75:]
    assert (second == arrays["x_test"][0, :14, :75]).all() if classes == 120 else not second.any()
    if split == "XSub":  # by performer: 1, 2, 8
        assert [bool(x[:, 75:].any()) for x in arrays["x_train"]] == [True, False, False]


def test_npz_arrays_teach():
    with pytest.raises(UserError, match="known: XSub"):
        mamp_npz_arrays([], "xsub")
    with pytest.raises(UserError, match="needs names"):
        mamp_npz_arrays([clip((1, 0, 0, person(20)))], "XSub")
    with pytest.raises(UserError, match="nobody"):
        mamp_actors(Clip(np.zeros((3, 1, 25, 3), np.float32), NTU25))
    with pytest.raises(UserError, match="ntu25"):
        cmd_bodies(Clip(np.ones((3, 1, 20, 3), np.float32), KINECT20))
    with pytest.raises(UserError, match="expected"):
        cmd_prenormalise(np.zeros((1, 3, 5, 25, 3)))


def test_cmd_takes_the_two_of_most_energy_of_four_slots():
    bodies = [(s + 1, s, 0, person(20, s, 0.1 * (s + 1))) for s in range(5)]
    found = cmd_bodies(clip(*bodies))
    assert found.shape == (3, 20, 25, 2)
    np.testing.assert_allclose(found[..., 0].transpose(1, 2, 0), bodies[3][3], atol=1e-6)
    np.testing.assert_allclose(found[..., 1].transpose(1, 2, 0), bodies[2][3], atol=1e-6)


@given(st.integers(0, 2**20), st.integers(1, 9), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_prenormalise_invariants(seed, frames, gap):
    x = np.zeros((2, 3, gap + frames, 25, 2), np.float32)
    x[:, :, gap:, :, 0] = person(frames, seed).transpose(2, 0, 1)
    y = cmd_prenormalise(x, 2 * (gap + frames) + 1)
    assert y.shape == (2, 3, 2 * (gap + frames) + 1, 25, 2)
    body = y[0, ..., 0].transpose(1, 2, 0)
    assert body.any((1, 2)).all()  # filled to the end
    np.testing.assert_allclose(body[:, 1], 0, atol=1e-6)  # centred in every frame
    np.testing.assert_allclose(body[frames], body[0], atol=1e-6)  # repeats
    source = person(frames, seed)
    np.testing.assert_allclose(  # rigid
        np.linalg.norm(body[0, 5] - body[0, 9]), np.linalg.norm(source[0, 5] - source[0, 9]), atol=1e-5
    )
    shoulders = body[0, 8] - body[0, 4]
    assert shoulders[0] == pytest.approx(np.linalg.norm(shoulders), abs=1e-5)
    assert not y[..., 1].any()


def test_cmds_preparation_of_a_clip_is_the_published_one_of_a_batch():
    raw = clip((3, 0, 2, person(15, 1)), (4, 1, 0, person(20, 2, 0.6)), (9, 2, 1, person(4, 3, 0.1)))
    found = prepare(raw, Preparation(actors="cmd", longest=18, centre="cmd", people=2))
    expected = cmd_prenormalise(cmd_bodies(raw)[None, :, :18])[0]
    np.testing.assert_array_equal(found.positions, expected.transpose(1, 3, 2, 0))
    assert found.body_ids is None
    alone = cmd_centre(cmd_actors(raw).with_(positions=cmd_actors(raw).positions[:, :1]))
    np.testing.assert_allclose(alone.positions[:, 0], cmd_centre(cmd_actors(raw)).positions[:, 0], atol=1e-6)
    with pytest.raises(UserError, match="3 people; CMD's preparation is for one or two"):
        cmd_centre(raw)
    with pytest.raises(UserError, match="expected ntu25"):
        cmd_actors(Clip(np.zeros((4, 1, 20, 3), np.float32), KINECT20))


def test_prenormalise_cuts_and_takes_nothing():
    assert cmd_prenormalise(np.ones((1, 3, 400, 25, 2)), 300).shape == (1, 3, 300, 25, 2)
    assert cmd_prenormalise(np.zeros((0, 3, 4, 25, 2))).shape == (0, 3, 4, 25, 2)
    assert not cmd_prenormalise(np.zeros((1, 3, 4, 25, 2))).any()
