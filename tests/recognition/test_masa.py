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
from sign_toys import NETWORK, batch_of, collate, hidden_from_query, parts, small

from kinema.recognition.masa import MASA, UNUSED, MASAConfig, from_authors
from kinema.recognition.masa_motion import Motion, MotionConfig, hide, motion_of, prediction_loss
from kinema.recognition.masa_network import View
from kinema.training.method import Step

PARITY = Path(__file__).resolve().parents[1] / "parity"
GOLDEN = Path(os.environ.get("KINEMA_GOLDEN", PARITY.parents[1].parent / "shared" / "golden")) / "sign"
needs_golden = pytest.mark.skipif(not GOLDEN.exists(), reason="needs the reference vectors")


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


def test_a_random_draw_is_compared_by_its_count_and_support():
    sys.path.insert(0, str(PARITY))
    import verify

    drawn, candidate = np.array([[1.0], [0.0], [1.0], [0.0]], np.float32), np.array([True, True, True, False])
    assert verify.draw_error(drawn, drawn[[1, 0, 2, 3]], candidate) == 0
    assert verify.draw_error(drawn[[0, 3, 1, 2]], drawn, candidate) == 1
    assert verify.draw_error(drawn * 0, drawn, candidate) == 2
