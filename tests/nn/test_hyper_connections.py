"""Hyper-connections: the special cases of the papers, symmetries, what they are at the start, and what a training loop needs of them."""

import dataclasses
import re

import pytest
import torch
import torch.nn.functional as F
from hyper_toys import disturb
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kinema.nn import hyper_ops
from kinema.nn.decay import decayed
from kinema.nn.hyper_connections import HyperConnection, HyperConnections, collapse, expand, parameter_count
from kinema.nn.residual import enter, leave, named_residual
from kinema.nn.transformer import Block, CrossBlock
from kinema.recognition.encoder import SkeletonTransformer, TransformerConfig

KINDS = ("static", "dynamic", "manifold", "fraction", "static-fraction")
STREAMS = KINDS[:3]
EVERY = [HyperConnections(2, kind) for kind in KINDS]
JOIN = re.compile(r"\.join[12]\.").search
ids = {"ids": lambda how: how.kind if isinstance(how, HyperConnections) else str(how)}


def made(kind, n=3, dim=6, index=0, **choices):
    """A connection off its start."""
    return disturb(HyperConnection(dim, n, index=index, kind=kind, **choices))


def matrix(rows, index=0):
    """A static connection of the paper's matrix ``[[0, B], [A_m, A_r]]``, 4 wide."""
    values = torch.tensor(rows, dtype=torch.float32)
    n = len(values) - 1
    connection = HyperConnection(4, n, index=index, kind="static")
    with torch.no_grad():
        connection.static_write.copy_(values[0, 1:])
        connection.static_read.copy_(values[1:, :1])
        connection.static_carry.copy_(values[1:, 1:])
    return connection


def branches(count, dim=4, seed=0):
    """Branches that are not linear."""
    torch.manual_seed(seed)
    return [nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, dim)) for _ in range(count)]


class Net(nn.Module):
    """Blocks between entry and end."""

    def __init__(self, residual, depth=2, dim=8, heads=2):
        super().__init__()
        self.residual = residual
        self.blocks = nn.ModuleList(Block(dim, heads, 2.0, residual=residual, index=i) for i in range(depth))

    def forward(self, x):
        x = enter(self.residual, x)
        for block in self.blocks:
            x = block(x)
        return leave(self.residual, x)


def twins(make, how):
    """A network with the pre-norm residual, and with connections and the same other weights."""
    torch.manual_seed(0)
    plain, hyper = make("prenorm"), make(how)
    missing, unknown = hyper.load_state_dict(plain.state_dict(), strict=False)
    assert not unknown
    assert missing
    assert all(JOIN(f".{name}") for name in missing)
    return plain, hyper


# symmetries


