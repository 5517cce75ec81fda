"""What diagnostics say of a network against what its layers really read."""

import pytest
import torch
import torch.nn.functional as F
from hyper_toys import disturb
from torch import nn

from kinema.nn.hyper_connections import HyperConnections
from kinema.nn.hyper_diagnostics import amax_gain, gradient_norms, layer_input_cosine, record, records, unfolded_matrix
from kinema.nn.residual import enter, leave
from kinema.nn.transformer import Block, CrossBlock

KINDS = ("static", "dynamic", "manifold", "fraction", "static-fraction")


class Trunk(nn.Module):
    """Connections around given branches; keeps what each branch read. With `split`, calls `read` and `write` and never `forward`."""

    def __init__(self, how, dim, branches, split=False, channel_dim=-1):
        super().__init__()
        self.how, self.branches, self.split, self.at = how, branches, split, channel_dim
        self.joins = nn.ModuleList(how.connection(dim, i, channel_dim) for i in range(len(branches)))

    def forward(self, x):
        self.inputs = []
        streams = self.how.expand(x, self.at)
        for join, branch in zip(self.joins, self.branches, strict=True):

            def seen(h, branch=branch):
                self.inputs.append(h)
                return branch(h)

            if self.split:
                h, carry = join.read(streams)
                streams = join.write(carry, seen(h))
            else:
                streams = join(streams, seen)
        return self.how.collapse(streams, self.at)


class Net(nn.Module):
    def __init__(self, residual, depth=3, dim=8, block=Block):
        super().__init__()
        self.residual = residual
        self.blocks = nn.ModuleList(block(dim, 2, residual=residual, index=i) for i in range(depth))

    def forward(self, x, *context):
        x = enter(self.residual, x)
        for block in self.blocks:
            x = block(x, *context)
        return leave(self.residual, x)


# the unfolded matrix


def test_static_connections_superpose_the_outputs_of_linear_layers():
    torch.manual_seed(0)
    how = HyperConnections(3, "static")
    branches = [nn.Linear(6, 6, bias=False) for _ in range(5)]
    net, x = disturb(Trunk(how, 6, branches)), torch.randn(2, 7, 6)
    found = unfolded_matrix(record(net, x)).float()
    assert found.shape == (6, 6)
    written = [x]
    for k in range(5):
        expected = sum(found[k, j] * written[j] for j in range(k + 1))
        torch.testing.assert_close(net.inputs[k], expected, rtol=1e-4, atol=1e-5)
        written.append(branches[k](net.inputs[k]))
    torch.testing.assert_close(net(x), sum(c * w for c, w in zip(found[5], written, strict=True)), rtol=1e-4, atol=1e-5)
    assert found[1, 2] == found[0, 1] == found[4, 5] == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_layers_that_sign_their_output_are_found_in_what_others_read(kind, reduce):
    """The embedding and every layer write into features of their own, whatever they read, so an input shows its coefficients."""
    k, n = 4, 3
    how = HyperConnections(n, kind, reduce=reduce)
    parts, noise = (1 if how.streams else n), 3
    width = (k + 1) * parts + noise
    signs = torch.zeros(k + 1, parts, width)
    for j in range(k + 1):
        for i in range(parts):
            signs[j, i, j * parts + i] = 1.0
    signs = signs.flatten(1)
    torch.manual_seed(0)
    x = signs[0].repeat(20, 1)
    x.unflatten(-1, (parts, width))[..., -noise:] = torch.randn(20, parts, noise)  # so that tokens differ
    net = disturb(Trunk(how, parts * width, [lambda h, s=s: s.expand_as(h) for s in signs[1:]]))
    out = net(x)
    found = record(net, x)
    matrix = unfolded_matrix(found, reduce=reduce, per_token=True)
    for row, read in zip(matrix, [*net.inputs, out], strict=True):
        seen = read.unflatten(-1, (parts, width))[..., :-noise].unflatten(-1, (k + 1, parts))
        expected = seen.diagonal(dim1=1, dim2=3).mean((0, -1)).double()
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-5)
    averaged = unfolded_matrix(found, reduce=reduce)
    if kind.startswith("static"):
        torch.testing.assert_close(averaged, matrix)
    else:
        assert 1e-6 < (averaged - matrix).abs().max() < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_start_everybody_reads_everything(kind):
    how = HyperConnections(2, kind)
    matrix = unfolded_matrix(record(Net(how), torch.randn(2, 5, 8)), reduce="mean")
    torch.testing.assert_close(matrix, torch.ones(7, 7, dtype=torch.float64).tril(), rtol=0, atol=1e-5)


