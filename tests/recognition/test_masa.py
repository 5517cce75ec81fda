"""MASA's own arithmetic, against loops where there is a rule to get wrong; the published numbers are in tests/parity."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from kinema.data.batches import ClipBatch
from kinema.nn.graph import GraphConfig
from kinema.nn.residual import named_residual
from kinema.recognition.heads import Classifier, PlainHead
from kinema.recognition.masa import MASA, UNUSED, MASAConfig, from_authors
from kinema.recognition.masa_batch import SignBatch, collate
from kinema.recognition.masa_motion import Motion, MotionConfig, hide, motion_of, motions, prediction_loss
from kinema.recognition.masa_network import SignNetworkConfig, View
from kinema.recognition.masa_prepare import SignParts
from kinema.training.method import Step

PARITY = Path(__file__).resolve().parents[1] / "parity"
GOLDEN = Path(os.environ.get("KINEMA_GOLDEN", PARITY.parents[1].parent / "shared" / "golden")) / "sign"
NETWORK = SignNetworkConfig(GraphConfig(6, (3, 3, 4)), depth=2, heads=2, mlp=8)
needs_golden = pytest.mark.skipif(not GOLDEN.exists(), reason="needs the reference vectors")


def small(network=NETWORK, **options):
    torch.manual_seed(0)
    sizes = {"decoder_depth": 1, "head_hidden": 8, "dim": 5, "queue": 12}
    return MASA(MASAConfig(**{"network": network, **sizes, **options}))


def parts(frames, seed=0, right=True, left=True):
    rng = np.random.default_rng(seed)
    hand = lambda there: rng.random((frames, 21, 2), np.float32) * there  # noqa: E731
    sure = lambda n, there: rng.random((frames, n), np.float32) * there  # noqa: E731
    return SignParts(
        hand(right), hand(left), rng.random((frames, 7, 2), np.float32),
        sure(21, right), sure(21, left), sure(7, True), np.arange(frames),
    )  # fmt: skip


def batch_of(*lengths, **options):
    return collate([parts(n, i, **options) for i, n in enumerate(lengths)])


def hidden_from_query(model, batch, step=0):
    draws = Step(step).uniform("mask.query", (len(batch), 3, model.config.frames))
    return model.query_view(batch, motions(batch, model.config.motion), draws).hidden


@needs_golden
@pytest.mark.parametrize(
    "name", ["masa_pretrain", "masa_finetune", "masa_preproc", pytest.param("masa_fullsize", marks=pytest.mark.slow)]
)
def test_the_reference_vectors_hold(name):
    sys.path.insert(0, str(PARITY))
    import verify

    assert verify.main_with([str(GOLDEN / f"{name}.safetensors")]) == 0


@needs_golden
def test_every_name_and_shape_of_the_authors_is_ours_or_listed_as_unused():
    theirs = json.loads((GOLDEN / "masa_fullsize.json").read_text())["parameters"]
    with torch.device("meta"):
        model = MASA(MASAConfig())
    ours = {k: list(v.shape) for k, v in model.named_parameters() if not k.startswith("encoder_k.")}
    used = {k: v for k, v in theirs.items() if not any(unused in k for unused in UNUSED)}
    assert ours == used
    assert len(used) < len(theirs)


def test_the_authors_checkpoint_loads_strictly():
    model, other = small(), small(momentum=0.5)
    state = {f"module.{k}": v + 1 if v.is_floating_point() else v for k, v in other.state_dict().items()}
    for extra in ("encoder_q.embed.st_gcn_hand.conv2.0.weight", "encoder_k.embed.st_gcn_body.non_local.g.bias",
                  "encoder_q.embed.st_gcn_body.fcn.1.bias", "encoder_q.embed.pe.pe", "target_decoder.GCN_Tran.norm.gamma"):  # fmt: skip
        state[f"module.{extra}"] = torch.zeros(1)
    model.load_state_dict(from_authors(state), strict=True)
    torch.testing.assert_close(model.queue, other.queue + 1)


# what moves and is hidden


def naive_motion(x, conf, length, c):
    """Loops over frames, joints and coordinates."""
    frames, joints, _ = x.shape
    residual, weight = np.zeros_like(x), np.zeros_like(x)
    candidate = np.zeros(frames, bool)
    for t in range(length - c.stride):
        moving_coordinates, moving_joints = 0, 0
        for j in range(joints):
            delta = [(x[t + c.stride, j, a] - x[t, j, a]) * 256 for a in range(2)]
            counted = [max(d, 0) if c.direction == "positive" else abs(d) for d in delta]
            for a in range(2):
                residual[t, j, a] = delta[a]
                if counted[a] > c.threshold:
                    moving_coordinates += 1
                    weight[t, j, a] = conf[t, j] * conf[t + c.stride, j]
            sure = conf[t, j] > c.confident and conf[t + c.stride, j] > c.confident
            moving_joints += sure and np.hypot(*counted) > c.threshold
        candidate[t] = moving_coordinates > 1 if c.candidate == "count" else moving_joints / joints >= c.share
    return residual, weight, candidate


@pytest.mark.parametrize("config", [MotionConfig(), MotionConfig.paper(), MotionConfig(stride=1, candidate="share", share=0.3)])
@pytest.mark.parametrize("length", [9, 7, 3, 1])
def test_motion_is_what_loops_find(config, length):
    rng = np.random.default_rng(length)
    x = (rng.random((9, 7, 2), np.float32) / 16).round(4)
    x[length:] = 0
    conf = rng.random((9, 7), np.float32) * 0.6 + 0.3
    conf[length:] = 0
    found = motion_of(torch.tensor(x)[None], torch.tensor(conf)[None], torch.tensor([length]), config)
    residual, weight, candidate = naive_motion(x, conf, length, config)
    np.testing.assert_allclose(found.residual[0], residual, atol=1e-5)
    np.testing.assert_allclose(found.weight[0], weight, atol=1e-6)
    assert found.candidate[0].tolist() == candidate.tolist()


@given(st.integers(0, 2**31), st.sampled_from([0.9, 0.5, 0.0, 1.0]))
@settings(max_examples=40, deadline=None)
def test_a_share_of_the_candidates_is_hidden_and_nothing_else(seed, share):
    draw = torch.Generator().manual_seed(seed)
    candidate = torch.rand(5, 40, generator=draw) < torch.rand(5, 1, generator=draw)
    found = hide(candidate, share, torch.rand(5, 40, generator=draw))
    assert not (found & ~candidate).any()
    assert found.sum(1).tolist() == [int(share * n) for n in candidate.sum(1).tolist()]


def test_the_count_is_pythons_for_every_length():
    candidate = torch.ones(301, 300).tril(-1).bool()
    assert hide(candidate, 0.9, torch.rand(301, 300)).sum(1).tolist() == [int(0.9 * n) for n in range(301)]


def test_every_candidate_is_as_likely():
    candidate = torch.arange(12) % 3 != 0
    found = hide(candidate.expand(4000, 12), 0.5, torch.rand(4000, 12, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(found.float().mean(0), 0.5 * candidate, atol=0.03, rtol=0)


def test_what_is_hidden_does_not_depend_on_the_padding():
    model, clips = small(), [parts(12, 0), parts(9, 1)]
    together = hidden_from_query(model, collate([*clips, parts(30, 2)]))
    for hidden, few in zip(together, hidden_from_query(model, collate(clips)), strict=True):
        assert few.any()
        # draws are those of the row, so the batch's other rows must be as many; here one more row follows
        assert few.sum(1).tolist() == hidden[:2].sum(1).tolist()
    longer = collate([*clips, parts(60, 2)])
    for a, b in zip(together, hidden_from_query(model, longer), strict=True):
        assert torch.equal(a[:2], b[:2, :30])
        assert not b[0, 12:].any()


# losses


@pytest.mark.parametrize("form", ["l1", "l2"])
def test_the_prediction_loss_is_what_loops_find(form):
    rng = np.random.default_rng(0)
    predicted, residual, weight = rng.random((3, 2, 4, 7, 2), np.float32)
    both, hidden = rng.random((2, 4, 7)) < 0.6, rng.random((2, 4)) < 0.5
    total = 0.0
    for b, t in zip(*np.nonzero(hidden), strict=True):
        for j in range(7):
            for a in range(2):
                error = predicted[b, t, j, a] - residual[b, t, j, a]
                total += abs(error) * weight[b, t, j, a] if form == "l1" else error**2 * both[b, t, j]
    expected = 10 * total / (hidden.sum() * 7 + 1) if form == "l1" else total / hidden.sum()
    motion = Motion(*(torch.tensor(x) for x in (residual, weight, both, hidden)))
    found = prediction_loss(torch.tensor(predicted), motion, torch.tensor(hidden), form)
    torch.testing.assert_close(found.item(), float(expected), rtol=1e-5, atol=0)


def test_alignment_grows_over_the_epochs_and_is_added_to_the_predictions():
    model, batch = small().eval(), batch_of(10, 8)
    assert [model.weight(e) for e in (0, 50, 100, 300)] == [0, 0.025, 0.05, 0.05]
    assert small(align_epochs=0).weight(0) == 0.05
    losses = model.loss(batch, Step(0, epoch=50))
    p = losses.parts
    torch.testing.assert_close(losses.total, 0.025 * p["contrast"] + p["right"] + p["left"] + p["body"])


def test_infonce_is_what_loops_find():
    model, batch = small().eval(), batch_of(10, 8)
    key = model.key_view(batch, torch.rand(2, 3, 300))
    view = View.of(batch, 0.5)
    logits, keys = model.alignment(model.encoder_q(view), key)
    queries = [model.encoder_q.proj(*model.encoder_q(view)[1:])[i] for i in range(2)]
    for i, q in enumerate(queries):
        q = q / q.norm()
        expected = [(q @ keys[i]).item() / 0.07] + [(q @ column).item() / 0.07 for column in model.queue.T]
        torch.testing.assert_close(logits[i], torch.tensor(expected), rtol=1e-4, atol=1e-4)


# a step


def test_gradients_reach_the_queries_and_the_decoder_and_the_loss_changes_no_queue():
    model = small().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    losses = model.loss(batch_of(12, 10, 9), Step(0, epoch=9))
    losses.total.backward()
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert all("running" in k or "num_batches" in k for k in changed)
    without = {k for k, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not without
    assert all(p.grad is None for p in model.encoder_k.parameters())
    assert model.encoder_q.proj.fc[2].weight.grad.abs().sum() > 0
    assert model.encoder_q.embed.mask_token.grad.abs().sum() > 0
    assert set(losses.parts) == {"right", "left", "body", "contrast"}


def test_a_step_enqueues_whatever_the_batch_and_moves_the_key():
    model = small(momentum=0.5).train()
    kept = []
    for step, rows in enumerate((5, 3, 7)):
        losses = model.loss(batch_of(*[8] * rows), Step(step))
        old = [p.clone() for p in model.encoder_k.parameters()]
        statistics = [b.clone() for b in model.encoder_k.buffers()]
        model.after_step([losses.carry])
        for before, key, query in zip(old, model.encoder_k.parameters(), model.encoder_q.parameters(), strict=True):
            torch.testing.assert_close(key, (before + query) / 2)
        assert all(map(torch.equal, statistics, model.encoder_k.buffers()))
        kept.append(losses.carry)
    assert model.queue_ptr.item() == 15 % 12
    torch.testing.assert_close(model.queue.T.roll(-3, 0), torch.cat(kept)[-12:])


def test_a_model_begins_with_equal_encoders_whose_head_alone_is_not_xavier():
    model = small()
    assert all(map(torch.equal, model.encoder_q.parameters(), model.encoder_k.parameters()))
    bound = (6 / (18 + 18)) ** 0.5
    weight = model.encoder_q.GCN_Tran.blocks[0].proj.weight
    assert 0.8 * bound < weight.abs().max() <= bound
    assert model.encoder_q.proj.fc[0].weight.abs().max() <= 6**-0.5  # PyTorch's own
    assert model.encoder_q.embed.mask_token.abs().max() > 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"motion": MotionConfig.paper(), "relu": False, "regression": "l2"},
        {"network": replace(NETWORK, hidden="skip", padding=False, pool="average", coordinates="centred", mask_at="before_time")},
    ],
)
def test_every_choice_learns(options):
    model, batch = small(**options).train(), batch_of(16, 10, 6)
    optimiser = torch.optim.AdamW(model.parameter_groups(), 0.03)
    totals = []
    for _ in range(5):
        losses = model.loss(batch, Step(0, epoch=100))
        optimiser.zero_grad()
        losses.total.backward()
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
        optimiser.step()
        totals.append(losses.total.item())
    assert totals[-1] < totals[0]


def test_the_presets_say_what_differs():
    code, paper = MASAConfig.code(), MASAConfig.paper()
    assert code == MASAConfig()
    assert (code.queue, code.momentum, code.motion.threshold, code.motion.confident, code.regression) == (6912, 0.999, 3, 0.5, "l1")
    assert (paper.queue, paper.momentum, paper.motion.threshold, paper.motion.confident, paper.regression) == (
        6144,
        0.996,
        5,
        0.4,
        "l2",
    )
    assert (paper.network.pool, paper.network.hidden, paper.motion.candidate, paper.relu) == ("average", "skip", "share", False)


def test_choices_that_contradict_are_told():
    for options, message in [
        ({"queue": 0}, "queue 0: expected 1 or more"),
        ({"momentum": 1.5}, "momentum 1.5: expected 0 to 1"),
        ({"temperature": 0.0}, "temperature 0.0: expected"),
        ({"align": -1.0}, "align -1.0"),
        ({"motion": MotionConfig.paper()}, "choose relu=False"),
    ]:
        with pytest.raises(ValueError, match=message):
            small(**options)
    with pytest.raises(ValueError, match="not divisible by 4 heads"):
        replace(NETWORK, heads=4)
    with pytest.raises(ValueError, match="share 2"):
        MotionConfig(share=2)
    with pytest.raises(ValueError, match="clips of 8 frames; expected at most 5"):
        small(frames=5).loss(batch_of(8), Step(0))


# what a clip may lack


def test_a_clip_of_three_frames_has_no_motion_and_nothing_hidden():
    model, batch = small().train(), batch_of(3, 2)
    assert not any(h.any() for h in hidden_from_query(model, batch))
    assert all((m.residual == 0).all() for m in motions(batch, model.config.motion))
    losses = model.loss(batch, Step(0))
    assert all(losses.parts[name] == 0 for name in ("right", "left", "body"))
    losses.total.backward()
    assert torch.isfinite(losses.total)


@pytest.mark.parametrize("padding", [True, False])
@pytest.mark.parametrize("pool", ["attention", "average"])
def test_a_clip_without_hands_is_a_clip(padding, pool):
    model = small(replace(NETWORK, padding=padding, pool=pool)).train()
    batch = collate([parts(8, right=False, left=False), parts(6, 1)])
    losses = model.loss(batch, Step(0))
    losses.total.backward()
    assert torch.isfinite(losses.total)
    assert torch.isfinite(losses.carry).all()
    nobody = collate([parts(8, right=False, left=False)] * 2)
    assert torch.isfinite(model.loss(nobody, Step(0)).total)


@pytest.mark.parametrize("pool", ["attention", "average"])
def test_hands_that_are_present_alone_count_whatever_the_batch(pool):
    model = small(replace(NETWORK, padding=False, hands="present", pool=pool))
    clips = [parts(8, right=False, left=False), parts(12, 1), parts(6, 2, left=False)]
    model.train().loss(collate(clips), Step(0, epoch=5)).total.backward()
    model.eval()
    together = model.encoder_q(View.of(collate(clips), 0.5)).feature
    assert together.isfinite().all()
    for clip, feature in zip(clips, together, strict=True):
        torch.testing.assert_close(model.encoder_q(View.of(collate([clip]), 0.5)).feature[0], feature, rtol=1e-4, atol=1e-5)


def test_without_any_hand_the_frames_that_are_no_padding_stand_in():
    model = small(replace(NETWORK, padding=False, hands="present")).train()
    hand = model.encoder_q.embed.st_gcn_hand
    few = collate([parts(5, 0, right=False, left=False), parts(3, 1, right=False, left=False)])
    few.coordinates.right[1, 3:] = 9.0  # what lies in padding must not matter
    model.encoder_q(View.of(few, 0.5))
    assert hand.data_bn.running_mean.abs().max() == 0
    assert hand.data_bn.num_batches_tracked == 1


class Waits(TorchDispatchMode):
    """Counts the operations whose result's size or value a GPU has to be waited for."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        aten = torch.ops.aten
        masked = func is aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        named = (aten.nonzero.default, aten.masked_select.default, aten.masked_scatter.default, aten._local_scalar_dense.default)
        self.count += masked or func in named
        return func(*args, **(kwargs or {}))


