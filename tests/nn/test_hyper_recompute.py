"""Recomputing streams changes what is kept, and nothing else."""

import logging
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kinema.nn import hyper_ops, hyper_recompute, hyper_tracing
from kinema.nn.hyper_connections import HyperConnections
from kinema.nn.transformer import Block

BRANCHES = 7


class Trunk(nn.Module):
    """Small branches in a row; with `checkpointed`, in pieces of so many, or fed through `between` after each."""

    def __init__(self, how: HyperConnections, dim: int = 12, channel_dim: int = -1, checkpointed: int = 0, between=lambda x: x):
        super().__init__()
        self.how, self.channel_dim, self.checkpointed, self.between = how, channel_dim, checkpointed, between
        self.joins = nn.ModuleList(how.connection(dim, i, channel_dim) for i in range(BRANCHES))
        torch.manual_seed(0)
        for p in self.parameters():
            p.data += 0.1 * torch.randn_like(p)

    def some(self, x: Tensor, joins: list[nn.Module]) -> Tensor:
        for join in joins:
            x = self.between(join(x, lambda h: (2 * h).tanh()))
        return x

    def forward(self, x: Tensor) -> Tensor:
        x, joins, size = self.how.expand(x, self.channel_dim), list(self.joins), self.checkpointed
        for i in range(0, BRANCHES, size or BRANCHES):
            piece = joins[i : i + (size or BRANCHES)]
            x = checkpoint(self.some, x, piece, use_reentrant=False) if size else self.some(x, piece)
        return self.how.collapse(x, self.channel_dim)