# mixing


def test_gains_are_those_of_the_products():
    net = disturb(Trunk(HyperConnections(3, "static"), 6, [torch.sin] * 4))
    gain = amax_gain(record(net, torch.randn(2, 6)))
    for k in range(4):
        product = torch.eye(3)
        for join in net.joins[k:]:
            product = join.static_carry.T @ product  # applied to a column of streams
        single = net.joins[k].static_carry.T
        for found, matrix, axis in (
            (gain.forward, product, 1),
            (gain.backward, product, 0),
            (gain.single_forward, single, 1),
            (gain.single_backward, single, 0),
        ):
            assert found[k].item() == pytest.approx(matrix.abs().sum(axis).max().item(), rel=1e-5)
    assert gain.largest == pytest.approx(max(g.max().item() for g in gain[:4]))


def test_a_manifold_amplifies_nothing():
    nets = [disturb(Net(HyperConnections(4, kind), depth=8)) for kind in ("manifold", "dynamic")]
    bounded, free = (amax_gain(record(net, torch.randn(2, 5, 8))) for net in nets)
    torch.testing.assert_close(bounded.forward, torch.ones(16), rtol=0, atol=1e-4)
    assert bounded.largest < 1.1
    assert free.largest > 3


# inputs of neighbours


def naive_cosine(inputs):
    rows = [F.cosine_similarity(a, b, dim=-1).flatten() for a, b in zip(inputs[1:], inputs[:-1], strict=True)]
    return torch.stack(rows).detach()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", [False, True])