def test_a_gpu_is_waited_for_twice_in_encoding_a_view():
    model = small(replace(NETWORK, padding=False, hands="present")).train()
    view = View.of(batch_of(12, 6), 0.5)
    with Waits() as waits:
        model.encoder_q(view)
    assert waits.count == 2


def test_one_hand_absent_collates_either_way_round():
    one, two = parts(8, right=False), parts(10, 1)
    first, second = collate([one, two], [3, 4]), collate([two, one], [4, 3])
    for a, b in zip(first.coordinates + first.confidence, second.coordinates + second.confidence, strict=True):
        assert torch.equal(a, b.flip(0))
    assert first.lengths.tolist() == [8, 10]
    assert first.label.tolist() == [3, 4]
    assert (first.right[0] == 0).all()
    model = small().eval()
    views = [View.of(batch, 0.5) for batch in (first, second)]
    torch.testing.assert_close(model.encoder_q(views[0]).feature, model.encoder_q(views[1]).feature.flip(0))


def test_padding_is_seen_as_published_or_not_at_all():
    clip, encoders = parts(10), [small(replace(NETWORK, padding=padding)).eval().encoder_q for padding in (True, False)]
    # the end of a clip sees a few frames of padding through the convolutions over time, so it is compared with a shorter padding
    for encoder, other in zip(encoders, (20, 60), strict=True):
        short, long = (encoder(View.of(collate([clip, parts(n, 1)]), 0.5)).feature[0] for n in (40, other))
        assert torch.allclose(short, long, atol=1e-5) == (not encoder.config.padding)


