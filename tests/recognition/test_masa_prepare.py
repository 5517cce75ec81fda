"""Boxes and cut-outs of hands against loops over frames, which follow the published steps one by one."""

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.skeletons import NTU25, SIGN49, WHOLEBODY133
from kinema.recognition.masa_prepare import (
    SignParts,
    SignPreparation,
    cut_out,
    frames_of,
    hand_boxes,
    has_box,
    prepare_sign,
    sign_parts,
)


def naive_box(hand, arm, size, p):
    """One frame: `(21, 3)` and `(3, 3)` -> [left, right, top, bottom] or zeros."""
    seen = [row for row in hand.tolist() if row[2] > p.visible]
    if len(seen) >= p.least:
        low = [min(row[a] for row in seen) for a in range(2)]
        high = [max(row[a] for row in seen) for a in range(2)]
        side, short = round(p.margin * max(high[0] - low[0], high[1] - low[1])), min(size)
        whole = side >= short - 1
        side = short - 1 if whole else side
        box = []
        for a in range(2):
            if whole and size[a] == short:
                box += [0, size[a] - 1]
                continue
            start = round(max(0, (low[a] + high[a]) / 2 - side / 2))
            end = start + side
            if end > size[a] - 1:
                start, end = size[a] - 1 - side, size[a] - 1
            box += [start, end]
        return [int(v) for v in box]
    shoulder, elbow, wrist = arm.tolist()
    low_wrist = p.bottom is not None and wrist[1] >= size[1] - p.bottom
    if low_wrist or min(shoulder[2], elbow[2], wrist[2]) < p.arm:
        return [0, 0, 0, 0]
    side = 1.1 * max(math.dist(wrist[:2], elbow[:2]), 0.9 * math.dist(elbow[:2], shoulder[:2]))
    corner = [max(0, wrist[a] + 0.33 * (wrist[a] - elbow[a]) - side / 2) for a in range(2)]
    side = int(max(0, min(size[a] - corner[a] if corner[a] + side > size[a] else side for a in range(2))))
    x, y = int(corner[0]), int(corner[1])
    return [x, x + side, y, y + side] if side else [0, 0, 0, 0]


@given(st.integers(0, 2**31), st.sampled_from([(640, 480), (256, 256), (300, 720)]), st.sampled_from(["wlasl", "slr500"]))
@settings(max_examples=60, deadline=None)
def test_boxes_are_those_of_the_published_steps(seed, size, name):
    rng, p = np.random.default_rng(seed), getattr(SignPreparation, name)()
    spread = rng.choice([5.0, 40.0, 200.0], (12, 1, 1))
    centre = rng.random((12, 1, 2)) * np.array(size)
    # quarter pixels make ties, which are rounded to even
    hand = np.concatenate([(centre + rng.normal(size=(12, 21, 2)) * spread).round() / 1, rng.random((12, 21, 1)) * 0.25], 2)
    arm = np.concatenate([(rng.random((12, 3, 2)) * size).round(), rng.random((12, 3, 1)) * 0.5 + 0.5], 2)
    found = hand_boxes(hand.astype(np.float32), arm.astype(np.float32), size, p)
    expected = [naive_box(h, a, size, p) for h, a in zip(hand.astype(np.float32), arm.astype(np.float32), strict=True)]
    assert found.tolist() == expected
    inside = found[has_box(found)]
    assert (inside[:, [0, 2]] >= 0).all()
    assert (inside[:, [1, 3]] <= np.array(size)).all()


@given(st.integers(0, 2**31), st.booleans())
@settings(max_examples=30, deadline=None)
def test_cut_outs_are_those_of_the_published_steps(seed, mirror):
    rng = np.random.default_rng(seed)
    hand = np.concatenate([rng.random((6, 21, 2)) * 300, rng.random((6, 21, 1))], 2).astype(np.float32)
    boxes = np.array([[10, 210, 40, 240], [0, 99, 0, 99], [0, 0, 0, 0]] * 2)
    xy, confidence = cut_out(hand, boxes, 0.5, mirror)
    for t, (left, right, top, bottom) in enumerate(boxes.tolist()):
        for j, (x, y, c) in enumerate(hand[t].tolist()):
            there = right > left and c >= 0.5
            assert confidence[t, j] == pytest.approx(c if there else 0)
            if right == left:
                assert xy[t, j].tolist() == [0, 0]
                continue
            x, y = (x, y) if there else (0, 0)
            u, v = max(0, (x - left) / (right - left) * 256), max(0, (y - top) / (bottom - top) * 256)
            if mirror:
                u, v = (0 if w >= 255 else w for w in (256 - u, v))
            assert (256 * xy[t, j]).tolist() == pytest.approx([u, v], abs=1e-3)