def test_cosine_of_what_branches_read(kind, split):
    torch.manual_seed(0)
    net = disturb(Trunk(HyperConnections(2, kind), 6, [nn.Linear(6, 6) for _ in range(4)], split))
    x = torch.randn(3, 50, 6)
    found = record(net, x)
    expected = naive_cosine(net.inputs)
    torch.testing.assert_close(found.cosine, expected, rtol=1e-4, atol=1e-5)
    band = layer_input_cosine(found)
    torch.testing.assert_close(band.median, expected.quantile(0.5, 1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(band.low, expected.quantile(0.05, 1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(band.high, expected.quantile(0.95, 1), rtol=1e-4, atol=1e-5)
    assert len(found.names) == len(found.coefficients) == 4


@pytest.mark.parametrize("block", [Block, CrossBlock])
@pytest.mark.parametrize("residual", ["prenorm", "postnorm"])
def test_residual_networks_can_be_compared(residual, block):
    torch.manual_seed(0)
    net, x = Net(residual, block=block), torch.randn(2, 5, 8)
    context = () if block is Block else (torch.randn(2, 4, 8),)
    inputs, y = [], x
    for b in net.blocks:
        for norm, branch, more in ((b.norm1, b.attn, context), (b.norm2, b.mlp, ())):
            inputs.append(y)
            y = y + branch(norm(y), *more) if residual == "prenorm" else norm(y + branch(y, *more))
    found = record(net, x, *context)
    torch.testing.assert_close(found.cosine, naive_cosine(inputs))
    assert found.names[0] == ("blocks.0.norm1" if residual == "prenorm" else "blocks.0.attn")
    for function in (unfolded_matrix, amax_gain):
        with pytest.raises(ValueError, match="recorded without hyper-connections"):
            function(found)


def test_layers_of_any_kind():
    torch.manual_seed(0)
    layers = [nn.Linear(4, 4) for _ in range(3)]
    net, x = nn.Sequential(*layers), torch.randn(9, 4)
    found = record(net, x, layers=layers)
    torch.testing.assert_close(found.cosine, naive_cosine([x, layers[0](x), layers[1](layers[0](x))]))
    assert found.names == ("0", "1", "2")
    with pytest.raises(ValueError, match="Sequential has neither hyper-connections nor blocks"):
        record(net, x)
    with pytest.raises(ValueError, match="none of the layers was called"):
        record(net, x, layers=layers, call=lambda y: y)
    with pytest.raises(ValueError, match="one branch has no neighbour"):
        layer_input_cosine(record(net, x, layers=layers[:1]))


def test_feature_maps():
    torch.manual_seed(0)
    branches = [nn.Conv2d(6, 6, 1) for _ in range(3)]
    net, x = disturb(Trunk(HyperConnections(2), 6, branches, channel_dim=1)), torch.randn(2, 6, 4, 3)
    found = record(net, x)
    torch.testing.assert_close(found.cosine, naive_cosine([h.movedim(1, -1) for h in net.inputs]), rtol=1e-4, atol=1e-5)
    assert found.coefficients[0].carry.shape == (24, 2, 2)


# which calls are one trunk


class Two(nn.Module):
    def __init__(self, residual="prenorm"):
        super().__init__()
        self.encoder, self.decoder = Net(residual, 2), Net(residual, 1)

    def forward(self, x):
        return self.decoder(self.encoder(x))

    def twice(self, x):
        return self.encoder(x), self.encoder(x + 1)


@pytest.mark.parametrize("residual", ["prenorm", HyperConnections(2), HyperConnections(2, "static")])
def test_trunks_are_told_apart_and_passes_put_together(residual):
    net, x = disturb(Two(residual)), torch.randn(2, 5, 8)
    encoder, decoder = records(net, x)
    assert [len(r.names) for r in (encoder, decoder)] == [4, 2]
    assert all(n.startswith("encoder.blocks.") for n in encoder.names)
    assert encoder.cosine.shape == (3, 10)
    with pytest.raises(ValueError, match=r"2 trunks \(encoder\.blocks\.0.* to .*; decoder"):
        record(net, x)
    both = record(net, x, call=net.twice)
    one, other = record(net.encoder, x), record(net.encoder, x + 1)
    torch.testing.assert_close(both.cosine, torch.cat([one.cosine, other.cosine], 1))
    if residual == HyperConnections(2):
        carry = both.coefficients[2].carry
        torch.testing.assert_close(carry, torch.cat([one.coefficients[2].carry, other.coefficients[2].carry]))
        torch.testing.assert_close(both.mean[2].carry, carry.mean(0))
    elif residual != "prenorm":
        assert both.coefficients[2].carry.shape == (1, 2, 2)
        torch.testing.assert_close(both.mean[2].carry, net.encoder.blocks[1].join1.static_carry.detach())


def test_memory_is_bounded():
    net, x = disturb(Net(HyperConnections(2))), torch.randn(2, 50, 8)
    every, some = record(net, x), record(net, x, tokens=30)
    assert some.cosine.shape == (5, 25)
    torch.testing.assert_close(some.cosine, every.cosine[:, ::4])
    torch.testing.assert_close(some.coefficients[3].write, every.coefficients[3].write[::4])
    assert not some.cosine.requires_grad


def test_nothing_is_left_behind():
    net, x = disturb(Net(HyperConnections(2))), torch.randn(2, 5, 8)
    before = net(x)
    record(net, x)
    with pytest.raises(ValueError, match="expected 2 streams"):
        record(net, x, call=lambda y: net.blocks[0].join1(y, torch.sin))
    for module in net.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert "read" not in vars(module)
    assert torch.equal(net(x), before)
    assert net(x).requires_grad


# gradients


def test_gradient_norms_by_depth():
    torch.manual_seed(0)
    net, x = Net(HyperConnections(2)), torch.randn(2, 5, 8)
    with pytest.raises(ValueError, match=r"layer 0 \(Block\) has no gradients: call backward first"):
        gradient_norms(net)
    net(x).square().mean().backward()
    expected = [sum(p.grad.square().sum() for p in b.parameters()).sqrt() for b in net.blocks]
    torch.testing.assert_close(gradient_norms(net), torch.stack(expected))
    torch.testing.assert_close(gradient_norms(net, [net.blocks[2], net.blocks[0]]), torch.stack(expected)[[2, 0]])
    with pytest.raises(ValueError, match="Linear has no blocks of ours"):
        gradient_norms(nn.Linear(2, 2))