@given(st.sampled_from(STREAMS), st.integers(2, 5).flatmap(lambda n: st.permutations(range(n))), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_streams_have_no_order_of_their_own(kind, order, seed):
    n, p = len(order), torch.tensor(order)
    one, other = made(kind, n), HyperConnection(6, n, index=0, kind=kind)
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        if kind == "manifold":
            each = torch.cat([p, n + p, 2 * n + (n * p[:, None] + p).flatten()])
            other.bias.copy_(one.bias[each])
            other.projection.copy_(one.projection.unflatten(0, (n, 6))[p].flatten(0, 1)[:, each])
        else:
            other.static_read.copy_(one.static_read[p])
            other.static_carry.copy_(one.static_carry[p][:, p])
            other.static_write.copy_(one.static_write[p])
        if kind == "dynamic":
            other.projection.copy_(one.projection[:, torch.cat([torch.tensor([0]), 1 + p, torch.tensor([n + 1])])])
    torch.manual_seed(seed)
    streams = torch.randn(2, 3, n, 6)
    torch.testing.assert_close(other(streams[..., p, :], torch.sin), one(streams, torch.sin)[..., p, :], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [1, 2])
def test_feature_maps_are_tokens_with_their_axes_moved(kind, at):
    torch.manual_seed(0)
    one, other = made(kind), made(kind, channel_dim=at)
    stream_axes = 1 if kind in STREAMS else 0
    x = torch.randn(2, 5, 4, *[3] * stream_axes, 6)
    axes = range(-1 - stream_axes, 0), range(at, at + 1 + stream_axes)
    moved = x.movedim(*map(tuple, axes))
    found = other(moved, lambda h: torch.sin(h.movedim(at, -1)).movedim(-1, at))
    torch.testing.assert_close(found, one(x, torch.sin).movedim(*map(tuple, axes)), rtol=1e-5, atol=1e-6)
    assert found.shape == moved.shape


@pytest.mark.parametrize("at", [-1, 1, 3])
def test_expand_copies_as_a_view_and_collapse_undoes_it(at):
    x = torch.randn(2, 3, 4, 5)
    streams = expand(x, 3, at)
    assert streams.shape == {-1: (2, 3, 4, 3, 5), 1: (2, 3, 3, 4, 5), 3: (2, 3, 4, 3, 5)}[at]
    assert streams.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    torch.testing.assert_close(collapse(streams, "mean", at), x)
    torch.testing.assert_close(collapse(streams, "sum", at), 3 * x)


# doubly stochastic mixing


def test_manifold_mixing_is_doubly_stochastic():
    torch.manual_seed(0)
    logits = torch.randn(500, 4, 4)
    for spread, iterations, usual, worst in ((0.5, 20, 1e-6, 1e-5), (2.0, 20, 5e-3, 0.05), (2.0, 400, 1e-6, 1e-4)):
        square = hyper_ops.sinkhorn(spread * logits, iterations)
        assert (square >= 0).all()
        assert (square.sum(-1) - 1).abs().max() < 1e-6  # the iteration ends on rows
        off = (square.sum(-2) - 1).abs().amax(-1)
        assert off.quantile(0.95) < usual
        assert off.max() < worst


def test_a_manifold_connection_carries_what_there_is():
    connection, streams = made("manifold", 4), torch.randn(50, 4, 6)
    read, carry, write = connection.coefficients(streams)
    torch.testing.assert_close(carry.sum(-2), torch.ones(50, 4), rtol=0, atol=1e-6)
    torch.testing.assert_close(carry.sum(-1), torch.ones(50, 4), rtol=0, atol=0.02)
    assert ((read > 0) & (read < 1)).all()
    assert ((write > 0) & (write < 2)).all()
    assert carry.std(0).max() > 1e-3, "depends on the token"


def test_products_of_manifold_mixings_stay_bounded():
    torch.manual_seed(0)
    logits = torch.randn(64, 4, 4)
    square, free = torch.eye(4), torch.eye(4)
    for step in logits:
        square, free = hyper_ops.sinkhorn(step) @ square, (torch.eye(4) + 0.3 * step) @ free
    assert square.sum(-1).max() < 1 + 1e-5
    assert square.sum(-2).max() < 1.01
    assert free.abs().sum(-1).max() > 100, "unconstrained ones do not"


# special cases of the paper


def test_one_stream_is_the_pre_norm_residual():
    (branch,), x = branches(1), torch.randn(3, 5, 4)
    assert torch.equal(matrix([[0, 1], [1, 1]])(x[..., None, :], branch)[..., 0, :], x + branch(x))


def test_one_stream_can_be_the_post_norm_residual():
    x, out = torch.randn(2, 3, 5, 64)
    x, out = (t - t.mean(-1, keepdim=True) for t in (x, out))
    var_x, var_out, covariance = x.square().mean(-1), out.square().mean(-1), (x * out).mean(-1)
    scale = (var_x + var_out + 2 * covariance).rsqrt()[..., None]
    found = hyper_ops.write(x[..., None, :], out, scale[..., None], scale)
    torch.testing.assert_close(found[..., 0, :], F.layer_norm(x + out, (64,), eps=0.0), rtol=1e-5, atol=1e-6)


def test_the_sequential_matrix_is_the_residual_network():
    layers, x = branches(4), torch.randn(3, 5, 4)
    streams, expected = expand(x, 2), x
    for branch in layers:
        streams = matrix([[0, 1, 1], [1, 1, 0], [0, 0, 1]])(streams, branch)
        expected = expected + branch(expected)
    assert torch.equal(streams[..., 0, :], expected)
    assert torch.equal(streams[..., 1, :], expected)


def test_two_matrices_put_pairs_of_layers_side_by_side():
    layers, x = branches(4), torch.randn(3, 5, 4)
    odd, even = matrix([[0, 1, 0], [1, 1, 1], [1, 1, 1]]), matrix([[0, 0, 1], [0, 1, 0], [1, 0, 1]])
    streams, total = expand(x, 2), 2 * x
    for first, second in (layers[:2], layers[2:]):
        streams = even(odd(streams, first), second)
        total = 2 * total + first(total) + second(total)
    torch.testing.assert_close(streams.sum(-2), total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n", [1, 3, 4])
def test_groups_of_any_size_side_by_side(n):
    layers, eye = branches(n), torch.eye(n)
    streams = torch.randn(3, 5, n, 4)
    total = streams.sum(-2)
    expected = torch.stack([total + branch(total) for branch in layers], -2)
    for i, branch in enumerate(layers):
        rows = torch.zeros(n + 1, n + 1)
        rows[0, 1:] = eye[i]
        rows[1:, 0] = eye[i] if i else 1.0
        rows[1:, 1:] = eye if i else 1.0
        streams = matrix(rows.tolist())(streams, branch)
    torch.testing.assert_close(streams, expected, rtol=1e-5, atol=1e-5)


def test_unfolding_says_what_each_layer_reads():
    """c_kj = B_j (A_{j+1} ... A_{k-1}) a_k for layers of any kind."""
    layers = branches(5)
    connections = [made("static", 3, 4, k) for k in range(5)]
    streams = expand(torch.randn(2, 3, 4), 3)
    read, written = [], [streams[..., 0, :]]
    for connection, branch in zip(connections, layers, strict=True):
        h, carry = connection.read(streams)
        read.append(h)
        written.append(branch(h))
        streams = connection.write(carry, written[-1])
    rows = [torch.ones(3), *(c.static_write for c in connections)]
    for k, h in enumerate(read):
        expected = torch.zeros_like(h)
        for j in range(k + 1):
            chain = rows[j]
            for m in range(j, k):
                chain = chain @ connections[m].static_carry
            expected = expected + (chain @ connections[k].static_read) * written[j]
        torch.testing.assert_close(h, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_mixing_reaches_the_output(kind):
    """A published implementation never applied A_r; nothing but such a test shows it."""
    connection = made(kind)
    x = torch.randn(2, 5, 3, 6) if kind in STREAMS else torch.randn(2, 5, 6)
    before = connection(x, torch.zeros_like)
    with torch.no_grad():
        if kind == "manifold":
            connection.bias[2 * 3 + 1] += 1.0
        else:
            connection.static_carry[0, 1] += 1.0
    change = connection(x, torch.zeros_like) - before
    changed = change if kind in STREAMS else change.unflatten(-1, (3, 2))
    if kind != "manifold":
        first = x[..., 0, :] if kind in STREAMS else x[..., :2]
        torch.testing.assert_close(changed[..., 1, :], first, rtol=1e-4, atol=1e-5)
        assert changed[..., [0, 2], :].abs().max() < 1e-5
    assert changed[..., 1, :].abs().min(-1).values.max() > 0.01


# the start


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_a_network_starts_as_the_pre_norm_residual(kind, n, reduce):
    if kind == "manifold" and n == 1:
        return
    how = HyperConnections(n, kind, reduce=reduce)
    plain, hyper = twins(lambda residual: Net(residual, 3, 60, 2), how)
    x = torch.randn(2, 7, 60)
    expected, found = plain(x), hyper(x)
    if reduce == "sum" and how.streams:
        found = found / n
    if kind != "manifold" and (n in (1, 2, 4) or not how.streams):
        assert torch.equal(found, expected)
    else:
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("how", EVERY, **ids)
def test_gradients_start_as_those_of_the_pre_norm_residual(how):
    plain, hyper = twins(Net, dataclasses.replace(how, reduce="mean"))
    x = torch.randn(2, 7, 8)
    for net in (plain, hyper):
        net(x).square().sum().backward()
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(hyper.get_parameter(name).grad, parameter.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("how", EVERY, **ids)
def test_a_cross_block_starts_as_the_pre_norm_residual(how):
    how = dataclasses.replace(how, reduce="mean")
    plain, hyper = twins(lambda residual: CrossBlock(8, 2, residual=residual), how)
    x, context = torch.randn(2, 5, 8), torch.randn(2, 4, 8)
    torch.testing.assert_close(leave(how, hyper(enter(how, x), context)), plain(x, context), rtol=1e-5, atol=5e-6)


BLOCK = [f"{p}.{k}" for p in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2") for k in ("weight", "bias")]


@pytest.mark.parametrize("how", EVERY, **ids)
def test_an_encoder_starts_as_the_pre_norm_residual_with_the_authors_names(how):
    size = TransformerConfig(width=16, depth=2, heads=2, frames=8, joints=3)
    how = dataclasses.replace(how, reduce="mean")
    plain, hyper = twins(lambda residual: SkeletonTransformer(dataclasses.replace(size, residual=residual)), how)
    x = torch.randn(2, 8, 2, 3, 3)
    torch.testing.assert_close(hyper.tokens(x), plain.tokens(x), rtol=1e-5, atol=5e-6)
    names = {"temp_embed", "pos_embed", "joints_embed.proj.weight", "joints_embed.proj.bias", "norm.weight", "norm.bias"}
    assert set(plain.state_dict()) == names | {f"blocks.{i}.{name}" for i in range(2) for name in BLOCK}
    added = set(hyper.state_dict()) - set(plain.state_dict())
    assert {name.rpartition(".")[0] for name in added} == {f"blocks.{i}.join{j}" for i in range(2) for j in (1, 2)}


@pytest.mark.parametrize("kind", STREAMS)
def test_each_connection_reads_another_stream_first(kind):
    net = Net(HyperConnections(3, kind), depth=4)
    joins = [j for b in net.blocks for j in (b.join1, b.join2)]
    assert [j.index for j in joins] == list(range(8))
    first = [j.coefficients(torch.zeros(1, 3, 8)).read.flatten().argmax().item() for j in joins]
    assert first == [k % 3 for k in range(8)]
    with pytest.raises(TypeError, match="index"):
        HyperConnection(8, 3, kind=kind)


def test_streams_become_different_by_learning():
    net = Net(HyperConnections(4))
    torch.manual_seed(0)
    x = torch.randn(4, 5, 8)
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(2):
        optimiser.zero_grad()
        net(x).square().mean().backward()
        optimiser.step()
    streams = enter(net.residual, x)
    for block in net.blocks:
        streams = block(streams)
    assert all((streams[..., i, :] - streams[..., j, :]).abs().max() > 1e-4 for i in range(4) for j in range(i))


def test_one_stream_is_not_silently_a_residual():
    net = Net(HyperConnections(1))
    x = torch.randn(2, 5, 8)
    before = net(x)
    net(x).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert net.blocks[0].join1.static_carry.grad.abs().sum() > 0
    assert not torch.allclose(disturb(net)(x), before, atol=1e-3)


# size


@pytest.mark.parametrize(
    ("how", "dim", "layers", "expected"),
    [
        (HyperConnections(4, "dynamic", gain=False), 2048, 16, 394_048),
        (HyperConnections(4, "static"), 2048, 16, 768),
        (HyperConnections(4, "dynamic", gain=False), 4096, 32, 1_574_528),
        (HyperConnections(4, "fraction"), 2048, 16, 165_056),
        (HyperConnections(4, "static-fraction"), 2048, 16, 1_152),
    ],
)
def test_as_many_parameters_as_the_papers_say(how, dim, layers, expected):
    assert 2 * layers * parameter_count(dim, how) == expected


@given(st.integers(2, 6), st.integers(1, 8))
def test_as_many_parameters_as_the_formulas_say(n, fraction):
    d = n * fraction
    assert parameter_count(d, HyperConnections(n)) == d + d * (n + 2) + n * (n + 2) + 2
    assert parameter_count(d, HyperConnections(n, "manifold")) == n * d * (n * n + 2 * n) + n * n + 2 * n + 3
    assert parameter_count(d, HyperConnections(n, "fraction", gain=False)) == fraction * (2 * n + 1) + n * (2 * n + 1) + 2


# mistakes


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"n": 0}, "n 0: expected a whole number"),
        ({"n": True}, "n True: expected a whole number"),
        ({"n": 2.0}, r"n 2\.0: expected a whole number"),
        ({"kind": "dynamik"}, "kind 'dynamik': expected one of static, dynamic, manifold"),
        ({"norm": "batchnorm"}, "norm 'batchnorm': expected one of layernorm, rmsnorm"),
        ({"reduce": "last"}, "reduce 'last': expected sum or mean"),
        ({"sinkhorn": "exact"}, "sinkhorn 'exact': expected one of paper, deepseek"),
        ({"iterations": 0}, "iterations 0: expected 1 or more"),
        ({"n": 1, "kind": "manifold"}, "n 1: a manifold-constrained connection needs 2 streams"),
    ],
)
def test_choices_are_checked(values, said):
    with pytest.raises(ValueError, match=said):
        HyperConnections(**values)


def test_choices_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        HyperConnections().n = 2


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: HyperConnection(10, 4, index=0, kind="fraction"), "width 10 is not divisible by 4 fractions"),
        (lambda: Block(10, 2, residual=HyperConnections(4, "static-fraction")), "width 10 is not divisible by 4 fractions"),
        (lambda: HyperConnection(0, index=0), "dim 0, index 0"),
        (lambda: HyperConnection(4, index=-1), "dim 4, index -1"),
        (lambda: expand(torch.zeros(2, 3, 4, 5), 2, -3), "channel_dim -3: expected -1 or a positive axis"),
        (lambda: collapse(torch.zeros(2, 3, 4, 5), "sum", 0), "channel_dim 0: expected -1 or a positive axis"),
        (lambda: HyperConnection(4, index=0, channel_dim=0), "channel_dim 0: expected -1 or a positive axis"),
        (lambda: HyperConnection(4, 2, index=3)(torch.zeros(5, 4), torch.sin),
         r"HyperConnection 3: got \(5, 4\), expected 2 streams of 4 features \(use expand"),
        (lambda: HyperConnection(4, 2, index=3, kind="fraction")(torch.zeros(5, 3), torch.sin), "expected 4 features"),
    ],
)  # fmt: skip
def test_mistakes_are_told(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dynamic", HyperConnections()),
        ("dynamic-2", HyperConnections(2)),
        ("static-8", HyperConnections(8, "static")),
        ("manifold-2", HyperConnections(2, "manifold")),
        ("fraction-4", HyperConnections(4, "fraction")),
        ("static-fraction", HyperConnections(4, "static-fraction")),
        ("static-fraction-2", HyperConnections(2, "static-fraction")),
        ("prenorm", "prenorm"),
    ],
)
def test_short_names(name, expected):
    assert named_residual(name) == expected


