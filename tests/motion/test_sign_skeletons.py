"""Layouts of pose estimators, and the way from one to another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.convert import convert, hand
from kinema.motion.keypoints import (
    COCO17,
    HAND,
    HAND21,
    HOLISTIC75,
    KEYPOINTS,
    MEDIAPIPE33,
    OPENPOSE137,
    SIGN49,
    WHOLEBODY133,
)
from kinema.motion.skeleton import Skeleton
from kinema.motion.skeletons import KINECT20, SKELETONS


def clip(skeleton: Skeleton, frames: int = 3, people: int = 1, seed: int = 0, **more) -> Clip:
    rng = np.random.default_rng(seed)
    shape = (frames, people, len(skeleton))
    confidence = rng.uniform(0.1, 1, shape).astype(np.float32) * (rng.random(shape) < 0.8)
    positions = rng.uniform(10, 200, (*shape, 2)).astype(np.float32) * (confidence > 0)[..., None]
    fields = {"confidence": confidence, "units": "pixels", "image_size": (256, 256)} | more
    return Clip(positions, skeleton, **fields)


def at(c: Clip, name: str) -> np.ndarray:
    return c.positions[:, :, c.skeleton.index(name)]


def test_they_are_registered():
    assert [SKELETONS[s.name] for s in KEYPOINTS] == list(KEYPOINTS)
    assert [len(s) for s in KEYPOINTS] == [17, 133, 33, 75, 137, 21, 49]


def test_published_places():
    """Indices as the papers and tools give them."""
    assert WHOLEBODY133.joints[:17] == COCO17.joints
    assert [WHOLEBODY133.joints[i] for i in (17, 22, 23, 90)] == ["left_big_toe", "right_heel", "face_0", "face_67"]
    assert [WHOLEBODY133.joints[i] for i in (91, 95, 111, 112, 132)] == [
        *("left_hand_root", "left_thumb4", "left_little4", "right_hand_root", "right_little4")
    ]
    assert HOLISTIC75.joints[:33] == MEDIAPIPE33.joints
    body = ["nose", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist"]
    assert [WHOLEBODY133.joints[i] for i in (0, 5, 7, 9, 6, 8, 10)] == body
    assert [HOLISTIC75.joints[i] for i in (0, 11, 13, 15, 12, 14, 16)] == body
    assert list(SIGN49.joints[42:]) == body
    assert SIGN49.joints[:21] == tuple(f"left_{j}" for j in HAND)
    assert SIGN49.joints[21:42] == tuple(f"right_{j}" for j in HAND)
    assert [OPENPOSE137.joints[i] for i in (0, 1, 4, 7, 8, 24)] == [
        *("nose", "neck", "right_wrist", "left_wrist", "hip_centre", "right_heel")
    ]
    assert OPENPOSE137.joints[25:95] == tuple(f"face_{i}" for i in range(70))


def test_a_hand_is_five_chains_from_its_root():
    for tip in (4, 8, 12, 16, 20):
        chain = [tip]
        while HAND21.parents[chain[-1]] >= 0:
            chain.append(HAND21.parents[chain[-1]])
        assert chain == [tip, tip - 1, tip - 2, tip - 3, 0]
    root = SIGN49.index("left_hand_root")
    assert SIGN49.joints[SIGN49.parents[root]] == "left_wrist"


def test_every_side_has_its_mirror():
    for skeleton in KEYPOINTS:
        mirror = skeleton.mirror()
        for i, joint in enumerate(skeleton.joints):
            if joint.startswith(("left_", "right_")):
                assert mirror[i] != i, joint
    face = {WHOLEBODY133.index(f"face_{i}"): i for i in range(68)}
    midline = {i for at, i in face.items() if WHOLEBODY133.mirror()[at] == at}
    assert midline == {8, 27, 28, 29, 30, 33, 51, 57, 62, 66}


@pytest.mark.parametrize("source", [WHOLEBODY133, HOLISTIC75, OPENPOSE137], ids=lambda s: s.name)
def test_whole_people_become_signers(source: Skeleton):
    given = clip(source, people=2)
    signer = convert(given, SIGN49)
    assert signer.skeleton is SIGN49
    for joint in SIGN49.joints:
        np.testing.assert_array_equal(at(signer, joint), at(given, joint))
    kept = [source.index(j) for j in SIGN49.joints]
    np.testing.assert_array_equal(signer.confidence, given.confidence[:, :, kept])
    assert (signer.units, signer.image_size) == ("pixels", (256, 256))


def test_what_the_source_lacks_is_absent():
    wide = convert(clip(COCO17), WHOLEBODY133)
    here = [WHOLEBODY133.index(j) for j in COCO17.joints]
    lacking = np.setdiff1d(np.arange(133), here)
    assert not wide.positions[:, :, lacking].any()
    assert not wide.confidence[:, :, lacking].any()
    assert wide.confidence[:, :, here].any()


def test_without_confidence():
    given = clip(WHOLEBODY133, confidence=None)
    assert convert(given, COCO17).confidence is None
    signed = convert(convert(given, COCO17), SIGN49)
    np.testing.assert_array_equal(signed.confidence > 0, (signed.positions != 0).any(-1))


def test_different_names_of_one_place():
    given = clip(MEDIAPIPE33)
    np.testing.assert_array_equal(at(convert(given, WHOLEBODY133), "left_big_toe"), at(given, "left_foot_index"))
    np.testing.assert_array_equal(at(convert(given, OPENPOSE137), "face_48"), at(given, "right_mouth"))


def test_sensors_share_the_names_of_limbs():
    positions = np.random.default_rng(0).random((2, 1, 20, 3)).astype(np.float32)
    body = convert(Clip(positions, KINECT20), COCO17)
    np.testing.assert_array_equal(at(body, "left_knee"), positions[:, :, KINECT20.index("left_knee")])
    assert not at(body, "nose").any()


def test_one_hand_out_of_a_person_and_back():
    given = clip(HOLISTIC75)
    left = hand(given, "left")
    assert left.skeleton is HAND21
    assert left.meta["hand"] == "left"
    np.testing.assert_array_equal(at(left, "thumb4"), at(given, "left_thumb4"))
    back = convert(left, SIGN49)
    np.testing.assert_array_equal(at(back, "left_thumb4"), at(given, "left_thumb4"))
    assert not at(back, "right_thumb4").any()
    assert not back.confidence[:, :, 21:].any()


def test_impossible_conversions_are_told():
    with pytest.raises(UserError, match=r"hand21 is one hand; choose it with kinema.motion.convert.hand"):
        convert(clip(SIGN49), HAND21)
    with pytest.raises(UserError, match="which hand is it"):
        convert(clip(HAND21), SIGN49)
    with pytest.raises(UserError, match="coco17 has no joint of hand21"):
        hand(clip(COCO17), "left")
    with pytest.raises(UserError, match="expected left or right"):
        hand(clip(SIGN49), "both")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="hand21 has no joint of coco17"):
        convert(clip(HAND21, meta={"hand": "left"}), COCO17)


@settings(max_examples=30, deadline=None)
@given(
    source=st.sampled_from([s for s in KEYPOINTS if s is not HAND21]),
    to=st.sampled_from([s for s in KEYPOINTS if s is not HAND21]),
    seed=st.integers(0, 99),
)
def test_there_and_back_keeps_what_both_have(source: Skeleton, to: Skeleton, seed: int):
    given_clip = clip(source, seed=seed)
    there = convert(given_clip, to)
    back = convert(there, source)
    both = [source.index(j) for j in source.joints if to.has(j)]
    np.testing.assert_array_equal(back.positions[:, :, both], given_clip.positions[:, :, both])
    np.testing.assert_array_equal(back.confidence[:, :, both], given_clip.confidence[:, :, both])
    assert not there.positions[there.confidence == 0].any()
