"""MAMP: what it hides, what it predicts, and the whole loss against a second, naive implementation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.batches import ClipBatch
from kinema.motion.skeletons import NTU25
from kinema.recognition.encoder import TransformerConfig, patchify, unpatchify
from kinema.recognition.mamp import (
    MAMP,
    MAMPConfig,
    frame_motion,
    gumbel_scores,
    mask_probability,
    motion_intensity,
    normalise_time,
    normalise_tokens,
    take,
)
from kinema.recognition.presets import recipe
from kinema.recognition.recipes import build_method
from kinema.training.method import Step

TINY = {"width": 8, "depth": 2, "heads": 2, "mlp_ratio": 2.0, "frames": 12, "joints": 3, "frame_patch": 4}


def tiny(coordinates=3, joint_patch=1, frames=12, **choices) -> MAMP:
    size = TransformerConfig(**{**TINY, "coordinates": coordinates, "joint_patch": joint_patch, "frames": frames})
    torch.manual_seed(0)
    return MAMP(MAMPConfig(size, **{"decoder_width": 8, "decoder_depth": 2, "mask_ratio": 0.6, **choices})).double()


def clips(rows=2, people=2, frames=12, joints=3, seed=0, alone=()):
    """A batch; in the rows `alone` the second person is absent."""
    g = torch.Generator().manual_seed(seed)
    positions = torch.randn(rows, frames, people, joints, 3, generator=g, dtype=torch.float64).cumsum(1)
    present = torch.ones(rows, people, dtype=torch.bool)
    for row in alone:
        positions[row, :, 1:], present[row, 1:] = 0, False
    return ClipBatch(positions, present, torch.zeros(rows, dtype=torch.int64), torch.arange(rows))


# patches


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_unpatchify_undoes_patchify(b, t, j, u, p, c):
    x = torch.arange(b * t * u * j * p * c, dtype=torch.float32).view(b, t * u, j * p, c)
    tokens = patchify(x, u, p)
    assert tokens.shape == (b, t * j, u * p * c)
    assert torch.equal(unpatchify(tokens, (t, j), u, p), x)


def test_a_patch_is_some_frames_of_a_joint_in_time_major_order():
    x = torch.arange(8 * 5 * 3.0).view(1, 8, 5, 3)
    tokens = patchify(x, 4, 1)
    assert torch.equal(tokens[0, 1 * 5 + 2], x[0, 4:8, 2].flatten())


def test_embedding_is_the_convolution_it_is_saved_as():
    model = tiny(joint_patch=3)
    x = clips().positions[:, :, 0]
    expected = model.joints_embed.proj(x.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.joints_embed(x), expected)


# what is hidden


@given(st.integers(1, 30), st.integers(1, 25), st.floats(0.01, 0.99))
@settings(max_examples=50, deadline=None)
def test_how_many_tokens_are_kept(t, j, ratio):
    kept = MAMPConfig(TransformerConfig(frames=4 * t, joints=j), mask_ratio=ratio).kept
    assert 1 <= kept <= t * j
    assert abs(kept - (1 - ratio) * t * j) <= 1


def test_the_published_size_keeps_74_of_750():
    config = recipe("mamp", "paper-ntu60", NTU25).model
    assert config.encoder.grid == (30, 25)
    assert config.kept == 74


@pytest.mark.parametrize("preset", ["small", "fast", "paper-ntu60"])
def test_kept_and_hidden_are_all_tokens_once(preset):
    chosen = recipe("mamp", preset, NTU25).model
    model = build_method(recipe("mamp", preset, NTU25))
    size = chosen.encoder
    t, j = size.grid
    x = torch.randn(2, size.frames, 25, 3).cumsum(1)
    order = torch.argsort(model.mask_scores(x, torch.rand(2, t * j)), dim=1, stable=True)
    assert torch.equal(order.sort(1).values, torch.arange(t * j).expand(2, -1))


def test_prediction_ids_and_kept_ids_are_a_permutation():
    for model in (tiny(), tiny(decoder="cross"), tiny(mask="uniform")):
        x = clips().positions[:, :, 0]
        prediction, hidden, keep = model.predict(x, torch.rand(2, 9).double())
        assert keep.shape == (2, model.config.kept) == (2, 3)
        assert torch.equal(torch.cat([keep, hidden], 1).sort(1).values, torch.arange(9).expand(2, -1))
        assert prediction.shape == (2, 6, 12)


def test_a_share_of_the_hidden_tokens():
    model = tiny(decoder="cross", predict_share=0.5)
    x, u = clips().positions[:, :, 0], torch.rand(2, 9).double()
    some, ids, _ = model.predict(x, u)
    whole = tiny(decoder="cross")
    whole.load_state_dict(model.state_dict())
    every, hidden, _ = whole.predict(x, u)
    assert ids.shape == (2, 3)
    for row in range(2):
        places = [hidden[row].tolist().index(i) for i in ids[row].tolist()]
        torch.testing.assert_close(some[row], every[row, places])
        assert len(set(places)) == 3


def hidden_share(model, x, draws=4000):
    """How often each token of one clip is hidden."""
    u = torch.rand(draws, x.shape[1] // 4 * x.shape[2], generator=torch.Generator().manual_seed(1)).double()
    order = torch.argsort(model.mask_scores(x.expand(draws, -1, -1, -1), u), dim=1, stable=True)
    return (
        torch.zeros(u.shape[1]).scatter_add_(
            0, order[:, model.config.kept :].flatten(), torch.ones(order[:, model.config.kept :].numel())
        )
        / draws
    )


def test_fast_joints_are_hidden_more_often():
    x = torch.zeros(1, 12, 3, 3, dtype=torch.float64)
    x[0, :, 1] = torch.arange(12.0)[:, None] * 0.02
    x[0, :, 2] = torch.arange(12.0)[:, None] * 0.2
    share = hidden_share(tiny(), x).view(3, 3).mean(0)  # by joint
    assert share[0] + 0.03 < share[1] + 0.02 < share[2]
    assert share[2] - share[0] > 0.15
    weak = hidden_share(tiny(tau=5.0), x).view(3, 3).mean(0)
    assert weak[2] - weak[0] < 0.5 * (share[2] - share[0]), "a higher tau attracts less"
    for uniform in (tiny(tau=0.0), tiny(tau=-1.0), tiny(mask="uniform")):
        even = hidden_share(uniform, x)
        assert (even - 6 / 9).abs().max() < 0.04


@pytest.mark.parametrize("choices", [{"tau": 0.0}, {"tau": -1.0}, {"mask": "uniform"}])
def test_without_tau_the_draw_itself_is_the_score(choices):
    u = torch.rand(2, 9).double()
    assert torch.equal(tiny(**choices).mask_scores(clips().positions[:, :, 0], u), u)


def test_somebody_absent_or_still_is_hidden_evenly():
    for x in (torch.zeros(2, 12, 3, 3), torch.randn(2, 1, 3, 3).expand(2, 12, 3, 3)):
        probability = mask_probability(motion_intensity(patchify(x, 4, 1), (3, 3)), 0.8)
        torch.testing.assert_close(probability, torch.full((2, 9), 1 / 9))
    one_step = motion_intensity(patchify(torch.randn(2, 4, 3, 3), 4, 1), (1, 3))
    assert not one_step.any(), "a single time step has nothing to be compared with"


@given(st.floats(0.01, 100.0))
@settings(max_examples=20, deadline=None)
def test_the_mask_does_not_depend_on_the_scale(scale):
    x, u = clips(seed=4).positions[:, :, 0], torch.rand(2, 9, generator=torch.Generator().manual_seed(0)).double()
    model = tiny()
    torch.testing.assert_close(model.mask_scores(scale * x, u), model.mask_scores(x, u), rtol=1e-6, atol=1e-6)


def test_intensity_is_the_mean_difference_between_patches():
    x = clips().positions[:, :, 0]
    found = motion_intensity(patchify(x, 4, 1), (3, 3)).view(2, 3, 3)
    for t in (1, 2):
        expected = (x[:, 4 * t : 4 * t + 4] - x[:, 4 * t - 4 : 4 * t]).abs().mean((1, 3))
        torch.testing.assert_close(found[:, t], expected)
    assert torch.equal(found[:, 0], found[:, 1])


# what is predicted


def test_frame_motion_and_normalisation():
    x = clips().positions[:, :, 0]
    for stride in (1, 3):
        found = frame_motion(x, stride)
        assert torch.equal(found[:, 2], x[:, 2 + stride] - x[:, 2])
        assert not found[:, -stride:].any()
    tokens = normalise_tokens(patchify(x, 4, 1))
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(2, 9).double())
    torch.testing.assert_close(tokens.std(-1), torch.ones(2, 9).double(), rtol=1e-3, atol=1e-3)
    timed = normalise_time(x)
    torch.testing.assert_close(timed.std(1), torch.ones(2, 3, 3).double(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("decoder", ["self", "cross"])
def test_the_loss_sees_no_kept_token(decoder, monkeypatch):
    model, data = tiny(decoder=decoder), clips()
    plain = model.loss(data, Step(0)).total
    targets = model.targets
    x = model.see(data.positions)
    _, _, keep = model.predict(x, Step(0).uniform("mask", (2, 2, 9)).flatten(0, 1))

    def spoiled(y, ids=keep):
        wrong = targets(y).clone()
        wrong[torch.arange(len(y))[:, None], ids] = 1e6
        return wrong

    monkeypatch.setattr(model, "targets", spoiled)
    assert torch.equal(model.loss(data, Step(0)).total, plain)
    monkeypatch.setattr(model, "targets", lambda y: targets(y) + 1.0)
    assert not torch.equal(model.loss(data, Step(0)).total, plain)


def test_hidden_tokens_are_not_looked_at():
    """What the network predicts follows from the kept tokens alone."""
    model = tiny(mask="uniform")
    x, u = clips().positions[:, :, 0], torch.rand(2, 9).double()
    before, hidden, _ = model.predict(x, u)
    patches = patchify(x, 4, 1)
    patches[torch.arange(2)[:, None], hidden] = 99.0
    after, again, _ = model.predict(unpatchify(patches, (3, 3), 4, 1), u)
    assert torch.equal(hidden, again)
    torch.testing.assert_close(before, after)


@pytest.mark.parametrize("decoder", ["self", "cross"])
def test_packing_changes_nothing_when_everybody_is_there(decoder):
    plain, packed = tiny(decoder=decoder), tiny(decoder=decoder, pack=True)
    packed.load_state_dict(plain.state_dict())
    data = clips(rows=3)
    torch.testing.assert_close(packed.loss(data, Step(1)).total, plain.loss(data, Step(1)).total)


def test_packing_leaves_absent_people_out():
    packed, data = tiny(pack=True), clips(rows=3, alone=(1,))
    loss = packed.loss(data, Step(1)).total
    strange = data.positions.clone()
    strange[1, :, 1] = torch.randn(12, 3, 3).double()
    assert torch.equal(packed.loss(ClipBatch(strange, data.present, data.label, data.index), Step(1)).total, loss)
    # a clip counts as much as another, however many people it shows
    x, u = packed.see(data.positions), Step(1).uniform("mask", (3, 2, 9)).flatten(0, 1)
    prediction, ids, _ = packed.predict(x, u)
    each = (prediction - take(packed.targets(x), ids)).square().mean((1, 2)).view(3, 2)
    torch.testing.assert_close(loss, (each[0].mean() + each[1, 0] + each[2].mean()) / 3)


def test_a_query_of_the_cross_decoder_does_not_depend_on_the_others():
    model, x = tiny(decoder="cross"), clips().positions[:, :, 0]
    keep, queries = torch.tensor([[0, 4, 8], [1, 2, 3]]), torch.tensor([[1, 2, 3, 5], [0, 4, 5, 6]])
    latent = model.encode_kept(x, keep)
    whole = model.decode_queries(latent, keep, queries)
    for i in range(4):
        torch.testing.assert_close(model.decode_queries(latent, keep, queries[:, i : i + 1]), whole[:, i : i + 1])
    torch.testing.assert_close(model.decode_queries(latent, keep, queries.flip(1)), whole.flip(1))


def test_reconstruction_keeps_what_was_seen():
    for choices in ({}, {"target": "joint"}, {"decoder": "cross", "normalise": "time"}, {"normalise": "none", "stride": 2}):
        model, x = tiny(**choices).train(), clips().positions[:, :, 0]
        filled, hidden = model.reconstruct(x, torch.rand(2, 9).double())
        assert filled.shape == x.shape
        assert hidden.float().mean().item() == pytest.approx(6 / 9)
        assert filled.isfinite().all()
        torch.testing.assert_close(filled[~hidden], x[~hidden])
        assert model.training


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"mask_ratio": 1.0}, "mask_ratio 1.0"),
        ({"predict_share": 0.5}, "1 for the self-attention decoder"),
        ({"decoder_depth": 9}, "at most the encoder's depth"),
        ({"decoder_depth": 0}, "decoder_depth 0"),
        ({"stride": 12}, "stride 12"),
        ({"frames": 10}, "cannot be cut"),
    ],
)
def test_choices_that_make_no_sense(choices, message):
    with pytest.raises(ValueError, match=message):
        tiny(**choices)


# the oracle: loops, one token, head and number at a time


def linear(x, weights, name):
    return [
        sum(w * v for w, v in zip(row, x, strict=True)) + b
        for row, b in zip(weights[f"{name}.weight"], weights[f"{name}.bias"], strict=True)
    ]


def layer_norm(x, weights, name):
    mean = sum(x) / len(x)
    spread = math.sqrt(sum((v - mean) ** 2 for v in x) / len(x) + 1e-5)
    return [(v - mean) / spread * g + b for v, g, b in zip(x, weights[f"{name}.weight"], weights[f"{name}.bias"], strict=True)]


def attention(tokens, weights, name, heads):
    width = len(tokens[0])
    size = width // heads
    mixed = [linear(x, weights, f"{name}.qkv") for x in tokens]
    result = []
    for query in mixed:
        joined = []
        for h in range(heads):
            q = query[h * size : (h + 1) * size]
            keys = [m[width + h * size : width + (h + 1) * size] for m in mixed]
            values = [m[2 * width + h * size : 2 * width + (h + 1) * size] for m in mixed]
            power = [math.exp(sum(a * b for a, b in zip(q, k, strict=True)) / math.sqrt(size)) for k in keys]
            joined += [sum(p * v[e] for p, v in zip(power, values, strict=True)) / sum(power) for e in range(size)]
        result.append(linear(joined, weights, f"{name}.proj"))
    return result


def block(tokens, weights, name, heads):
    seen = attention([layer_norm(x, weights, f"{name}.norm1") for x in tokens], weights, f"{name}.attn", heads)
    tokens = [[a + b for a, b in zip(x, y, strict=True)] for x, y in zip(tokens, seen, strict=True)]
    result = []
    for x in tokens:
        hidden = linear(layer_norm(x, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1")
        hidden = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in hidden]
        result.append([a + b for a, b in zip(x, linear(hidden, weights, f"{name}.mlp.fc2"), strict=True)])
    return result


def naive_loss(clip, draws, weights, config):
    """The loss of one person: positions `[frame][joint][coordinate]`, draws `[token]`, weights as nested lists."""
    size = config.encoder
    patch, (steps, joints) = size.frame_patch, size.grid
    places = [(t, j) for t in range(steps) for j in range(joints)]

    def numbers(source, t, j):
        return [source[t * patch + f][j][c] for f in range(patch) for c in range(size.coordinates)]

    def speed(t, j):
        now, before = numbers(clip, max(t, 1), j), numbers(clip, max(t, 1) - 1, j)
        return sum(abs(a - b) for a, b in zip(now, before, strict=True)) / len(now)

    speeds = [speed(t, j) for t, j in places]
    power = [math.exp(s / (max(speeds) * config.tau + 1e-10)) for s in speeds]
    scores = [math.log(p / sum(power)) - math.log(-math.log(u + 1e-10) + 1e-10) for p, u in zip(power, draws, strict=True)]
    order = sorted(range(len(places)), key=lambda n: scores[n])
    keep, hidden = order[: config.kept], order[config.kept :]

    tokens = []
    for n in keep:
        t, j = places[n]
        token = []
        for d in range(size.width):
            kernel = weights["joints_embed.proj.weight"][d]  # [coordinate][frame][0]
            value = weights["joints_embed.proj.bias"][d]
            for f in range(patch):
                for c in range(size.coordinates):
                    value += kernel[c][f][0] * clip[t * patch + f][j][c]
            token.append(value + weights["temp_embed"][0][t][0][d] + weights["pos_embed"][0][0][j][d])
        tokens.append(token)
    for i in range(size.depth):
        tokens = block(tokens, weights, f"blocks.{i}", size.heads)
    seen = {n: linear(layer_norm(x, weights, "norm"), weights, "decoder_embed") for n, x in zip(keep, tokens, strict=True)}

    tokens = []
    for n, (t, j) in enumerate(places):
        start = seen.get(n, weights["mask_token"][0][0])
        place = [a + b for a, b in zip(weights["decoder_temp_embed"][0][t][0], weights["decoder_pos_embed"][0][0][j], strict=True)]
        tokens.append([a + b for a, b in zip(start, place, strict=True)])
    for i in range(config.decoder_depth):
        tokens = block(tokens, weights, f"decoder_blocks.{i}", size.heads)

    moved = [
        [[clip[f + 1][j][c] - clip[f][j][c] if f + 1 < len(clip) else 0.0 for c in range(size.coordinates)] for j in range(joints)]
        for f in range(len(clip))
    ]
    errors = []
    for n in hidden:
        predicted = linear(layer_norm(tokens[n], weights, "decoder_norm"), weights, "decoder_pred")
        target = numbers(moved, *places[n])
        mean = sum(target) / len(target)
        spread = math.sqrt(sum((v - mean) ** 2 for v in target) / (len(target) - 1) + 1e-6)
        errors.append(sum((a - (b - mean) / spread) ** 2 for a, b in zip(predicted, target, strict=True)) / len(target))
    return sum(errors) / len(errors)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_loss_is_that_of_a_naive_second_implementation(seed):
    model, data = tiny(), clips(rows=2, people=2, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():  # biases, norms and embeddings too, so that forgetting one shows
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7)))
    weights = {name: tensor.tolist() for name, tensor in model.state_dict().items()}
    draws = Step(seed).uniform("mask", (2, 2, 9)).tolist()
    each = [naive_loss(data.positions[b, :, m].tolist(), draws[b][m], weights, model.config) for b in range(2) for m in range(2)]
    assert model.loss(data, Step(seed)).total.item() == pytest.approx(sum(each) / 4, rel=1e-5)


def test_scores_guard_their_logarithms():
    scores = gumbel_scores(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.0, 1.0 - 2**-24]]))
    assert scores.isfinite().all()
