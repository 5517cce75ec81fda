"""The common skeletons agree with what was published and with one another."""

from __future__ import annotations

import pytest

from kinema.motion.skeleton import Skeleton
from kinema.motion.skeletons import COCO17, KINECT20, MSR20, NTU25, SBU15, SKELETONS, SMPL22, root_joint


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_each_is_whole(skeleton: Skeleton):
    digits = int(skeleton.name.strip("abcdefghijklmnopqrstuvwxyz"))
    assert len(skeleton) == digits
    assert skeleton.parents.count(-1) == 1
    body = ["torso", "left_arm", "right_arm", "left_leg", "right_leg"]
    parts = list(skeleton.parts)
    assert parts[:5] == body or skeleton.name in ("hand21", "sign49")
    assert set(parts) <= {*body, "left_hand", "right_hand", "face", "hand"}
    assert sorted(j for part in skeleton.parts.values() for j in part) == sorted(skeleton.joints)
    mirror = skeleton.mirror()
    assert [mirror[m] for m in mirror] == list(range(digits))
    for child, parent in skeleton.edges():  # the tree is the same on both sides
        assert skeleton.parents[mirror[child]] in (mirror[parent], parent)
    for side, other in (("left", "right"), ("right", "left")):
        for part in ("arm", "leg", "hand"):
            mine = skeleton.parts.get(f"{side}_{part}", ())
            assert tuple(j.replace(side, other) for j in mine) == skeleton.parts.get(f"{other}_{part}", ())
    assert Skeleton.from_json(skeleton.to_json()) == skeleton


def test_ntu_bones_are_the_published_list():
    published = (
        "1,2 2,21 3,21 4,3 5,21 6,5 7,6 8,7 9,21 10,9 11,10 12,11 13,1 "
        "14,13 15,14 16,15 17,1 18,17 19,18 20,19 22,23 21,21 23,8 24,25 25,12"
    )
    assert " ".join(f"{a + 1},{b + 1}" for a, b in NTU25.bone_pairs()) == published


def test_msr_has_the_joints_of_kinect_in_another_order():
    assert sorted(MSR20.joints) == sorted(KINECT20.joints)
    parents = {j: p for s in (KINECT20,) for j, p in zip(s.joints, s.parents, strict=True)}
    for joint, parent in zip(MSR20.joints, MSR20.parents, strict=True):
        expected = parents[joint]
        assert (parent, expected) == (-1, -1) or MSR20.joints[parent] == KINECT20.joints[expected]


def test_root_joint():
    roots = [root_joint(s) for s in (SMPL22, KINECT20, MSR20, NTU25, SBU15, COCO17)]
    assert roots == ["pelvis", "hip_centre", "hip_centre", "spine_base", "torso", "nose"]
    assert root_joint(Skeleton("two", ("tip", "base"), (1, -1))) == "base"