@pytest.mark.parametrize("name", ["dynamic-0", "manifold-1", "dynamic-x", "dynamic-", "-2", "", "2", "sandwich"])
def test_wrong_short_names(name):
    with pytest.raises(ValueError, match=rf"residual '{name}': expected prenorm, postnorm, or hyper-connections"):
        named_residual(name)


@pytest.mark.parametrize("kind", ["dynamic", "manifold", "fraction"])
def test_check_names_the_connection_that_breaks(kind):
    connection = HyperConnection(6, 3, index=7, kind=kind, check=True)
    x = torch.randn(2, 3, 6) if kind in STREAMS else torch.randn(2, 6)
    connection(x, torch.sin)
    x[0, ..., 0] = float("nan")
    with pytest.raises(ValueError, match="HyperConnection 7: its coefficients are not finite"):
        connection(x, torch.sin)


# what training needs


@pytest.mark.parametrize("how", EVERY, **ids)
def test_bf16_streams_and_float32_coefficients(how):
    net = disturb(Net(how), size=0.1)
    x, seen = torch.randn(2, 5, 8, requires_grad=True), []
    join = net.blocks[1].join1
    with torch.autocast("cpu", torch.bfloat16):
        streams = net.blocks[0](enter(how, x))
        h, carry = join.read(streams)
        seen = [streams, h, join.write(carry, h), net(x)]
    assert all(t.dtype == torch.bfloat16 for t in seen)
    assert all(c.dtype == torch.float32 for c in carry.coefficients)
    seen[-1].float().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.dtype == p.dtype for p in net.parameters())
    assert x.grad.isfinite().all()
    torch.testing.assert_close(seen[-1].float(), net(x), rtol=0.1, atol=0.3)


