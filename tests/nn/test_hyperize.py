"""Networks of PyTorch and of a user, converted: the same function, streams that do something, and everything around them."""

import copy
import io

import pytest
import torch
from hyper_toys import KINDS, D, Mine, PairBlock, ResBlock, both, disturb, encoder, given, networks, same, timm_blocks
from torch import nn

from kinema.nn.hyper_adapters import Adapter, find_adapter, register_adapter
from kinema.nn.hyper_connections import HyperConnection, HyperConnections
from kinema.nn.hyperize import hyper_connections, hyperize, load_plain_state_dict, param_groups
from kinema.nn.transformer import Block, CrossBlock


@pytest.mark.parametrize("name", list(networks()))
@pytest.mark.parametrize(("kind", "n"), [("dynamic", 1), ("dynamic", 4), ("static", 2), ("manifold", 2), ("fraction", 4)])
def test_the_function_stays_at_conversion(name, kind, n):
    model, x = networks()[name], given(name)
    before = both(model, x)
    for granularity in ("branch", "block"):
        converted = hyperize(copy.deepcopy(model), n, kind=kind, granularity=granularity, quiet=True)
        same(both(converted, x), before)


@pytest.mark.parametrize("norm_first", [True, False])
def test_masks_mean_the_same_with_and_without_fused_layers(norm_first):
    model, x = encoder(norm_first), given("encoder")
    pad = torch.zeros(2, 7, dtype=torch.bool)
    pad[1, 4:] = True
    causal = nn.Transformer.generate_square_subsequent_mask(7)
    calls = [{}, {"src_key_padding_mask": pad}, {"mask": causal}, {"mask": causal, "is_causal": True}]
    calls.append({"mask": causal.isinf(), "src_key_padding_mask": pad})
    before = [both(model, x, **call) for call in calls]
    hyperize(model, quiet=True)
    keep = (~pad).unsqueeze(-1)
    for call, expected in zip(calls, before, strict=True):
        found = both(model, x, **call)
        same([f * keep for f in found], [e * keep for e in expected])
        same(found[1:], [found[0]] * 2)  # evaluation is training without dropout, at padded positions too
    disturb(model)
    for call in calls:
        found = both(model, x, **call)
        same(found[1:], [found[0]] * 2)


def test_causal_masks_still_hide_the_future():
    model, x = disturb(hyperize(encoder(), quiet=True)).eval(), given("encoder")
    causal = nn.Transformer.generate_square_subsequent_mask(7)
    other = x.clone()
    other[:, 4:] = 0
    torch.testing.assert_close(model(x, mask=causal)[:, :4], model(other, mask=causal)[:, :4], rtol=1e-4, atol=1e-5)


def test_encoder_and_decoder_are_two_runs():
    torch.manual_seed(0)
    model = nn.Transformer(D, 2, 2, 2, 24, 0.0, batch_first=True, norm_first=True)
    source, target = torch.randn(2, 5, D), torch.randn(2, 3, D)
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    before = both(model, source, target, tgt_mask=mask)
    hyperize(model, 2, quiet=True)
    same(both(model, source, target, tgt_mask=mask), before)
    assert [c.index for _, c in hyper_connections(model)] == list(range(2 * 2 + 2 * 3))


def test_queries_over_a_context():
    torch.manual_seed(0)
    model, x, context = Mine([CrossBlock(D, 2) for _ in range(2)]), torch.randn(2, 3, D), torch.randn(2, 6, D)
    before = both(model, x, context)
    same(both(hyperize(model, quiet=True), x, context), before)


