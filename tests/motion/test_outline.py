"""What is drawn of a skeleton: a body, whatever tree its joints hang in."""

import numpy as np
import pytest

from kinema.motion.outline import outline
from kinema.motion.skeleton import Skeleton, tree
from kinema.motion.skeletons import COCO17, HAND21, MEDIAPIPE33, NTU25, SKELETONS

BODIES = [s for s in SKELETONS.values() if s is not HAND21]
HEAD = ("nose", "eye", "ear", "mouth", "head", "face")
USERS = {
    "camel": "RShoulder Nose\nLShoulder Nose\nNose -\nLElbow LShoulder\nRHip RShoulder\nLHip LShoulder\nREar RShoulder\nLEar LShoulder",
    "one word": "nose -\nlefthip nose\nrighthip nose\nleftshoulder nose\nrightshoulder nose\nleftforearm leftshoulder",
    "no tree": "left_hip -\nright_hip -\nleft_shoulder -\nright_shoulder -\nhead -",
    "from the ears": "nose -\nleft_ear nose\nright_ear nose\nleft_shoulder left_ear\nright_shoulder right_ear\n"
    "left_hip left_shoulder\nright_hip right_shoulder",
    "from a hip": "right_hip -\nleft_hip right_hip\nleft_shoulder left_hip\nright_shoulder left_shoulder\nnose left_shoulder",
    "from the pelvis": "hips -\nleft_shoulder hips\nright_shoulder hips\nhead hips\nleft_hip hips\nright_hip hips",
}


def graph(skeleton):
    """The names at both ends of every line; a middle is joined to the two it lies between."""
    plan = outline(skeleton)
    names = [*skeleton.joints, *(f"middle {i}" for i in range(len(plan.middles)))]
    lines = {frozenset((names[a], names[b])) for a, b, _ in plan.lines}
    return lines | {frozenset((f"middle {i}", names[j])) for i, pair in enumerate(plan.middles) for j in pair}


def reached(start, lines):
    found = {start}
    while more := {n for line in lines if line & found for n in line} - found:
        found |= more
    return found


def joint(skeleton, side, part):
    [name] = [n for n in skeleton.joints if n.lower().replace("_", "") in (side + part, side[0] + part)]
    return name


def all_bodies():
    return [*BODIES, *(tree(name, table) for name, table in USERS.items())]


@pytest.mark.parametrize("skeleton", all_bodies(), ids=lambda s: s.name)
def test_a_body_hangs_together_and_no_shoulder_hangs_from_a_face(skeleton):
    lines = graph(skeleton)
    assert reached(skeleton.joints[0], lines) >= set(skeleton.joints)
    for line in lines:
        limb = any(n.lower().endswith(word) for n in line for word in ("shoulder", "hip"))
        assert not (limb and any(n.lower().lstrip("lr") in HEAD or n.split("_")[-1] in HEAD for n in line)), line


@pytest.mark.parametrize("skeleton", all_bodies(), ids=lambda s: s.name)
@pytest.mark.parametrize("part", ["shoulder", "hip"])
def test_left_and_right_are_joined_across_the_trunk(skeleton, part):
    if not any(part in n.lower() and n.lower() != "hips" for n in skeleton.joints):
        pytest.skip(f"{skeleton.name} has none")
    left, right = (joint(skeleton, side, part) for side in ("left", "right"))
    other = "hip" if part == "shoulder" else "shoulder"
    within = [li for li in graph(skeleton) if not any(w in n.lower() for n in li for w in ("nose", "head", "ear", "elbow", "knee"))]
    within = [li for li in within if not any(n.lower().endswith(other) for n in li)]
    assert right in reached(left, within)


@pytest.mark.parametrize("skeleton", [COCO17, MEDIAPIPE33], ids=lambda s: s.name)
def test_a_trunk_without_a_spine_has_two_sides(skeleton):
    lines = graph(skeleton)
    for side in ("left", "right"):
        assert {f"{side}_shoulder", f"{side}_hip"} in lines


def test_a_line_across_the_body_is_neither_left_nor_right():
    plan = outline(COCO17)
    for a, b, side in plan.lines:
        ends = {plan.sides[j] for j in (a, b) if j < len(COCO17)}
        assert side == (0 if ends >= {1, 2} else max(ends))


def test_what_is_a_body_already_and_what_is_none_is_drawn_as_its_tree():
    for skeleton in (NTU25, HAND21, Skeleton("dots", ("a", "b"), (-1, -1))):
        assert [line[:2] for line in outline(skeleton).lines] == skeleton.edges()
        assert outline(skeleton).middles == ()


def test_names_that_only_contain_a_word_are_not_that_part():
    plan = outline(tree("x", "heart -\nleft_forearm heart\nright_forearm heart\nleft_shoulder heart\nright_shoulder heart"))
    assert plan.head == ()
    assert len([line for line in plan.lines if 0 in line[:2]]) == 4


def test_the_neck_begins_between_the_shoulders_and_only_where_both_are_seen():
    plan = outline(COCO17)
    joints = np.arange(17 * 2, dtype=float).reshape(17, 2)
    left, right = plan.shoulders
    np.testing.assert_allclose(plan.points(joints)[17], (joints[left] + joints[right]) / 2)
    seen = np.ones(17)
    seen[left] = 0.25
    assert plan.seen(seen)[17] == 0.25
    seen[left] = 0
    assert not plan.seen(seen > 0)[17]