# as an encoder, and fine-tuned


def packed(clip: SignParts) -> np.ndarray:
    """`(T, 1, 49, 3)` as a batch has it."""
    return np.concatenate([clip.coordinates, clip.confidence[..., None]], 2)[:, None]


def test_as_an_encoder_it_gives_the_pooled_feature():
    model = small().eval()
    clips = [parts(9, 0), parts(9, 1)]
    x = torch.from_numpy(np.stack([packed(c) for c in clips]))
    assert x.shape == (2, 9, 1, 49, 3)
    found = model.tokens(x)
    assert found.shape == (2, 1, 1, 1, model.width)
    torch.testing.assert_close(found.flatten(1), model.encoder_q(View.of(collate(clips), 0.5)).feature)
    again = SignBatch.of_positions(x)
    for a, b in zip(again.coordinates + again.confidence, collate(clips).coordinates + collate(clips).confidence, strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="expected \\(B, T, 1, 49, 3\\)"):
        model.tokens(x[..., :2])


def test_layers_go_from_the_graphs_to_the_head():
    model = small()
    kept = [name for name, _ in model.named_parameters() if model.is_encoder_parameter(name)]
    assert all(name.startswith("encoder_q.") and ".fc." not in name for name in kept)
    assert {model.layer_of(name) for name in kept} == {0, 1, 2, 3}
    assert model.layer_of("encoder_q.embed.mask_token") == model.layer_of("encoder_q.GCN_Tran.norm.gamma") == 0
    assert model.layer_of("encoder_q.GCN_Tran.blocks.1.proj.bias") == 2
    assert model.layer_of("encoder_q.proj.weight_hand.bias") == model.layer_of("reg_decoder.GCN_Tran.norm.beta") == 3


