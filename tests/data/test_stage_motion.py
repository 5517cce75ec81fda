"""What the stage promises of every action and every transition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kinema.data.stage import rig, stage1
from kinema.data.stage.action import KINDS
from kinema.data.stage.body import JOINT, SUBJECTS, body
from kinema.data.stage.captions import captions
from kinema.data.stage.compose import FPS, Performance, Person, playable
from kinema.data.stage.feet import CONTACTS
from kinema.data.stage.table import ACTIONS
from kinema.data.stage.take import CHANNELS, LIMITS, Style, mirror, reach
from kinema.motion.skeletons import SMPL22

ACCELERATION = 200.0  # m/s2, the stated bound for every joint, as second differences at 20 fps
SLIP = 0.01  # m/s
ANGLES = {"hip": 135, "ankle": 80, "spine1": 35, "spine2": 35, "spine3": 35, "neck": 40, "head": 40, "collar": 27}
PARENTS = np.array(SMPL22.parents[1:])
FEET = [JOINT[name] for name in CONTACTS]


def check(shown: Performance, people: list[Person]) -> None:
    p = shown.positions
    lengths = np.linalg.norm(p[:, :, 1:] - p[:, :, PARENTS], axis=-1)
    rest = np.stack([np.linalg.norm(x.body.offsets[1:], axis=-1) for x in people])
    assert np.abs(lengths - rest).max() < 1e-5, "bone lengths"

    speed = np.linalg.norm(np.diff(p[:, :, FEET], axis=0), axis=-1) * FPS
    planted = shown.contacts[1:] & shown.contacts[:-1]
    assert speed[planted].max() < SLIP, "a planted foot slides"
    assert p[..., 1].min() > rig.FLOOR - 1e-4, "below the floor"

    acceleration = np.linalg.norm(np.diff(p, 2, axis=0), axis=-1) * FPS**2
    worst = np.unravel_index(acceleration.argmax(), acceleration.shape)
    assert acceleration.max() < ACCELERATION, f"{SMPL22.joints[worst[2]]} accelerates by {acceleration.max():.0f} m/s2"

    for name, (low, high) in LIMITS.items():
        c = shown.channels[..., CHANNELS.index(name)]
        assert c.min() >= low, f"{name} {c.min():.0f}"
        assert c.max() <= high, f"{name} {c.max():.0f}"
    q = shown.rotations
    turned = np.degrees(2 * np.arccos(np.minimum(np.abs(q[..., 0]), 1)))
    for joint, limit in ANGLES.items():
        own = [i for i, name in enumerate(SMPL22.joints) if name.removeprefix("left_").removeprefix("right_") == joint]
        assert turned[:, :, own].max() < limit, f"{joint} {turned[:, :, own].max():.0f}"
    for joint, axis, sign in (("left_knee", 1, 1), ("right_knee", 1, 1), ("left_elbow", 2, -1), ("right_elbow", 2, 1)):
        hinge = q[:, :, JOINT[joint]]
        bend = np.degrees(2 * np.arctan2(sign * hinge[..., axis], hinge[..., 0]))
        assert -0.1 <= bend.min(), joint
        assert bend.max() <= 152, joint
        assert np.abs(np.delete(hinge, (0, axis), -1)).max() < 1e-9, f"{joint} is a hinge"


@pytest.mark.parametrize("name", stage1.CLASSES)
def test_every_action_keeps_the_promises(name):
    for k in (0, 17):
        check(*stage1.perform(stage1.CLASSES.index(name) + len(stage1.CLASSES) * k))


def transition(first: str, second: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    check(*stage1.perform_sequence([first, second], [stage1._style(rng), stage1._style(rng)], seed))


@pytest.mark.parametrize(("one", "two"), list(itertools.product(KINDS, KINDS)))
def test_transitions_between_kinds_keep_the_promises(one, two):
    rng = np.random.default_rng([KINDS.index(one), KINDS.index(two)])
    pairs = [
        (a, b) for a in ACTIONS for b in ACTIONS if (ACTIONS[a].kind, ACTIONS[b].kind) == (one, two) and a != b and playable([a, b])
    ]
    for k in rng.choice(len(pairs), 2, replace=False):
        transition(*pairs[k], seed=int(k))


@pytest.mark.slow
@pytest.mark.parametrize("first", stage1.CLASSES)
def test_every_transition_keeps_the_promises(first):
    for i, second in enumerate(stage1.CLASSES):
        if playable([first, second]):
            for k in range(2):
                transition(first, second, seed=1000 * k + i)


@pytest.mark.slow
@pytest.mark.parametrize("name", stage1.CLASSES)
def test_every_clip_of_the_world_keeps_the_promises(name):
    for index in range(stage1.CLASSES.index(name), stage1.SIZE, len(stage1.CLASSES)):
        check(*stage1.perform(index))


@pytest.mark.parametrize("name", stage1.CLASSES)
def test_actions_hold_at_the_ends_of_the_style_range(name):
    for speed, amplitude, variant in ((0.72, 1.24, 0.99), (1.38, 0.76, 0.01), (1.38, 1.24, 0.99)):
        style = Style("right", speed, amplitude, curve=35.0, repeats=2, variant=variant, slump=6.0, stagger=0.12)
        check(*stage1.perform_sequence([name], [style], 5))


def test_rotations_reproduce_the_positions():
    for index in (0, 9, 13, 27, 30):
        clip = stage1.clip(index, sensor=False)
        for m in range(clip.people):
            again = rig.forward_kinematics(clip.rotations[:, m], clip.positions[:, m, 0], clip.offsets[m])
            assert np.abs(again - clip.positions[:, m]).max() < 1e-5
        assert np.abs(np.linalg.norm(clip.rotations, axis=-1) - 1).max() < 1e-6


def test_left_is_left_and_forward_is_z():
    style = Style("left", curve=0.0, variant=0.5)
    shown, _ = stage1.perform_sequence(["wave"], [style], 3)
    wrists = shown.positions[:, 0, [JOINT["left_wrist"], JOINT["right_wrist"]], 1].max(0)
    assert wrists[0] > wrists[1] + 0.2, "the left hand waves"
    shown, _ = stage1.perform_sequence(["walk"], [style], 3)
    p = shown.positions[:, 0]
    across = p[0, JOINT["left_hip"]] - p[0, JOINT["right_hip"]]
    ahead = p[-1, 0] - p[0, 0]
    assert np.cross(across, [0, 1, 0]) @ ahead > 0.2, "left, up and forward are right-handed as +x, +y, +z"
    toes = p[0, JOINT["left_foot"]] - p[0, JOINT["left_ankle"]]
    assert toes @ ahead > 0


def test_sides_mirror():
    assert np.allclose(mirror(mirror(np.arange(len(CHANNELS), dtype=float))), np.arange(len(CHANNELS)))
    tops = []
    for side in ("left", "right"):
        shown, _ = stage1.perform_sequence(["kick"], [Style(side)], 11)
        tops.append(shown.positions[:, 0, [JOINT["left_foot"], JOINT["right_foot"]], 1].max(0))
    assert tops[0][0] > tops[0][1] + 0.2
    assert tops[1][1] > tops[1][0] + 0.2


@pytest.mark.parametrize("side", ["left", "right"])
def test_paths_go_where_the_captions_say(side):
    sign = 1 if side == "left" else -1

    def to_the_left(name: str, style: Style) -> tuple[float, float]:
        """How far the pelvis went to the left of where it first faced, metres; how far it turned to the left, radians."""
        p = stage1.perform_sequence([name], [style], 2)[0].positions[:, 0]
        across = p[:, JOINT["left_hip"]] - p[:, JOINT["right_hip"]]
        first, last = across[0, [0, 2]] / np.linalg.norm(across[0, [0, 2]]), across[-1, [0, 2]]
        turned = np.arctan2(first[1] * last[0] - first[0] * last[1], first @ last)
        return float((p[-1, 0] - p[0, 0])[[0, 2]] @ first), float(turned)

    assert sign * to_the_left("sidestep", Style(side))[0] > 0.3
    assert sign * to_the_left("turn_around", Style(side, amplitude=0.9))[1] > 1.0
    curved = Style(side, curve=-30.0)
    assert f"curving to the {'right' if side == 'left' else 'left'}" in captions("walk", curved)[0]
    assert sign * to_the_left("walk", curved)[1] < -0.5


def test_hands_meet():
    def gap(name: str, index: int) -> float:
        clip = stage1.clip(stage1.CLASSES.index(name) + 32 * index, sensor=False)
        mine = JOINT[f"{clip.meta['style']['side']}_wrist"]
        a, b = (
            (clip.positions[:, 0, mine], clip.positions[:, 1, mine])
            if clip.people == 2
            else np.moveaxis(clip.positions[:, 0, 20:22], 1, 0)
        )
        return float(np.linalg.norm(a - b, axis=-1).min())

    for name in ("clap", "shake_hands", "high_five", "give"):
        assert np.median([gap(name, k) for k in range(5)]) < 0.18, name


def test_reach_brings_the_wrist_to_the_point():
    for x, y, z in ((-0.2, 0.1, 0.7), (0.3, 0.4, 0.4), (0.1, -0.5, 0.3)):
        flex, abd, twist, elbow = np.radians(reach(x, y, z))
        upper = np.array([np.sin(abd), -np.cos(abd) * np.cos(flex), np.cos(abd) * np.sin(flex)])
        c = np.zeros((1, len(CHANNELS)))
        c[0, CHANNELS.index("left_flex") : CHANNELS.index("left_flex") + 4] = np.degrees([flex, abd, twist, elbow])
        local = np.zeros((4, 1, 22))
        local[0] = 1
        rig._arms(local, np.radians(c.T))
        q = np.moveaxis(local, 0, -1)
        offsets = np.zeros((22, 3))
        offsets[JOINT["left_elbow"], 0], offsets[JOINT["left_wrist"], 0] = 0.52, 0.48
        p = rig.forward_kinematics(q, np.zeros((1, 3)), offsets)[0]
        assert np.allclose(p[JOINT["left_elbow"]], 0.52 * upper, atol=1e-9)
        assert np.allclose(p[JOINT["left_wrist"]], (x, y, z), atol=1e-6)


def test_bodies_differ():
    heights = [body(s, stage1.STAGE1_SEED).height_of("head") for s in range(SUBJECTS)]
    assert len(set(heights)) == SUBJECTS
    assert min(heights) > 1.2
    assert max(heights) < 2.0