def test_a_mirrored_hand_looks_like_the_other():
    rng = np.random.default_rng(0)
    right = np.concatenate([rng.random((4, 21, 2)) * 100 + 80, np.ones((4, 21, 1))], 2).astype(np.float32)
    boxes = np.tile([30, 230, 30, 230], (4, 1))
    left = right.copy()
    left[..., 0] = 260 - left[..., 0]
    np.testing.assert_allclose(cut_out(left, boxes, 0.5, True)[0], cut_out(right, boxes, 0.5, False)[0], atol=1e-5)


def test_long_clips_are_thinned():
    p = SignPreparation()
    assert frames_of(150, p).tolist() == list(range(150))
    assert frames_of(151, p).tolist() == list(range(0, 151, 2))
    assert frames_of(301, p).tolist() == list(range(0, 301, 3))
    assert frames_of(301, SignPreparation.wlasl()).tolist() == list(range(0, 300, 2))
    assert frames_of(1, SignPreparation.wlasl()).tolist() == [0]


def keypoints(frames, right, left):
    """`(T, 49, 3)` of SIGN49: hands seen in some frames, the arms never."""
    found = np.zeros((frames, 49, 3), np.float32)
    found[..., :2] = np.random.default_rng(0).random((frames, 49, 2)) * 60 + 90
    found[left, :21, 2] = 0.9
    found[right, 21:42, 2] = 0.9
    found[:, 42:, 2] = 0.3
    return found


def test_frames_without_a_hand_are_left_out_and_an_absent_hand_is_zero():
    parts = sign_parts(keypoints(6, [0, 1, 4], [1, 5]), (300, 300), SignPreparation())
    assert parts.frames.tolist() == [0, 1, 4, 5]
    assert (parts.left_confidence > 0).any(1).tolist() == [False, True, False, True]
    assert (parts.right[3] == 0).all()
    assert parts.body_confidence.min() == pytest.approx(0.3)  # nothing is left out of a body


def test_a_clip_without_any_hand_keeps_its_frames():
    parts = sign_parts(keypoints(5, [], []), (300, 300), SignPreparation())
    assert len(parts) == 5
    assert (parts.right == 0).all()
    assert (parts.left_confidence == 0).all()
    assert parts.body.shape == (5, 7, 2)


def test_all_joints_at_one_place_make_no_box():
    points = keypoints(3, [0, 1, 2], [])
    points[:, 21:42, :2] = 100
    parts = sign_parts(points, (300, 300), SignPreparation())
    assert np.isfinite(parts.right).all()
    assert (parts.right_confidence == 0).all()


def test_clips_of_other_skeletons_are_converted_by_name():
    points = keypoints(6, [0, 1, 4], [1, 5])
    clip = Clip(points[:, None, :, :2], SIGN49, confidence=points[:, None, :, 2], units="pixels", image_size=(300, 300))
    expected = sign_parts(points, (300, 300), SignPreparation())

    def same(parts):
        for field in fields(SignParts):
            np.testing.assert_array_equal(getattr(parts, field.name), getattr(expected, field.name), field.name)

    same(prepare_sign(clip, SignPreparation()))
    whole = np.zeros((6, 1, 133, 3), np.float32)
    whole[:, 0, [WHOLEBODY133.index(n) for n in SIGN49.joints]] = points
    clip = Clip(whole[..., :2], WHOLEBODY133, confidence=whole[..., 2], units="pixels", image_size=(300, 300))
    same(prepare_sign(clip, SignPreparation()))


def test_what_cannot_be_prepared_is_told():
    clip = Clip(np.ones((2, 1, 49, 2), np.float32), SIGN49, units="pixels", image_size=(9, 9), source="a.pose")
    for bad, message in [
        (clip.with_(units="normalised"), "a.pose: normalised, image size \\(9, 9\\); boxes of hands need pixels"),
        (clip.with_(image_size=None), "image size None"),
        (Clip(np.ones((2, 1, 25, 2), np.float32), NTU25, units="pixels", image_size=(9, 9)), None),
    ]:
        if message is None:
            assert prepare_sign(bad, SignPreparation()).right_confidence.max() == 0  # no hands, but arms
        else:
            with pytest.raises(UserError, match=message):
                prepare_sign(bad, SignPreparation())
    with pytest.raises(UserError, match="no person 1 among 1"):
        prepare_sign(clip, SignPreparation(), 1)
    with pytest.raises(ValueError, match="arm 2"):
        SignPreparation(arm=2)
