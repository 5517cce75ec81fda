"""The two-stream GRU against PyTorch's own, whole and a frame at a time."""

import pytest
import torch
from torch import nn

from kinema.nn import recurrent
from kinema.nn.recurrent import TwoStreamGRU, several


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


@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize("steps", [1, 7])
def test_networks_run_at_once_give_pytorchs_outputs_and_gradients(direction, steps):
    torch.manual_seed(0)
    networks = [TwoStreamGRU(5, 4, 3, direction) for _ in range(3)]
    xs = [torch.randn(2, steps, 5, requires_grad=True) for _ in networks]
    leaves = [*xs, *(p for n in networks for p in n.parameters())]
    weights = [torch.randn(2, steps, 8) for _ in networks]

    def gradients(ys):
        return torch.autograd.grad(sum((y * w).sum() for y, w in zip(ys, weights, strict=True)), leaves)

    ours = several(networks, xs)
    theirs = [recurrent._library(n, x, direction == "both") for n, x in zip(networks, xs, strict=True)]
    for a, b in zip([*ours, *gradients(ours)], [*theirs, *gradients(theirs)], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=5e-6)
    with torch.no_grad():
        for a, b in zip(several(networks, xs), ours, strict=True):
            assert torch.equal(a, b)


def test_its_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    given, weight, bias = (
        torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2, 2, 3, 2, 6), (2, 2, 6, 2), (2, 2, 6))
    )
    assert torch.autograd.gradcheck(lambda *a: recurrent._Recurrence.apply(*a, torch.float64), (given, weight, bias))


def test_under_autocast_products_are_rounded_and_states_are_not():
    ours, _, x = pair("forward")
    with torch.autocast("cpu", torch.bfloat16):
        low = ours(x)
    assert low.dtype == torch.float32
    assert 0 < (low - ours(x)).abs().max() < 0.02  # bf16 keeps 8 bits; a few of them are lost over three layers


def test_pytorchs_recurrence_keeps_fp32_under_autocast():
    ours, _, x = pair("forward")
    with torch.autocast("cpu", torch.bfloat16):
        low = recurrent._library(ours, x.bfloat16().float(), both=False)
    assert torch.equal(low, recurrent._library(ours, x.bfloat16().float(), both=False))


def test_networks_of_different_forms_do_not_run_at_once():
    a, b = TwoStreamGRU(5, 4, 1), TwoStreamGRU(5, 3, 1)
    x = torch.randn(2, 7, 5)
    with pytest.raises(ValueError, match="same sizes"):
        several([a, b], [x, x])
    with pytest.raises(ValueError, match="inputs of one shape"):
        several([a, a], [x, x[:1]])
    with pytest.raises(ValueError, match="2 networks for 1 inputs"):
        several([a, a], [x])


def test_errors():
    with pytest.raises(ValueError, match="layers 0: expected 1 or more"):
        TwoStreamGRU(3, 4, 0)
    with pytest.raises(ValueError, match="'backward': expected one of forward, both"):
        TwoStreamGRU(3, 4, 1, "backward")