@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_float64_stays_float64(reduce):
    how = HyperConnections(2, "dynamic", reduce=reduce)
    net, x = disturb(Net(how)).double(), torch.randn(1, 2, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, x)


@pytest.mark.parametrize("how", EVERY, **ids)
def test_memory_given_later(how):
    with torch.device("meta"):
        late = Net(how)
    late = late.to_empty(device="cpu")
    for module in late.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    started = {name: p for name, p in Net(how).named_parameters() if JOIN(name)}
    for name, parameter in late.named_parameters():
        assert not JOIN(name) or torch.equal(parameter, started[name])


def same_compiled(net):
    torch.compiler.reset()
    disturb(net, size=0.1)
    x = torch.randn(2, 5, 8)
    found, grads = [], []
    for run in (net, torch.compile(net, fullgraph=True, backend="aot_eager")):
        net.zero_grad()
        found.append(run(x))
        found[-1].square().sum().backward()
        grads.append([p.grad.clone() for p in net.parameters()])
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-5)
    for eager, compiled in zip(*grads, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-4)


def test_one_connection_compiles_whole():
    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.join = HyperConnection(8, 2, index=0)

        def forward(self, x):
            return self.join(expand(x, 2), torch.sin)

    same_compiled(One())


@pytest.mark.slow
@pytest.mark.parametrize("how", EVERY, **ids)
def test_blocks_compile_whole(how):
    same_compiled(Net(how))


@pytest.mark.parametrize("how", EVERY, **ids)
def test_state_round_trip(how):
    one, other = disturb(Net(how)), Net(how)
    other.load_state_dict(one.state_dict())
    x = torch.randn(2, 5, 8)
    assert torch.equal(one(x), other(x))


@pytest.mark.parametrize("how", EVERY, **ids)
def test_weight_decay_is_for_dynamic_parts_alone(how):
    found = {name.rpartition(".")[2]: takes for name, takes in decayed(Net(how)).items() if JOIN(name)}
    bare = {"static": "read carry write", "dynamic": "read carry write", "manifold": ""}.get(how.kind, "read carry write")
    expected = {f"static_{part}": False for part in bare.split()}
    if how.kind in ("dynamic", "fraction"):
        expected |= {"gain": False, "projection": True, "scale_read": True, "scale_write": True}
    elif how.kind == "manifold":
        expected = {"bias": False, "projection": True, "scales": True}
    assert found == expected
    plain = {name: takes for name, takes in decayed(Net(how)).items() if not JOIN(name)}
    assert plain == decayed(Net("prenorm"))
