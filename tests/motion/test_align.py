"""Turning, centring and scaling: properties on random clips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kinema.errors import UserError
from kinema.motion.align import centre_every, centre_first, unit_scale, yaw_align
from kinema.motion.clip import Clip
from kinema.motion.modalities import bone, motion
from kinema.motion.skeleton import Skeleton
from kinema.motion.skeletons import COCO17, KINECT20, NTU25, SBU15, SMPL22

quick = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def a_clip(seed: int, skeleton: Skeleton = KINECT20, people: int = 2, frames: int = 7) -> Clip:
    rng = np.random.default_rng(seed)
    p = rng.normal(size=(frames, people, len(skeleton), 3)) + rng.normal(size=(1, people, 1, 3)) * 3
    p[rng.random((frames, people)) < 0.2] = 0  # absent
    return Clip(p.astype(np.float32), skeleton)


def yawed(clip: Clip, angle: float) -> Clip:
    turn = Rotation.from_rotvec([0, angle, 0]).as_matrix()
    return clip.with_(positions=(clip.positions.astype(np.float64) @ turn.T).astype(np.float32))


def side_line(clip: Clip) -> np.ndarray:
    """What `yaw_align` turns by, written out for its lead."""
    present = clip.present()
    first = next(t for t in range(clip.frames) if present[t].any())
    lead = int(present[first].argmax())
    frames = [t for t in range(clip.frames) if present[t, lead]][:5]
    at = {j: clip.positions[frames, lead, i] for i, j in enumerate(clip.skeleton.joints)}
    return (at["right_shoulder"] - at["left_shoulder"] + at["right_hip"] - at["left_hip"]).mean(0)


@given(seeds, st.floats(-4, 4), st.sampled_from([KINECT20, NTU25, SBU15, SMPL22]))
@quick
def test_yaw_align_forgets_the_yaw_and_keeps_everything_else(seed: int, angle: float, skeleton: Skeleton):
    clip = a_clip(seed, skeleton)
    assume(clip.present().any())
    line = side_line(clip)
    assume(np.hypot(line[0], line[2]) > 0.05)
    aligned = yaw_align(clip)
    np.testing.assert_allclose(yaw_align(yawed(clip, angle)).positions, aligned.positions, atol=3e-4)
    np.testing.assert_allclose(yaw_align(aligned).positions, aligned.positions, atol=1e-4)
    np.testing.assert_array_equal(aligned.positions[..., 1], clip.positions[..., 1])
    lengths = [np.linalg.norm(bone(c.positions, skeleton), axis=-1) for c in (clip, aligned)]
    np.testing.assert_allclose(*lengths, atol=1e-4)
    np.testing.assert_array_equal(aligned.present(), clip.present())
    turned = side_line(aligned)
    assert turned[0] > 0
    assert abs(turned[2]) < 1e-3 * turned[0] + 1e-5


def standing() -> np.ndarray:
    """`(1, 1, 20, 3)`: left at -x, right at +x, 3 m before the camera: a person who faces a Kinect."""
    x = [-0.2 if j.startswith("left") else 0.2 if j.startswith("right") else 0.0 for j in KINECT20.joints]
    p = np.zeros((1, 1, 20, 3), np.float32)
    p[0, 0, :, 0], p[0, 0, :, 1], p[0, 0, :, 2] = x, np.linspace(-1, 1, 20), 3
    return p


def test_who_faces_the_camera_stays_and_who_has_no_side_stays():
    clip = Clip(standing(), KINECT20)
    np.testing.assert_allclose(yaw_align(clip).positions, clip.positions, atol=1e-6)
    flat = standing()
    flat[..., 0] = 0
    clip = Clip(flat, KINECT20)
    assert yaw_align(clip) is clip
    nobody = Clip(np.zeros((3, 2, 20, 3), np.float32), KINECT20)
    for step in (yaw_align, centre_first, centre_every, unit_scale):
        np.testing.assert_array_equal(step(nobody).positions, 0)


def test_yaw_align_turns_root_rotations_with_the_body():
    clip = yawed(Clip(standing(), KINECT20), 0.7)
    identity = np.zeros((1, 1, 20, 4), np.float32)
    identity[..., 0] = 1
    aligned = yaw_align(clip.with_(rotations=identity))
    assert aligned.rotations is not None
    np.testing.assert_allclose(aligned.rotations[0, 0, 0], [np.cos(0.35), 0, -np.sin(0.35), 0], atol=1e-6)
    np.testing.assert_array_equal(aligned.rotations[0, 0, 1:], identity[0, 0, 1:])


def test_yaw_align_teaches():
    with pytest.raises(UserError, match="2D"):
        yaw_align(Clip(np.ones((1, 1, 17, 2), np.float32), COCO17))
    with pytest.raises(UserError, match="left_ and right_"):
        yaw_align(Clip(np.ones((1, 1, 1, 3), np.float32), Skeleton("dot", ("dot",), (-1,))))
    with pytest.raises(UserError, match="0 frames"):
        yaw_align(Clip(standing(), KINECT20), frames=0)


@given(seeds, st.sampled_from(["hip_centre", "head", None]))
@quick
def test_centring(seed: int, joint: str | None):
    clip = a_clip(seed)
    present = clip.present()
    assume(present.any())
    at = KINECT20.index(joint or "hip_centre")
    once, always = centre_first(clip, joint), centre_every(clip, joint)
    t = int(present.any(1).argmax())
    np.testing.assert_array_equal(once.positions[t, int(present[t].argmax()), at], 0)
    for t in np.flatnonzero(present.any(1)):
        np.testing.assert_array_equal(always.positions[t, int(present[t].argmax()), at], 0)
    for moved in (once, always):
        np.testing.assert_array_equal(moved.present(), present)
        apart = [(c.positions[:, 1] - c.positions[:, 0])[present.all(1)] for c in (clip, moved)]
        np.testing.assert_allclose(*apart, atol=1e-5)
    np.testing.assert_allclose(centre_every(always, joint).positions, always.positions, atol=1e-6)


def test_absent_joints_stay_zero():
    p = standing()
    p[0, 0, 7] = 0
    sure = np.ones((1, 1, 20), np.float32)
    sure[0, 0, 7] = 0
    clip = Clip(p, KINECT20, confidence=sure)
    np.testing.assert_array_equal(centre_first(clip, "head").positions[0, 0, 7], 0)
    with pytest.raises(UserError, match="no joint 'nose'"):
        centre_first(clip, "nose")


@given(seeds, st.floats(0.01, 100))
@quick
def test_unit_scale_forgets_the_scale(seed: int, factor: float):
    clip = a_clip(seed)
    assume(clip.present().any())
    scaled = unit_scale(clip)
    assert scaled.units == "normalised"
    np.testing.assert_allclose(
        unit_scale(clip.with_(positions=clip.positions * np.float32(factor))).positions, scaled.positions, rtol=2e-4
    )
    present = scaled.present()
    lead = int(present[int(present.any(1).argmax())].argmax())
    body = scaled.positions[present[:, lead], lead]
    lengths = [np.linalg.norm(body[:, c] - body[:, p], axis=-1) for c, p in KINECT20.edges()]
    assert np.mean(lengths) == pytest.approx(1, abs=1e-4)


def test_bone_and_motion():
    p = a_clip(1, NTU25).positions
    b = bone(p, NTU25)
    for child, parent in NTU25.bone_pairs():
        np.testing.assert_array_equal(b[:, :, child], p[:, :, child] - p[:, :, parent])
    np.testing.assert_array_equal(b[:, :, NTU25.index("spine_shoulder")], 0)
    np.testing.assert_array_equal(bone(p[0, 0], NTU25), b[0, 0])
    m = motion(p)
    np.testing.assert_array_equal(m[-1], 0)
    np.testing.assert_array_equal(m[2], p[3] - p[2])
    np.testing.assert_array_equal(motion(p[:1]), 0)
