import math

import pytest
import torch
from fake_format import SKELETON
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.augment import (
    CorruptJoints,
    JointDrop,
    Mirror,
    Noise,
    Rotate,
    Scale,
    Shear,
    ShearOrCorrupt,
    Yaw,
    bone,
    mirrored,
    motion,
    rotation,
)
from kinema.errors import UserError
from kinema.training.method import Step

ORDER = tuple(SKELETON.mirror())
ALL = [
    Rotate(),
    Yaw(),
    Mirror(ORDER),
    Shear(),
    JointDrop(0.5),
    CorruptJoints(2),
    ShearOrCorrupt(1.0, joints=2),
    Noise(0.1),
    Scale(),
]


def batch(rows=3, frames=4, coordinates=3, seed=0):
    x = torch.randn(rows, frames, 2, 4, coordinates, generator=torch.Generator().manual_seed(seed))
    x[1, :, 1] = 0
    x[2, 1, 0, 2] = 0
    return x


@pytest.mark.parametrize("augmentation", ALL, ids=lambda a: type(a).__name__)
def test_each_keeps_shape_and_absence_and_can_be_replayed(augmentation):
    x = batch()
    before = x.clone()
    y = augmentation(x, Step(4, seed=9))
    assert y.shape == x.shape
    assert not y[1, :, 1].any()
    assert not y[(x == 0).all(-1)].any() or isinstance(augmentation, Mirror)
    assert torch.equal(x, before)
    assert torch.equal(y, augmentation(x, Step(4, seed=9)))
    assert not torch.equal(y, augmentation(x, Step(5, seed=9))) or isinstance(augmentation, Mirror)


@settings(max_examples=25, deadline=None)
@given(index=st.integers(0, 10_000), angle=st.floats(0, math.pi))
def test_turning_keeps_lengths(index, angle):
    x = batch()
    for augmentation in (Rotate(angle), Yaw(angle)):
        y = augmentation(x, Step(index))
        pairs = SKELETON.bone_pairs()
        torch.testing.assert_close(bone(y, pairs).norm(dim=-1), bone(x, pairs).norm(dim=-1), atol=1e-5, rtol=1e-5)


def test_yaw_keeps_heights():
    x = batch()
    torch.testing.assert_close(Yaw()(x, Step(0))[..., 1], x[..., 1])


def test_rotation_is_the_published_product():
    a, b, c = 0.3, -0.2, 0.7
    x = torch.tensor([[1, 0, 0], [0, math.cos(a), math.sin(a)], [0, -math.sin(a), math.cos(a)]])
    y = torch.tensor([[math.cos(b), 0, -math.sin(b)], [0, 1, 0], [math.sin(b), 0, math.cos(b)]])
    z = torch.tensor([[math.cos(c), math.sin(c), 0], [-math.sin(c), math.cos(c), 0], [0, 0, 1]])
    torch.testing.assert_close(rotation(torch.tensor([[a, b, c]]))[0], z @ y @ x)


def test_mirroring_twice_changes_nothing():
    x = batch()
    assert torch.equal(mirrored(mirrored(x, ORDER), ORDER), x)
    left, right = SKELETON.index("left_hand"), SKELETON.index("right_hand")
    assert torch.equal(mirrored(x, ORDER)[..., left, 1:], x[..., right, 1:])
    assert torch.equal(mirrored(x, ORDER)[..., left, 0], -x[..., right, 0])
    assert torch.equal(Mirror(ORDER, p=0)(x, Step(0)), x)
    assert torch.equal(Mirror(ORDER, p=1)(x, Step(0)), mirrored(x, ORDER))


def test_two_views_of_a_step_differ_by_purpose():
    x = batch()
    assert not torch.equal(Rotate(purpose="first")(x, Step(0)), Rotate(purpose="second")(x, Step(0)))


def test_dropped_joints_are_gone_everywhere():
    x = torch.ones(50, 3, 2, 4, 3)
    y = JointDrop(0.5)(x, Step(0))
    kept = y[:, 0, 0, :, 0]
    assert torch.equal(y, x * kept[:, None, None, :, None])
    assert 0.3 < kept.mean() < 0.7


def test_shear_has_ones_on_its_diagonal():
    x = torch.zeros(1, 1, 1, 4, 3)
    x[..., 0, 0] = 1
    y = Shear(0.4)(x, Step(0))[0, 0, 0, 0]
    assert y[0] == 1
    assert (y[1:].abs() <= 0.4).all()
    assert y[1:].any()
    assert torch.equal(Shear(p=0)(x, Step(0)), x)


def test_bones_and_motion_are_differences():
    x = batch()
    b = bone(x, SKELETON.bone_pairs())
    assert torch.equal(b[..., 1, :], x[..., 1, :] - x[..., 0, :])
    assert not b[..., 0, :].any()
    m = motion(x)
    assert torch.equal(m[:, 1], x[:, 2] - x[:, 1])
    assert not m[:, -1].any()


def test_two_dimensions_cannot_be_turned_but_mirrored():
    x = batch(coordinates=2)
    with pytest.raises(UserError, match="2 coordinates"):
        Rotate()(x, Step(0))
    assert Mirror(ORDER, 1.0)(x, Step(0)).shape == x.shape


def test_corruption_hits_so_many_joints_and_is_zero_or_one_matrix_a_clip():
    x = torch.rand(400, 2, 2, 4, 3) + 0.5
    y = CorruptJoints(3)(x, Step(0))
    changed = (y != x).any(-1)
    assert torch.equal(changed, changed[:, :1, :1].expand_as(changed))  # the same joints in all frames and people
    assert (changed[:, 0, 0].sum(1) == 3).all()
    assert changed[:, 0, 0].float().mean(0).sub(0.75).abs().max() < 0.08
    zero = torch.tensor([not row[hit].any() for row, hit in zip(y, changed, strict=True)])
    assert 0.42 < zero.float().mean() < 0.58
    row = int((~zero).nonzero()[0])
    before, after = x[row][changed[row]], y[row][changed[row]]
    solved = torch.linalg.lstsq(before, after).solution
    assert solved.abs().max() <= 1
    torch.testing.assert_close(before @ solved, after, atol=1e-4, rtol=1e-4)
    with pytest.raises(UserError, match="count 5, but there are 4 joints"):
        CorruptJoints(5)(x, Step(0))


def test_a_view_is_left_sheared_or_corrupted():
    x = torch.rand(600, 1, 1, 4, 3) + 0.5
    y = ShearOrCorrupt(0.5, 1.0, 2)(x, Step(1))
    hit = (y != x).any(-1).flatten(1).sum(1)
    shares = [(hit == n).float().mean().item() for n in (0, 2, 4)]
    assert sum(shares) == pytest.approx(1)
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.07)
