"""MASA on clips that lack hands or frames, as an encoder, and what it is built of."""

from dataclasses import replace

import pytest
import torch
from sign_toys import NETWORK, batch_of, collate, hidden_from_query, parts, positions, small
from torch.utils._python_dispatch import TorchDispatchMode

from kinema.data.batches import ClipBatch
from kinema.nn.residual import named_residual
from kinema.recognition.heads import Classifier, PlainHead
from kinema.recognition.masa import MASA, MASAConfig
from kinema.recognition.masa_batch import SignBatch
from kinema.recognition.masa_motion import MotionConfig, motions
from kinema.recognition.masa_network import View
from kinema.training.method import Step

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
    first, second = collate([one, two]), collate([two, one])
    for a, b in zip(first.coordinates + first.confidence, second.coordinates + second.confidence, strict=True):
        assert torch.equal(a, b.flip(0))
    assert first.lengths.tolist() == [8, 10]
    assert (first.right[0] == 0).all()
    model = small().eval()
    views = [View.of(batch, 0.5) for batch in (first, second)]
    torch.testing.assert_close(model.encoder_q(views[0]).feature, model.encoder_q(views[1]).feature.flip(0))


@pytest.mark.parametrize("hands", ["apart", "present"])
@pytest.mark.parametrize("pool", ["attention", "average"])
@pytest.mark.parametrize("mask_at", ["after_time", "before_time"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_padding_is_seen_as_published_or_not_at_all(hands, pool, mask_at, share):
    for padding in (True, False) if hands == "apart" else (False,):
        network = replace(NETWORK, padding=padding, hands=hands, pool=pool, mask_at=mask_at)
        model = small(network, motion=MotionConfig(hide_key=share)).eval()
        alone, padded = (collate([parts(10), *more]) for more in ([], [parts(40, 1)]))
        draws = Step(0).uniform("mask.key", (2, 3, 300))
        short, long = (model.encoder_k(model.key_view(batch, draws[: len(batch)])).feature[0] for batch in (alone, padded))
        assert torch.allclose(short, long, atol=1e-5) == (not padding)


def test_padding_that_is_not_seen_counts_in_no_statistics():
    model = small(replace(NETWORK, padding=False)).train()
    batch = collate([parts(10), parts(40, 1)])
    before = model.encoder_q.embed.st_gcn_body.data_bn.running_mean.clone()
    batch.body[0, 10:] = 1e3
    model.encoder_q(View.of(batch, 0.5))
    after = model.encoder_q.embed.st_gcn_body.data_bn.running_mean
    assert not torch.equal(before, after)
    assert after.abs().max() < 1


@pytest.mark.parametrize(("by", "whole"), [("part", 0.125), ("frame", 0.5)])
def test_of_the_key_parts_or_whole_frames_are_hidden(by, whole):
    model, batch = small(motion=MotionConfig(hide_key_by=by)), batch_of(*[200] * 20)
    view = model.key_view(batch, Step(0).uniform("mask.key", (20, 3, 300)))
    assert all(hidden.float().mean() == 0.5 for hidden in view.hidden)
    assert view.whole.float().mean().item() == pytest.approx(whole, abs=0.03 if by == "part" else 0)


# as an encoder, and fine-tuned


def test_as_an_encoder_it_gives_the_pooled_feature():
    model = small().eval()
    clips = [parts(9, 0), parts(9, 1)]
    x = positions(clips)
    assert x.shape == (2, 9, 1, 49, 3)
    found = model.tokens(x)
    assert found.shape == (2, 1, 1, 1, model.width)
    torch.testing.assert_close(found.flatten(1), model.encoder_q(View.of(collate(clips), 0.5)).feature)
    again = SignBatch.of_positions(x)
    for name in ("right", "left", "body", "right_confidence", "left_confidence", "body_confidence"):
        expected = torch.stack([torch.from_numpy(getattr(clip, name)) for clip in clips])
        assert torch.equal(getattr(again, name), expected), name
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
    x = positions([parts(9)])
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


@pytest.mark.parametrize("residual", ["prenorm", "dynamic-2", "static-4", "manifold-2"])
def test_its_transformers_take_hyper_connections(residual):
    model = small(replace(NETWORK, residual=named_residual(residual))).train()
    losses = model.loss(batch_of(9, 7), Step(0, epoch=100))
    losses.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    assert model.alone().eval().tokens(positions([parts(9)])).isfinite().all()
