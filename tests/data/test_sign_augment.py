"""Augmentation of signers' poses: what is not there stays away, mirrors are mirrors, and nothing depends on the rest of the batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kinema.data.sign_augment import JitterParts, SwapHands, swapped
from kinema.errors import UserError
from kinema.motion.keypoints import SIGN49
from kinema.motion.keypoints import SIGN49_BODY as BODY
from kinema.motion.keypoints import SIGN49_LEFT as LEFT
from kinema.motion.keypoints import SIGN49_RIGHT as RIGHT


class Fixed:
    """Draws that a test chooses, between -1 and 1 or between 0 and 1."""

    def __init__(self, share: float | Tensor):
        self.share = share

    def uniform(self, purpose: str, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
        """Everywhere the same share of the way from low to high."""
        return low + (high - low) * torch.as_tensor(self.share, dtype=torch.float32).expand(shape)

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Not used."""
        raise AssertionError


def signers(seed: int = 0, rows: int = 3, frames: int = 5) -> Tensor:
    """`(B, T, 1, 49, 3)`, a third of the joints not there."""
    x = torch.rand(rows, frames, 1, 49, 3, generator=torch.Generator().manual_seed(seed))
    x[..., 2] = (x[..., 2] > 1 / 3).float()
    return x * x[..., 2:]


BOTH = pytest.mark.parametrize("augmentation", [SwapHands(p=1.0), JitterParts()])


@BOTH
def test_what_is_not_there_stays_zero(augmentation):
    x = signers()
    y = augmentation(x, Fixed(0.9))
    assert y.shape == x.shape
    assert (y[y[..., 2] == 0] == 0).all()
    assert y[..., 2].sum() == x[..., 2].sum()


@BOTH
def test_refuses_what_is_no_signer(augmentation):
    with pytest.raises(UserError, match=r"positions \(1, 2, 1, 25, 3\); expected \(B, T, 1, 49, 3\)"):
        augmentation(torch.zeros(1, 2, 1, 25, 3), Fixed(0.5))


def test_parts_are_those_of_the_skeleton():
    assert all(name.startswith("left_") for name in SIGN49.joints[LEFT])
    assert all(name.startswith("right_") for name in SIGN49.joints[RIGHT])
    assert SIGN49.joints[BODY.start] == "nose"


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_mirrored_twice_is_as_before(seed):
    x = signers(seed)
    assert torch.allclose(swapped(swapped(x)), x, atol=1e-7)


def test_a_mirror_exchanges_sides_by_name():
    x = signers()
    y = swapped(x)
    for name in SIGN49.joints:
        other = name.replace("left_", "\0").replace("right_", "left_").replace("\0", "right_")
        i, j = SIGN49.index(name), SIGN49.index(other)
        expected = x[..., j, :].clone()
        if i >= BODY.start:  # hands are cut out, the left one mirrored already
            expected[..., 0] = torch.where(expected[..., 2] > 0, 1 - expected[..., 0], 0)
        assert torch.equal(y[..., i, :], expected), name


def test_swapping_is_a_choice_for_each_clip():
    x = signers(rows=4)
    y = SwapHands(p=0.5)(x, Fixed(torch.tensor([0.0, 0.4, 0.6, 0.9])))
    assert torch.equal(y[:2], swapped(x)[:2])
    assert torch.equal(y[2:], x[2:])


def test_jitter_turns_stretches_and_shifts_each_part_about_its_middle():
    x = torch.ones(1, 1, 1, 49, 3)
    x[..., 0], x[..., 1] = 0.7, 0.6
    draws = torch.zeros(1, 3, 5)
    draws[0, 0] = torch.tensor([1.0, 0, 0, 0, 0])  # the left hand is turned
    draws[0, 1] = torch.tensor([0, 1.0, -1.0, 0, 0])  # the right one stretched
    draws[0, 2] = torch.tensor([0, 0, 0, 1.0, -1.0])  # the body shifted
    y = JitterParts(angle=math.pi / 2, stretch=0.1, shift=0.05)(x, Fixed((draws + 1) / 2))
    assert np.allclose(y[0, 0, 0, LEFT, :2], [0.4, 0.7], atol=1e-6)
    assert np.allclose(y[0, 0, 0, RIGHT, :2], [0.72, 0.59], atol=1e-6)
    assert np.allclose(y[0, 0, 0, BODY, :2], [0.75, 0.55], atol=1e-6)


def test_no_jitter_changes_nothing():
    x = signers()
    assert torch.allclose(JitterParts(0.0, 0.0, 0.0)(x, Fixed(0.9)), x, atol=1e-6)
    assert torch.allclose(JitterParts()(x, Fixed(0.5)), x, atol=1e-6)