def run(trunk: Trunk, shape: tuple[int, ...] = (2, 5, 12)) -> tuple[int, list[Tensor]]:
    """Numbers kept for backward; output and gradients."""
    torch.manual_seed(1)
    x, found = torch.randn(shape, requires_grad=True), {}

    def pack(t: Tensor) -> Tensor:
        found[t.untyped_storage().data_ptr()] = t.untyped_storage()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = trunk(x)
    return sum(s.nbytes() for s in found.values()), [y, *torch.autograd.grad(y.square().sum(), [x, *trunk.parameters()])]


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("channel_dim", [-1, 1])
@pytest.mark.parametrize("kind", ["dynamic", "static", "manifold", "fraction"])
def test_the_same_gradients_from_less_memory(kind, channel_dim):
    shape, how = ((2, 5, 12) if channel_dim == -1 else (2, 12, 5, 3)), {"kind": kind, "iterations": 2}
    tokens = 2 * 5 * (1 if channel_dim == -1 else 3)
    streams = 4 * tokens * 12 * (1 if kind == "fraction" else 3)
    before, expected = run(Trunk(HyperConnections(3, **how), channel_dim=channel_dim), shape)
    for every in (2, 3, 4, 100):
        kept, found = run(Trunk(HyperConnections(3, recompute=every, **how), channel_dim=channel_dim), shape)
        assert equal(found, expected)
        writes = BRANCHES - 1  # whose streams a connection reads; the last are summed up
        assert before - kept == streams * (writes - writes // every)


@pytest.mark.parametrize("pieces", [1, 3])
def test_it_goes_with_checkpoints(pieces):
    expected = run(Trunk(HyperConnections(3)))[1]
    assert equal(run(Trunk(HyperConnections(3, recompute=3), checkpointed=pieces))[1], expected)


def test_streams_changed_on_the_way_are_kept():
    for between in (lambda x: 1.5 * x, lambda x: x.transpose(0, 1).contiguous().transpose(0, 1), lambda x: x.flip(-2)):
        assert equal(
            run(Trunk(HyperConnections(3, recompute=4), between=between))[1], run(Trunk(HyperConnections(3), between=between))[1]
        )

    def in_place(x: Tensor) -> Tensor:
        return x.mul_(1.5)

    assert equal(
        run(Trunk(HyperConnections(3, recompute=4), between=in_place))[1],
        run(Trunk(HyperConnections(3), between=lambda x: 1.5 * x))[1],
    )


def test_streams_changed_without_gradients_are_kept():
    def unseen(x: Tensor) -> Tensor:
        with torch.no_grad():
            return x.mul_(1.5)

    plain, rebuilt = (run(Trunk(HyperConnections(3, recompute=every), between=unseen))[1] for every in (0, 4))
    assert equal(plain, rebuilt)


def test_swapped_axes_of_equal_length_are_not_taken_for_the_streams():
    """The views lead back to what was written, but the numbers lie elsewhere."""

    def swap(x: Tensor) -> Tensor:
        return x.transpose(0, 1)

    shape = (5, 5, 12)
    plain, rebuilt = (run(Trunk(HyperConnections(3, recompute=every), between=swap), shape)[1] for every in (0, 4))
    assert equal(plain, rebuilt)


def test_rebuilt_streams_are_freed(monkeypatch):
    seen, alive = [], []

    def counted(node, forward):
        streams = original(node, forward)
        if not any(r() is streams for r in seen):
            seen.append(weakref.ref(streams))
        alive.append(sum(r() is not None for r in seen))
        return streams

    original = hyper_recompute.rebuild
    monkeypatch.setattr(hyper_recompute, "rebuild", counted)
    expected = run(Trunk(HyperConnections(3)))[1]
    assert not seen
    assert equal(run(Trunk(HyperConnections(3, recompute=3)))[1], expected)
    assert max(alive) <= 2  # a segment of three has two between its ends
    assert not any(r() is not None for r in seen)


def test_the_backward_pass_may_run_twice():
    trunk, x = Trunk(HyperConnections(3, recompute=3)), torch.randn(2, 12, requires_grad=True)
    loss = trunk(x).square().sum()
    first = torch.autograd.grad(loss, x, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(loss, x)[0], first)


def test_streams_read_twice():
    connection = HyperConnections(2, recompute=4).connection(6, 0)
    results = []
    for every in (0, 4):
        torch.manual_seed(0)
        x, o = torch.randn(3, 2, 6, requires_grad=True), torch.randn(3, 6)
        streams = hyper_ops.write(x, o, torch.eye(2) + 0.1, torch.ones(2), every)
        h, carry = connection.read(streams)
        other, _ = connection.read(streams)
        loss = connection.write(carry, h * other).square().sum() + hyper_ops.mix(streams, torch.ones(2, 1)).square().sum()
        results.append(torch.autograd.grad(loss, [x, *connection.parameters()]))
    assert equal(list(results[0]), list(results[1]))


def test_blocks_take_it_from_the_configuration():
    results = []
    for every in (0, 2):
        torch.manual_seed(0)
        how = HyperConnections(2, recompute=every)
        blocks = nn.Sequential(*(Block(8, 2, residual=how, index=i) for i in range(2)))
        with torch.autocast("cpu", torch.bfloat16):
            y = how.collapse(blocks(how.expand(torch.randn(2, 3, 8))))
        results.append([y, *torch.autograd.grad(y.float().square().sum(), list(blocks.parameters()))])
    assert equal(*results)


@pytest.mark.parametrize("value", [-1, 1, True, 2.0])
def test_bad_values(value):
    with pytest.raises(ValueError, match=r"recompute .*expected 0 \(off\) or a whole number"):
        HyperConnections(recompute=value)


@pytest.mark.slow
def test_a_compiled_model_says_that_it_decides_itself(caplog):
    hyper_tracing._say_compiler_decides.cache_clear()
    trunk, x = Trunk(HyperConnections(2, recompute=2)), torch.randn(2, 12)
    with caplog.at_level(logging.WARNING):
        found = torch.compile(trunk, fullgraph=True, backend="aot_eager")(x)
    assert (found - trunk(x)).abs().max() < 1e-5
    assert [r.getMessage() for r in caplog.records if "recompute" in r.getMessage()] == [
        "recompute has no effect in a compiled model: the compiler decides what it recomputes"
    ]
    torch.compiler.reset()