def test_alone_it_is_the_same_without_decoder_head_and_keys():
    model = small().eval()
    x = torch.from_numpy(packed(parts(9))[None])
    alone = model.alone().eval()
    assert torch.equal(alone.tokens(x), model.tokens(x))
    theirs = {k for k in model.state_dict() if k.startswith("encoder_q.") and not k.startswith("encoder_q.proj.fc.")}
    assert set(alone.state_dict()) == theirs
    classifier = Classifier(alone, PlainHead(model.width, 4))
    batch = ClipBatch(x, torch.ones(1, 1, dtype=torch.bool), torch.tensor([2]), torch.tensor([0]))
    losses = classifier.loss(batch, Step(0))
    losses.total.backward()
    assert all(p.grad is not None for n, p in classifier.named_parameters() if "weight_" not in n and "mask_token" not in n)


def test_a_step_runs_in_half_the_precision():
    model, batch = small().train(), batch_of(9, 7)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.loss(batch, Step(0, epoch=100))
    losses.total.backward()
    assert losses.total.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)


@pytest.mark.slow
def test_a_step_of_the_published_size_runs():
    model = MASA(MASAConfig.code()).train()
    losses = model.loss(batch_of(20, 16), Step(0, epoch=100))
    losses.total.backward()
    torch.optim.AdamW(model.parameter_groups(), 1e-4).step()
    model.after_step([losses.carry])
    assert torch.isfinite(losses.total)


def test_a_random_draw_is_compared_by_its_count_and_support():
    sys.path.insert(0, str(PARITY))
    import verify

    drawn, candidate = np.array([[1.0], [0.0], [1.0], [0.0]], np.float32), np.array([True, True, True, False])
    assert verify.draw_error(drawn, drawn[[1, 0, 2, 3]], candidate) == 0
    assert verify.draw_error(drawn[[0, 3, 1, 2]], drawn, candidate) == 1
    assert verify.draw_error(drawn * 0, drawn, candidate) == 2


@pytest.mark.parametrize("residual", ["prenorm", "dynamic-2", "static-4", "manifold-2"])
def test_its_transformers_take_hyper_connections(residual):
    model = small(replace(NETWORK, residual=named_residual(residual))).train()
    losses = model.loss(batch_of(9, 7), Step(0, epoch=100))
    losses.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    assert model.alone().eval().tokens(torch.from_numpy(packed(parts(9))[None])).isfinite().all()
