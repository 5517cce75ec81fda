"""Pixels or not: people from every side, near and far, cut, sitting, with a lost joint, of few frames, and hands alone."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent))
from people import normalised, picture
from sign_writers import MEDIAPIPE_HAND, pose

from kinema.errors import FormatError
from kinema.motion.clip import Clip
from kinema.motion.convert import convert, hand
from kinema.motion.formats import read_file
from kinema.motion.formats.estimates import estimated
from kinema.motion.formats.image_units import image_units
from kinema.motion.keypoints import COCO17, HAND21, HOLISTIC75, MEDIAPIPE33, SIGN49
from kinema.motion.skeleton import Skeleton

LEFT, RIGHT = HOLISTIC75.index("left_shoulder"), HOLISTIC75.index("right_shoulder")
SEEN = {s.name: s for s in (HOLISTIC75, MEDIAPIPE33, COCO17, SIGN49, HAND21)}
people = st.fixed_dictionaries(
    {
        "frames": st.integers(1, 20),
        "seed": st.integers(0, 99),
        "yaw": st.floats(-np.pi, np.pi) | st.sampled_from([0, np.pi / 2, -np.pi / 2, 1.5]),
        "sitting": st.booleans(),
    }
)


def seen_as(xy: np.ndarray, skeleton: Skeleton, lost: bool, score: np.ndarray | None = None) -> Clip:
    """The clip `(T, 1, J of skeleton, 2)`, in which one joint is far away throughout if it is `lost`."""
    sure = np.ones(xy.shape[:2], np.float32) if score is None else score
    clip = Clip(xy[:, None].astype(np.float32), HOLISTIC75, 25, sure[:, None].astype(np.float32), "pixels")
    clip = hand(clip, "left") if skeleton == HAND21 else convert(clip, skeleton)
    positions = clip.positions.copy()
    if lost:
        positions[:, :, 3] = 4000
    return estimated(positions, clip.confidence, skeleton, 25, "x", (640, 480))


@settings(max_examples=150, deadline=None)
@given(
    person=people,
    skeleton=st.sampled_from(sorted(SEEN)),
    lost=st.booleans(),
    height=st.floats(30, 2000),
    x=st.floats(0.15, 0.85),
    y=st.floats(0.3, 0.8),
)
def test_people_in_a_picture_are_in_pixels(person, skeleton, lost, height, x, y):
    """Close up, the body reaches far out of the picture; far away, a hand takes four pixels."""
    clip = seen_as(picture(**person, height=height, at=(640 * x, 480 * y)), SEEN[skeleton], lost)
    assert clip.units == "pixels"


@settings(max_examples=150, deadline=None)
@given(
    person=people,
    skeleton=st.sampled_from(sorted(SEEN)),
    lost=st.booleans(),
    height=st.floats(0.1, 4),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
)
def test_shares_of_a_picture_are_not(person, skeleton, lost, height, x, y):
    clip = seen_as(picture(**person, height=height, at=(x, y)), SEEN[skeleton], lost)
    assert (clip.units, clip.image_size) == ("normalised", None)


@settings(max_examples=150, deadline=None)
@given(
    person=people, skeleton=st.sampled_from(sorted(set(SEEN) - {"hand21"})), lost=st.booleans(), scale=st.sampled_from([1, 1, 1, 10, 100, 512]),
    height=st.floats(50, 900),
)  # fmt: skip
def test_shoulder_widths_are_not_from_any_side(person, skeleton, lost, scale, height):
    """From the side the shoulders are one behind the other: the feet are then at 15, or at 50."""
    xy = scale * normalised(picture(**person, height=height), LEFT, RIGHT)
    assert seen_as(xy, SEEN[skeleton], lost).units == "normalised"


def test_the_side_view_that_was_taken_for_pixels():
    xy = normalised(picture(yaw=np.pi / 2 - 0.2), LEFT, RIGHT)
    assert np.abs(xy).max() > 12
    assert seen_as(xy, HOLISTIC75, False).units == "normalised"


@settings(max_examples=60, deadline=None)
@given(person=people, joint=st.integers(10, 20), scale=st.sampled_from([1, 20, 200]))
def test_a_hand_centred_on_itself_is_not_in_pixels(person, joint, scale):
    clip = seen_as(picture(**person), HAND21, False)
    xy = clip.positions[:, 0] - clip.positions[:, :, [0, HAND21.index("middle1")]].mean(2)
    xy = scale * xy / np.linalg.norm(clip.positions[:, 0, 0] - clip.positions[:, 0, HAND21.index("middle1")], axis=-1).mean()
    xy[0, joint] = 3000
    assert image_units(xy[:, None], np.ones((len(xy), 1, 21), bool), HAND21) == "normalised"


def test_two_people_and_nobody():
    a, b = picture(at=(100, 240)), picture(at=(500, 240))
    two = np.stack([a, b], 1)
    seen = np.ones(two.shape[:3], bool)
    assert image_units(two, seen, HOLISTIC75) == "pixels"
    apart = (two - two[:, :, [LEFT, RIGHT]].mean((0, 1, 2))) / 60
    assert image_units(apart, seen, HOLISTIC75) == "normalised"
    assert image_units(two, np.zeros_like(seen), HOLISTIC75) == "pixels"


def test_shoulders_of_width_one_that_are_not_centred():
    xy = picture(height=600, at=(900, 600), yaw=1.2)
    wide = np.linalg.norm(xy[:, LEFT] - xy[:, RIGHT], axis=-1).mean()
    assert image_units((xy / wide)[:, None], np.ones((len(xy), 1, 75), bool), HOLISTIC75) == "normalised"


def test_a_size_that_cannot_be_of_the_picture_is_not_believed():
    near = picture(height=3000, at=(320, 1500))  # the face, and a body guessed below the picture
    assert seen_as(near, HOLISTIC75, False, np.where(near[..., 1] < 480, 1, 0.3)).image_size == (640, 480)
    assert seen_as(picture(at=(1500, 900)), HOLISTIC75, False).image_size is None


def test_scores_on_another_scale_are_refused_and_a_little_above_one_is_cut():
    xy = picture()[:, None].astype(np.float32)
    with pytest.raises(FormatError, match=r"scores of about 85; expected 0 to 1.*by 100"):
        estimated(xy, np.full(xy.shape[:3], 85.0), HOLISTIC75, 25, "x")
    score = np.full(xy.shape[:3], 0.9)
    score[0, 0, 0] = 130  # one of them
    assert estimated(xy, score, HOLISTIC75, 25, "x").confidence.max() == 1


def test_what_the_user_says_is_taken(tmp_path: Path):
    file = tmp_path / "a.pose"
    file.write_bytes(pose(0.1, [("LEFT_HAND_LANDMARKS", "XYC", MEDIAPIPE_HAND)], np.full((2, 1, 21, 2), 4.0), np.ones((2, 1, 21))))
    assert read_file(file)[0].units == "normalised"
    from kinema.data.build import build
    from kinema.data.store import Store
    from kinema.motion.conventions import Conventions

    build(tmp_path, tmp_path / "s", workers=1, conventions=Conventions("px"))
    store = Store.open(tmp_path / "s")
    assert (store.entries[0].units, store.entries[0].image_size, store.read_as) == ("pixels", (640, 480), {"units": "px"})