@pytest.mark.parametrize("kind", ["static", "dynamic", "manifold", "fraction"])
def test_convolutional_blocks(kind):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *[ResBlock(8) for _ in range(3)], nn.AdaptiveAvgPool2d(1))
    x = torch.randn(2, 3, 6, 5)
    before = both(model, x)
    hyperize(model, 4, kind=kind, granularity="block", channel_dim=1, quiet=True)
    same(both(model, x), before)
    assert [c.dim for _, c in hyper_connections(model)] == [8, 8, 8]
    disturb(model)(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_blocks_that_give_tuples_and_take_keywords():
    torch.manual_seed(0)
    blocks, x = nn.ModuleList(PairBlock() for _ in range(2)), torch.randn(2, 3, D)

    def run():
        y, seen = x, []
        for block in blocks:
            y, mean = block(hidden=y, scale=0.5)
            seen.append(mean)
        return [y.detach(), *seen]

    before = run()
    hyperize(blocks, granularity="block", quiet=True)
    same(run(), before)


@pytest.mark.parametrize("granularity", ["branch", "block"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns_and_streams_differ(kind, granularity):
    model, x = encoder(), given("encoder")
    start = model(x).detach()
    hyperize(model, 4, kind=kind, granularity=granularity, quiet=True)
    disturb(model)
    between = []
    model.layers[1].register_forward_hook(lambda m, args, out: between.append(out))
    (model(x) ** 2).sum().backward()
    assert (model(x) - start).abs().max() > 0.05
    for name, c in hyper_connections(model):
        for key, p in c.named_parameters():
            assert p.grad is not None, f"{name}.{key}"
            assert p.grad.abs().max() > 0 or c.index == len(hyper_connections(model)) - 1, f"{name}.{key}"
    if "fraction" in kind:
        assert between[0].shape == x.shape
    else:
        assert between[0].shape == (2, 7, 4, D)
        assert min((between[0][:, :, i] - between[0][:, :, j]).abs().max() for i in range(4) for j in range(i)) > 1e-2


def test_the_carried_streams_are_mixed():
    """The output depends on every static_carry, but for the first (streams are still equal) and the last (the mean hides it)."""
    model, x = disturb(hyperize(encoder(), kind="static", quiet=True)), given("encoder")
    before = model(x).detach()
    for _, c in hyper_connections(model)[1:-1]:
        other = c.static_carry.data.clone()
        c.static_carry.data = other.roll(1, 0)
        assert (model(x) - before).abs().max() > 1e-3
        c.static_carry.data = other


def test_states_round_trip_and_plain_weights_load():
    model, x = encoder(), given("encoder")
    plain, expected = copy.deepcopy(model.state_dict()), model(x)
    trained = disturb(hyperize(model, quiet=True))
    assert set(plain) <= set(trained.state_dict())
    fresh = hyperize(encoder(), quiet=True)
    fresh.load_state_dict(trained.state_dict())
    torch.testing.assert_close(fresh(x), trained(x), rtol=0, atol=0)
    other = hyperize(disturb_all(encoder()), quiet=True)
    load_plain_state_dict(other, plain)
    torch.testing.assert_close(other(x), expected, rtol=1e-5, atol=1e-5)
    for state, word in (
        ({k: v for k, v in plain.items() if k != "norm.bias"}, "no 'norm.bias'"),
        ({**plain, "nose": torch.ones(1)}, "unknown 'nose'"),
    ):
        with pytest.raises(ValueError, match=word):
            load_plain_state_dict(other, state)


def disturb_all(model):
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    return model


def test_copies_and_whole_module_saves():
    for model in (encoder(), encoder(norm_first=False)):
        x = given("encoder")
        disturb(hyperize(model, quiet=True))
        twin = copy.deepcopy(model)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
        for other in (twin, loaded):
            assert isinstance(other.layers[0], nn.TransformerEncoderLayer)
            torch.testing.assert_close(other(x), model(x), rtol=0, atol=0)
        disturb(twin)
        assert (twin(x) - model(x)).abs().max() > 1e-3  # nothing shared


def test_bf16_autocast():
    for granularity in ("branch", "block"):
        model, x = encoder(), given("encoder")
        with torch.autocast("cpu", torch.bfloat16):
            before = model(x)
            hyperize(model, granularity=granularity, quiet=True)
            after = model(x)
            after.float().sum().backward()
        assert (after - before).abs().max() < 0.1
        assert all(c.static_read.dtype == torch.float32 and c.static_carry.grad is not None for _, c in hyper_connections(model))


def test_weight_decay_leaves_out_static_parts_biases_and_norms():
    model = hyperize(encoder(), quiet=True)
    decayed, kept = param_groups(model, 0.3)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.3, 0.0)
    names = {id(p): name for name, p in model.named_parameters()}
    without = {names[id(p)] for p in kept["params"]}
    assert len(names) == len(decayed["params"]) + len(kept["params"])
    for name, c in hyper_connections(model):
        assert {f"{name}.static_read", f"{name}.static_carry", f"{name}.static_write"} <= without
        assert f"{name}.projection" not in without
        assert c.n == 4
    assert {"layers.0.norm1.weight", "layers.0.linear1.bias"} <= without
    assert "layers.0.linear1.weight" not in without
    model.layers.requires_grad_(False)
    assert sum(len(g["params"]) for g in param_groups(model, 0.3)) == 2
    torch.optim.AdamW(param_groups(model, 0.1))
    with pytest.raises(ValueError, match="weight_decay -1"):
        param_groups(model, -1)


def test_what_was_replaced_is_printed(capsys):
    hyperize(encoder(norm_first=False), 2)
    said = capsys.readouterr().out
    assert "layers.0 .. 2" in said
    assert "TransformerEncoderLayer" in said
    assert "whole block: post-norm" in said
    model = encoder()
    before = sum(p.numel() for p in model.parameters())
    hyperize(model)
    said = capsys.readouterr().out
    assert "attention, mlp" in said
    assert f"+{sum(p.numel() for p in model.parameters()) - before:,}" in said
    hyperize(encoder(), quiet=True)
    assert capsys.readouterr().out == ""


def test_a_registered_adapter_and_chosen_blocks():
    class Third(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(D, D)

        def forward(self, x):
            return x + self.lin(x)

    class Derived(Third):
        def forward(self, x):
            return x - self.lin(x)

    x = torch.randn(2, 3, D)
    model = Mine([Third() for _ in range(4)])
    with pytest.raises(ValueError, match=r"blocks\.1 \(Third\) has no adapter.*register_adapter\(Third"):
        hyperize(model, blocks=["blocks.1"])
    for bad in ("linear", [], ()):
        with pytest.raises(ValueError, match="expected their names"):
            Adapter(bad, print)
    register_adapter(Third, Adapter(["linear"], lambda block, c, streams: c[0](streams, block.lin)))
    assert find_adapter(Derived()) is None
    before = both(model, x)
    hyperize(model, blocks=[model.blocks[0], "blocks.1", "blocks.3"], quiet=True)
    assert [name for name, _ in hyper_connections(model)] == ["blocks.0.hyper.0", "blocks.1.hyper.0", "blocks.3.hyper.0"]
    same(both(model, x), before)
    whole = hyperize(Mine([Third() for _ in range(2)]), blocks="blocks", quiet=True)
    assert len(hyper_connections(whole)) == 2
    for bad in (3, nn.Module(), ""):
        with pytest.raises(ValueError, match="register_adapter"):
            register_adapter(bad, Adapter(("a",), print))
    with pytest.raises(ValueError, match="expected an Adapter"):
        register_adapter("Name", print)


def test_a_block_of_timms_name_that_computes_something_else_is_not_taken():
    post = Mine(timm_blocks(2, post=True))
    with pytest.raises(ValueError, match="no block in it has an adapter"):
        hyperize(post)
    x = given("encoder")
    before = both(post, x)
    same(both(hyperize(post, granularity="block", quiet=True), x), before)


class Down(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(D, 8)

    def forward(self, x):
        return self.lin(x)


def mine_in_parallel():
    """As if wrapped for several processes."""
    parallel = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(parallel)
    parallel.module = encoder()
    return parallel


def test_bad_input_is_refused_by_name_and_changes_nothing():
    def fails(match, model, *args, **kwargs):
        before = [type(m) for m in model.modules()]
        with pytest.raises(ValueError, match=match):
            hyperize(model, *args, **kwargs)
        assert [type(m) for m in model.modules()] == before

    fails("n 0", encoder(), 0)
    fails("granularity 'layer'", encoder(), granularity="layer")
    fails("kind 'nose'", encoder(), kind="nose")
    fails(r"layers\.0 \(TransformerEncoderLayer\): width 16 is not divisible by 3 fractions", encoder(), 3, kind="fraction")
    fails(r"blocks\.1 \(Block\) is 8 wide, blocks\.0 16", Mine([Block(D, 2), Block(8, 2)]))
    fails(r"head \(LayerNorm\) is not a residual block", Mine([Block(D, 2)]), granularity="block", blocks=["head"])
    fails("Linear: no ModuleList or Sequential", nn.Linear(3, 3), granularity="block")
    fails("Sequential: no block in it has an adapter", nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))
    fails("no module named 'nose'", encoder(), blocks=["nose"])
    fails("not a module of this", encoder(), blocks=[Block(D, 2)])
    fails("listed more than once", encoder(), blocks=["layers.0", "layers.0"])
    fails("got none", encoder(), blocks=[])
    fails(r"0 \(ResBlock\): .*give channel_dim=1", nn.Sequential(ResBlock(4), ResBlock(4)), granularity="block")
    fails("already has hyper-connections", hyperize(encoder(), quiet=True))
    fails("already has hyper-connections", Mine([Block(D, 2, residual=HyperConnections())]))
    fails("wrapped in DistributedDataParallel", mine_in_parallel())
    own = encoder()
    own.layers[1].forward = own.layers[1].forward
    fails(r"layers\.1 \(TransformerEncoderLayer\): the object has a forward of its own", own)
    block = Block(D, 2)
    fails("holds the same block more than once", Mine([block, block]))


def test_a_block_that_changes_the_shape_is_named_when_it_runs():
    model = hyperize(nn.Sequential(Down(), Down()), granularity="block", quiet=True)
    with pytest.raises(ValueError, match=r"0 \(Down\): gave \(2, 3, 8\).*residual blocks"):
        model(torch.randn(2, 3, D))
    model = hyperize(encoder(), quiet=True)
    with pytest.raises(ValueError, match=r"layers\.0 \(TransformerEncoderLayer\): got \(2, 3, 8\), expected 16 features"):
        model(torch.randn(2, 3, 8))
    model = hyperize(encoder(), channel_dim=5, quiet=True)
    with pytest.raises(ValueError, match=r"got \(2, 3, 16\), expected 16 features on axis 5"):
        model(torch.randn(2, 3, D))


def test_options_reach_the_connections():
    model = hyperize(encoder(), 2, norm="rmsnorm", tanh=False, gain=False, reduce="sum", quiet=True)
    for _, c in hyper_connections(model):
        assert isinstance(c, HyperConnection)
        assert (c.n, c.norm, c.tanh, c.gain) == (2, "rmsnorm", False, None)
    with pytest.raises(TypeError, match="nose"):
        hyperize(encoder(), nose=1)
