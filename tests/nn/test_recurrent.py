"""The two-stream GRU against PyTorch's own, whole and a frame at a time."""

import pytest
import torch
from torch import nn

from kinema.nn.recurrent import TwoStreamGRU


def pair(direction, layers=3):
    torch.manual_seed(0)
    ours = TwoStreamGRU(5, 4, layers, direction)
    theirs = nn.GRU(5, 4, layers, batch_first=True, bidirectional=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs, torch.randn(2, 7, 5)


def test_both_directions_are_pytorchs_bidirectional_gru():
    ours, theirs, x = pair("both")
    torch.testing.assert_close(ours(x), theirs(x)[0], rtol=1e-5, atol=1e-6)


def test_forward_is_pytorchs_gru_stepped_a_frame_at_a_time_with_a_carried_state():
    ours, theirs, x = pair("forward")
    state, steps = None, []
    for t in range(x.shape[1]):
        y, state = theirs(x[:, t : t + 1], state)
        steps.append(y)
    torch.testing.assert_close(ours(x), torch.cat(steps, 1), rtol=1e-5, atol=1e-6)
    assert (ours(x) - theirs(x)[0]).abs().max() > 0.05  # which a true bidirectional GRU is not


def test_forward_is_causal():
    ours, _, x = pair("forward")
    later = x.clone()
    later[:, 4:] += 1
    assert torch.equal(ours(x)[:, :4], ours(later)[:, :4])


def test_errors():
    with pytest.raises(ValueError, match="layers 0: expected 1 or more"):
        TwoStreamGRU(3, 4, 0)
    with pytest.raises(ValueError, match="'backward': expected one of forward, both"):
        TwoStreamGRU(3, 4, 1, "backward")
