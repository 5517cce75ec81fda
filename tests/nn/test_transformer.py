"""Blocks against PyTorch's own and against written-out arithmetic."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kinema.nn.attention import CrossAttention, SelfAttention, attend
from kinema.nn.residual import DropPath, check_residual, connect
from kinema.nn.transformer import MLP, Block, CrossBlock, xavier_init


def naive(q, k, v):
    """Attention of one head, a number at a time: `(Q, E)`, `(N, E)` twice -> `(Q, E)`."""
    rows = []
    for query in q:
        weights = [math.exp(float(query @ key) / math.sqrt(len(query))) for key in k]
        rows.append(sum(w / sum(weights) * value for w, value in zip(weights, v, strict=True)))
    return torch.stack(rows)


@given(st.integers(1, 3), st.integers(1, 5), st.sampled_from([(4, 1), (4, 2), (6, 3)]), st.booleans())
@settings(max_examples=15, deadline=None)
def test_self_attention_is_pytorchs(batch, tokens, size, bias):
    width, heads = size
    torch.manual_seed(0)
    ours, theirs = SelfAttention(width, heads, bias), nn.MultiheadAttention(width, heads, bias=True, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.copy_(ours.qkv.bias if bias else torch.zeros(3 * width))
        theirs.out_proj.weight.copy_(ours.proj.weight)
        theirs.out_proj.bias.copy_(ours.proj.bias)
    x = torch.randn(batch, tokens, width)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0], rtol=1e-4, atol=1e-5)


def test_cross_attention_is_pytorchs():
    torch.manual_seed(0)
    ours, theirs = CrossAttention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.q.weight, ours.kv.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.q.bias, ours.kv.bias]))
        theirs.out_proj.weight.copy_(ours.proj.weight)
        theirs.out_proj.bias.copy_(ours.proj.bias)
    x, context = torch.randn(2, 3, 8), torch.randn(2, 7, 8)
    torch.testing.assert_close(ours(x, context), theirs(x, context, context, need_weights=False)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
def test_attend_is_the_written_out_softmax(autocast):
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 6, 5), torch.randn(2, 3, 6, 5)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = attend(q, k, v)
    for b in range(2):
        for h in range(3):
            torch.testing.assert_close(found[b, h], naive(q[b, h], k[b, h], v[b, h]), rtol=1e-4, atol=1e-5)


def test_under_autocast_attention_that_is_trained_runs_in_fp32_and_features_follow_autocast():
    q = torch.randn(2, 3, 4, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert attend(q, q, q).dtype == torch.float32
        with torch.inference_mode():
            found = attend(q, q, q)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), attend(q.float(), q.float(), q.float()), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("residual", ["prenorm", "postnorm"])
def test_a_block_is_attention_then_mlp(residual):
    torch.manual_seed(0)
    block, x = Block(8, 2, 2.0, residual=residual).eval(), torch.randn(2, 5, 8)
    if residual == "prenorm":
        expected = x + block.attn(block.norm1(x))
        expected = expected + block.mlp(block.norm2(expected))
    else:
        expected = block.norm1(x + block.attn(x))
        expected = block.norm2(expected + block.mlp(expected))
    torch.testing.assert_close(block(x), expected)
    assert block.mlp.fc1.out_features == 16


@pytest.mark.parametrize("residual", ["prenorm", "postnorm"])
def test_queries_of_a_cross_block_do_not_see_one_another(residual):
    torch.manual_seed(0)
    block = CrossBlock(8, 2, residual=residual)
    x, context = torch.randn(2, 5, 8), torch.randn(2, 4, 8)
    whole = block(x, context)
    torch.testing.assert_close(block(x[:, 2:3], context), whole[:, 2:3], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(block(x.flip(1), context).flip(1), whole, rtol=1e-5, atol=1e-6)
    shuffled = context[:, torch.tensor([2, 0, 3, 1])]
    torch.testing.assert_close(block(x, shuffled), whole, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(block(x, context + 1.0), whole, atol=1e-3)


def test_blocks_are_blind_to_the_order_of_tokens():
    torch.manual_seed(0)
    block, x = Block(8, 2), torch.randn(2, 6, 8)
    order = torch.randperm(6)
    torch.testing.assert_close(block(x[:, order]), block(x)[:, order], rtol=1e-5, atol=1e-6)


def test_residual_kinds_by_name():
    x, norm = torch.arange(6.0).view(2, 3), nn.LayerNorm(3)
    assert torch.equal(connect("prenorm", x, norm, lambda y: 2 * y), x + 2 * norm(x))
    assert torch.equal(connect("postnorm", x, norm, lambda y: 2 * y), norm(3 * x))
    assert check_residual("postnorm") == "postnorm"
    for make in (check_residual, lambda kind: Block(4, 1, residual=kind), lambda kind: CrossBlock(4, 1, residual=kind)):
        with pytest.raises(ValueError, match=r"'sandwich': expected one of prenorm, postnorm"):
            make("sandwich")


@pytest.mark.parametrize("make", [SelfAttention, CrossAttention, Block, CrossBlock])
def test_heads_must_divide_the_width(make):
    with pytest.raises(ValueError, match="width 10 is not divisible by 4 heads"):
        make(10, 4)


def test_drop_path_keeps_the_expectation():
    torch.manual_seed(0)
    drop, x = DropPath(0.3), torch.full((20000, 2, 3), 1.5)
    y = drop.train()(x)
    kept = y.flatten(1).ne(0)
    assert torch.equal(kept.any(1), kept.all(1)), "a sample is dropped whole or not at all"
    assert y.mean().item() == pytest.approx(1.5, rel=0.02)
    assert kept.all(1).float().mean().item() == pytest.approx(0.7, abs=0.02)
    torch.testing.assert_close(y[kept.all(1)], x[kept.all(1)] / 0.7)
    assert torch.equal(drop.eval()(x), x)
    assert torch.equal(DropPath(0.0).train()(x), x)


def test_a_block_drops_its_branches():
    torch.manual_seed(0)
    block, x = Block(8, 2, drop_path=0.999).train(), torch.randn(64, 3, 8)
    assert torch.equal(block(x), x)
    assert not torch.allclose(block.eval()(x), x)


def test_mlp_uses_the_exact_gelu():
    mlp, x = MLP(3, 5), torch.randn(4, 3)
    hidden = mlp.fc1(x)
    gelu = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    torch.testing.assert_close(mlp(x), mlp.fc2(gelu))


def test_xavier_init():
    torch.manual_seed(0)
    block = Block(64, 4)
    for parameter in block.parameters():
        nn.init.constant_(parameter, 7.0)
    block.apply(xavier_init)
    bound = math.sqrt(6 / (64 + 256))
    weight = block.mlp.fc1.weight
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert not block.mlp.fc1.bias.any()
    assert block.norm1.weight.eq(1).all()
    assert not block.norm1.bias.any()
