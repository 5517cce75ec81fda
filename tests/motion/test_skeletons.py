"""The common skeletons agree with what was published and with one another."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinema.errors import FormatError
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


JOINTS = ["root", "left_a", "right_a", "head"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"parents": [None, "root", "root", "neck"]},
            "the joint 'head' names the parent 'neck', which is no joint; joints are root, ",
        ),
        ({"parents": [None, "rooot", 0, 0]}, "'left_a' names the parent 'rooot', which is no joint .did you mean 'root'"),
        ({"parents": [None, 0, 0, 9]}, "'head' has the parent 9; expected a place from 0 to 3, or -1 .null. for a root"),
        ({"parents": [None, 0, 0, -2]}, "'head' has the parent -2; expected a place"),
        ({"parents": ["root", 0, 0, 0]}, "'root' is its own parent; write null for a root"),
        ({"parents": [None, "head", "root", "left_a"]}, "go in a circle, 'left_a' -> 'head' -> 'left_a'; one of"),
        ({"parents": [None, 0]}, "2 parents for 4 joints; expected one for each joint"),
        ({"parents": [None]}, "1 parent for 4 joints"),
        ({"parents": {"head": "root"}}, "parents is an object; expected a list, for each joint"),
        ({"parents": "root"}, 'parents is "root"; expected a list'),
        ({"parents": [None, 0.0, 0, 0]}, "'left_a' has the parent 0.0; expected a joint's name or place"),
        ({"parents": [None, True, 0, 0]}, "'left_a' has the parent true; expected"),
        ({"parents": [None, [0], 0, 0]}, "'left_a' has the parent a list; expected"),
        ({"joints": ["a", "b", "a"]}, "the joint 'a' is there twice"),
        ({"joints": []}, "0 joints; joints must be 1 to 1024"),
        ({"joints": "abc"}, 'joints is "abc"; expected a list of names'),
        ({"joints": ["a", None]}, "joints, entry 1: null is no name"),
        ({"joints": ["a", " "]}, 'joints, entry 1: " " is no name'),
        ({"joints": [f"j{i}" for i in range(1025)]}, "1025 joints; joints must be 1 to 1024"),
        ({"pairs": [["left_a", "rigth_a"]]}, "pairs: no joint 'rigth_a' .did you mean 'right_a'"),
        ({"pairs": [["left_a"]]}, r"pairs, entry 0: 1 name; expected a list of pairs of joints, \[left, right\]"),
        ({"pairs": ["left_a", "right_a"]}, 'pairs, entry 0 is "left_a"; expected a list of pairs'),
        ({"pairs": [["left_a", "right_a"], ["head", "left_a"]]}, "pairs: 'left_a' is in two pairs"),
        ({"pairs": [["head", "head"]]}, "pairs: 'head' is paired with itself"),
        ({"pairs": {"left_a": "right_a"}}, "pairs is an object; expected a list of pairs"),
        ({"parts": {"arm": ["hand"]}}, "parts, arm: no joint 'hand'"),
        ({"parts": {"arm": "head"}}, "parts, 'arm' is \"head\"; expected an object of lists"),
        ({"parts": [["head"]]}, "parts is a list; expected an object of lists"),
        ({"bones": [["head", "neck"]]}, "bones: no joint 'neck'"),
        ({"bones": None}, "bones is null; expected a list of pairs"),
        ({"name": 5}, "name: 5 is no name"),
        ({"parent": [None]}, "unknown key 'parent' .did you mean parents"),
    ],
)
def test_a_mistake_in_a_description_is_named(change: dict[str, object], message: str):
    with pytest.raises(FormatError, match=message) as caught:
        Skeleton.from_json({"joints": JOINTS, **change}, "skeleton.json")
    assert str(caught.value).startswith("skeleton.json: ")
    assert "\n" not in str(caught.value)


def test_descriptions_that_are_fine():
    assert Skeleton.from_json({"joints": JOINTS}).parents == (-1, -1, -1, -1)
    assert Skeleton.from_json({"joints": JOINTS, "parents": [None, None, "left_a", 0]}).parents == (-1, -1, 1, 0)
    chain = Skeleton.from_json({"joints": [f"j{i}" for i in range(1024)], "parents": [*range(1, 1024), None]})
    assert chain.parents[-1] == -1
    with pytest.raises(FormatError, match="no joints; expected a list of names"):
        Skeleton.from_json({"parents": [None]})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_description_in_any_unicode(tmp_path: Path, encoding: str):
    (tmp_path / "skeleton.json").write_text('{"joints": ["José"]}', encoding=encoding)
    assert Skeleton.load(tmp_path / "skeleton.json").joints == ("José",)


def test_a_file_that_is_no_description(tmp_path: Path):
    file = tmp_path / "skeleton.json"
    for content, message in (
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        (" " * (2**20 + 1), "at most"),
    ):
        file.write_text(content)
        with pytest.raises(FormatError, match=message):
            Skeleton.load(file)
