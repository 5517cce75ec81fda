"""Units and axes that the user says: what they become, and names of joints in every spelling."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from people import BODY, body

from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.conventions import AXES, METRES, Conventions
from kinema.motion.landmarks import place
from kinema.motion.plausible import measures
from kinema.motion.skeletons import COCO17

HERE = body().astype(np.float32)[:, None]


def clip(positions: np.ndarray, **facts: object) -> Clip:
    return Clip(positions.astype(np.float32), BODY, **facts)


@pytest.mark.parametrize("unit", METRES)
def test_lengths_become_metres(unit):
    offsets = np.ones((1, len(BODY), 3), np.float32)
    found = Conventions(unit).applied(clip(HERE / METRES[unit], offsets=offsets))
    np.testing.assert_allclose(found.positions, HERE, atol=1e-5)
    np.testing.assert_allclose(found.offsets, offsets * METRES[unit], rtol=1e-6)
    assert found.units == "metres"


@pytest.mark.parametrize("up", AXES)
@pytest.mark.parametrize("left_handed", [False, True])
def test_any_axis_up_becomes_y_and_right_handed(up, left_handed):
    """Whatever turn a file has, people stand along y afterwards, and their right is not their left."""
    axis, sign = "xyz".index(up[-1]), -1 if up[0] == "-" else 1
    basis = np.zeros((3, 3))  # rows: where the file's axes come from; the others as they fall, right-handed
    basis[axis, 1] = sign
    basis[(axis + 1) % 3, 2] = 1
    basis[(axis + 2) % 3, 0] = 1
    if np.linalg.det(basis) < 0:
        basis[(axis + 2) % 3] *= -1
    if left_handed:
        basis[(axis + 1) % 3] *= -1
    found = Conventions(up=up, left_handed=left_handed).applied(clip(HERE @ basis.T))
    facts = measures(found)
    assert facts.up[1] > 0.95
    assert facts.mirrored == 0
    np.testing.assert_allclose(found.positions[..., 1], HERE[..., 1], atol=1e-6)


def test_absent_joints_stay_zero_and_old_rotations_go():
    positions = HERE.copy()
    positions[:, :, 3] = 0
    turned = Conventions("mm", "z").applied(clip(positions, rotations=np.ones((*HERE.shape[:3], 4), np.float32)))
    assert not turned.positions[:, :, 3].any()
    assert turned.rotations is None


def test_2d():
    flat = Clip(np.array([[[3.0, 4.0]] * 17], np.float32)[:, None], COCO17, units="pixels", image_size=(9, 9))
    assert Conventions(up="y").applied(flat).positions[0, 0, 0].tolist() == [3, -4]
    assert Conventions(up="x").applied(flat).positions[0, 0, 0].tolist() == [4, -3]
    assert Conventions(up="-y").applied(flat).positions[0, 0, 0].tolist() == [3, 4]
    sizes = [Conventions(up=up).applied(flat).image_size for up in ("-y", "y", "x")]
    assert sizes == [(9, 9), None, None], "a turned clip does not lie in the picture any more"
    assert (Conventions("none").applied(flat).units, Conventions("none").applied(flat).image_size) == ("normalised", None)
    for wrong in (Conventions(up="z"), Conventions(left_handed=True)):
        with pytest.raises(UserError, match="2-D positions"):
            wrong.applied(flat)
    with pytest.raises(UserError, match="'km'; expected one of m, cm"):
        Conventions("km")


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("hip", "pelvis Hips hip_centre HipCenter spine_base SpineBase MidHip L_Hip LeftUpLeg mixamorig:LeftUpLeg"),
        ("hip", "RHip thigh.L lhipjoint LASI HipLeft"),
        ("foot", "left_ankle LFoot rtoes LeftToeBase RBigToe RANK AnkleLeft foot_l ball_r Bip01_L_Foot left_foot_index RIGHT_HEEL toe.R lfoot"),
        ("head", "head Head HeadTop_End nose rightEye leftear LFHD head_end face_12 mixamorig:Head"),
        ("neck", "neck upperneck shoulder_centre SpineShoulder Neck Thorax"),
        ("shoulder", "left_shoulder LShoulder lShldr ShoulderRight right_collar l_clavicle"),
        ("hand", "left_wrist LeftHandIndex1 rthumb hand.R left_hand_tip"),
        (None, "spine joint_3 lfemur knee LeftArm abdomen rtibia"),
    ],
)  # fmt: skip
def test_places_by_name(group, names):
    assert {name: place(name).group for name in names.split()} == dict.fromkeys(names.split(), group)


def test_sides_by_name():
    assert {place(n).side for n in "left_hip L_Hip LeftUpLeg lfoot LASI hip.L HipLeft ball_l leftear".split()} == {"left"}
    assert {place(n).side for n in "right_hip RHip rtoes RANK AnkleRight rear".split()} == {"right"}
    assert {place(n).side for n in "pelvis head spine nose".split()} == {None}
