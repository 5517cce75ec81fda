"""CMD's own arithmetic; the published numbers are in tests/parity."""

import pytest
import torch
import torch.nn.functional as F

from kinema.data.batches import ViewBatch
from kinema.motion.skeletons import KINECT20
from kinema.recognition.cmd import CMD, MODALITIES, CMDConfig, channels
from kinema.training.method import Step


def small(**options):
    torch.manual_seed(0)
    sizes = {"joints": 20, "people": 1, "frames": 8, "hidden": 6, "layers": 2, "dim": 5, "queue": 12, "neighbours": 4}
    return CMD(CMDConfig(KINECT20.bone_pairs(), **{**sizes, **options}))


def views(rows=4, people=1):
    first, second = torch.randn(2, rows, 8, people, 20, 3).unbind(0)
    return ViewBatch(first, second, torch.arange(rows))


def test_a_frame_is_joints_then_coordinates_then_people():
    x = torch.arange(2 * 3 * 2 * 4 * 3, dtype=torch.float32).view(2, 3, 2, 4, 3)
    flat = channels(x)
    assert flat.shape == (2, 3, 24)
    assert all(flat[1, 2, v * 6 + c * 2 + m] == x[1, 2, m, v, c] for m in range(2) for v in range(4) for c in range(3))


def test_gradients_reach_the_queries_alone_and_the_loss_changes_no_queue():
    model = small().train()
    before = {k: v.clone() for k, v in model.state_dict().items() if "input_norm" not in k}
    losses = model.loss(views(), Step(0))
    losses.total.backward()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items() if k in before)
    with_gradient = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {"encoder_q", "encoder_q_motion", "encoder_q_bone"}
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert len(losses.parts) == 9


def test_a_step_enqueues_in_lock_step_whatever_the_batch_and_moves_the_keys():
    model = small(momentum=0.5).train()
    kept = []
    for step, rows in enumerate((5, 3, 7)):
        losses = model.loss(views(rows), Step(step))
        old = [p.clone() for p in model.key("bone").parameters()]
        model.after_step([losses.carry])
        for before, key, query in zip(old, model.key("bone").parameters(), model.query("bone").parameters(), strict=True):
            torch.testing.assert_close(key, (before + query) / 2)
        kept.append(losses.carry)
    for name in MODALITIES:
        newest = torch.cat([carry[name] for carry in kept])[-12:]
        queue, pointer = model.queue_of(name)
        assert pointer.item() == 15 % 12
        torch.testing.assert_close(queue.T.roll(-3, 0), newest)


def test_parts_of_a_batch_enqueue_what_the_whole_enqueues():
    model, again = small().eval(), small().eval()  # no batch statistics
    batch = views(6)
    whole = model.loss(batch, Step(0))
    parts = [
        again.loss(ViewBatch(batch.first[i : i + 2], batch.second[i : i + 2], batch.index[i : i + 2]), Step(0)) for i in (0, 2, 4)
    ]
    torch.testing.assert_close(torch.stack([p.total for p in parts]).mean(), whole.total)
    model.after_step([whole.carry])
    again.after_step([p.carry for p in parts])
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)


def test_as_an_encoder_it_gives_the_joint_streams_feature():
    model = small().eval()
    x = torch.randn(3, 8, 1, 20, 3)
    assert model.tokens(x).shape == (3, 1, 1, 1, model.width)
    torch.testing.assert_close(model.tokens(x).flatten(1), model.query("joint").feature(channels(x)))
    kept = [name for name in model.state_dict() if model.is_encoder_parameter(name)]
    assert all(name.startswith(("encoder_q.encoder.", "encoder_q.input_norm.")) for name in kept)
    assert {model.layer_of(name) for name in kept} == {0, 1, 2}


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_a_true_bidirectional_feature_has_seen_everything_twice(direction):
    encoder = small(direction=direction).query("joint").eval()
    x = torch.randn(1, 8, 60, requires_grad=True)
    for half in encoder.feature(x).chunk(2, -1):
        (grad,) = torch.autograd.grad(half.sum(), x, retain_graph=True)
        assert (grad.abs().sum((0, 2)) > 0).all()
    assert F.normalize(encoder(x).detach(), dim=1).norm() == pytest.approx(1)


def test_choices_that_contradict_are_told():
    for options, message in [
        ({"queue": 0}, "queue 0: expected 1 or more"),
        ({"teacher": 0.0}, "teacher 0.0: expected a temperature above 0"),
        ({"momentum": 1.5}, "momentum 1.5: expected 0 to 1"),
        ({"joints": 19}, "20 bones for 19 joints"),
    ]:
        with pytest.raises(ValueError, match=message):
            small(**options)
