"""CMD's own arithmetic; the published numbers are in tests/parity."""

from itertools import product

import pytest
import torch
from safetensors.torch import save_file

from kinema.data.batches import ViewBatch
from kinema.errors import UserError
from kinema.motion.skeletons import KINECT20
from kinema.nn.residual import named_residual
from kinema.recognition.cmd import CMD, CMDConfig
from kinema.recognition.encoder import TransformerConfig
from kinema.recognition.i2md import I2MD, LEVELS, I2MDConfig
from kinema.recognition.sequence import MODALITIES, GRUConfig, channels
from kinema.training.checkpoint import load_model
from kinema.training.fit import fit
from kinema.training.method import Optimiser, Schedule, Step
from kinema.training.stage import Stage

METHODS = {"cmd": (CMD, CMDConfig, {}), "i2md": (I2MD, I2MDConfig, {"aggregated": 3, "between": "both"})}
"""CMD, and what is made of it."""


def small(network=GRUConfig(6, 2), method="cmd", **options):
    torch.manual_seed(0)
    model, config, own = METHODS[method]
    sizes = {"joints": 20, "people": 1, "frames": 8, "network": network, "dim": 5, "queue": 12, "neighbours": 4}
    return model(config(tuple(KINECT20.bone_pairs()), **{**sizes, **own, **options}))


def views(rows=4, people=1):
    first, second = torch.randn(2, rows, 8, people, 20, 3).unbind(0)
    return ViewBatch(first, second, torch.arange(rows))


def test_a_frame_is_joints_then_coordinates_then_people():
    x = torch.arange(2 * 3 * 2 * 4 * 3, dtype=torch.float32).view(2, 3, 2, 4, 3)
    flat = channels(x)
    assert flat.shape == (2, 3, 24)
    assert all(flat[1, 2, v * 6 + c * 2 + m] == x[1, 2, m, v, c] for m in range(2) for v in range(4) for c in range(3))


@pytest.mark.parametrize("network", [GRUConfig(6, 2), TransformerConfig(width=8, depth=1, heads=2, frames=8, joints=20)], ids=str)
@pytest.mark.parametrize("mlp", [True, False])
def test_vectors_to_compare_are_those_of_a_naive_head(network, mlp):
    model, batch = small(network, mlp=mlp).eval(), views(3)
    carried = model.loss(batch, Step(0)).carry
    state = model.state_dict()
    for name, suffix in (("joint", ""), ("motion", "_motion"), ("bone", "_bone")):
        fc = f"encoder_k{suffix}.fc."
        x = model.key(name).feature(model.see(batch.second, name))
        if mlp:
            x = (x @ state[f"{fc}0.weight"].T + state[f"{fc}0.bias"]).clamp(min=0)
        last = fc if not mlp else f"{fc}2."
        x = x @ state[f"{last}weight"].T + state[f"{last}bias"]
        torch.testing.assert_close(carried[name], x / x.pow(2).sum(1, keepdim=True).sqrt())
        assert {n.removeprefix(fc) for n in state if n.startswith(fc)} == (
            {"0.weight", "0.bias", "2.weight", "2.bias"} if mlp else {"weight", "bias"}
        )
    assert not any(model.is_encoder_parameter(n) for n in state if ".fc." in n)


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


@pytest.mark.parametrize("method", METHODS)
def test_losses_are_exact_under_autocast_too(method):
    model = small(method=method).eval()
    branches = MODALITIES if method == "cmd" else tuple(product(MODALITIES, LEVELS))
    unit = torch.nn.functional.normalize(torch.randn(2, len(branches), 4, 5), dim=-1)
    queries, keys = (dict(zip(branches, side, strict=True)) for side in unit)
    total, parts = model.losses(queries, keys)
    with torch.autocast("cpu", torch.bfloat16):
        again, same = model.losses(queries, keys)
    assert torch.equal(again, total)
    assert all(torch.equal(same[name], value) for name, value in parts.items())


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


@pytest.mark.parametrize("method", METHODS)
def test_parts_of_a_batch_enqueue_what_the_whole_enqueues(method):
    model, again = small(method=method).eval(), small(method=method).eval()  # no batch statistics
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
    torch.testing.assert_close(model.tokens(x).flatten(1), model.query("joint").feature(x))
    kept = [name for name in model.state_dict() if model.is_encoder_parameter(name)]
    assert all(name.startswith(("encoder_q.encoder.", "encoder_q.input_norm.")) for name in kept)
    assert {model.layer_of(name) for name in kept} == {0, 1, 2}


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_a_true_bidirectional_feature_has_seen_everything_twice(direction):
    encoder = small(GRUConfig(6, 2, direction)).query("joint").eval()
    x = torch.randn(1, 8, 1, 20, 3, requires_grad=True)
    for half in encoder.feature(x).chunk(2, -1):
        (grad,) = torch.autograd.grad(half.sum(), x, retain_graph=True)
        assert (grad.abs().sum((0, 2, 3, 4)) > 0).all()


def test_choices_that_contradict_are_told():
    for options, message in [
        ({"queue": 0}, "queue 0: expected 1 or more"),
        ({"teacher": 0.0}, "teacher 0.0: expected a temperature above 0"),
        ({"momentum": 1.5}, "momentum 1.5: expected 0 to 1"),
        ({"weight": -1.0}, "weight -1.0: expected 0 or more"),
        ({"weight": float("nan")}, "weight nan: expected 0 or more"),
        ({"joints": 19}, "20 bones for 19 joints"),
        ({"directions": (("joint", "joint"),)}, "expected different"),
        ({"frozen": ("joint",)}, "what is frozen cannot be a student.*leave out of directions every"),
        ({"frozen": ("joint", "motion", "bone"), "directions": ()}, "something has to learn"),
        ({"network": TransformerConfig(joints=20, frames=16)}, "expected those of the model"),
    ]:
        with pytest.raises(ValueError, match=message):
            small(**options)


def test_each_stream_is_an_encoder_with_the_same_weights():
    model = small().eval()
    x = torch.randn(3, 8, 1, 20, 3)
    assert torch.equal(model.stream("joint").tokens(x), model.tokens(x))
    motion = model.stream("motion")
    assert torch.equal(motion.tokens(x).flatten(1), model.query("motion").feature(model.see(x, "motion")))
    shared = {id(p) for p in model.query("motion").parameters()}
    assert {id(p) for p in motion.parameters()} == shared
    assert {motion.layer_of(n) for n, _ in motion.named_parameters() if motion.is_encoder_parameter(n)} == {0, 1, 2}
    with pytest.raises(UserError, match="unknown stream 'depth'"):
        model.stream("depth")


def test_one_way_teaching_has_the_terms_asked_for():
    batch = views()
    whole, one = small().train(), small(directions=(("motion", "joint"), ("bone", "joint"))).train()
    every, some = whole.loss(batch, Step(0)), one.loss(batch, Step(0))
    assert set(some.parts) == {"contrast_joint", "contrast_motion", "contrast_bone", "motion_to_joint", "bone_to_joint"}
    for name, value in some.parts.items():
        torch.testing.assert_close(value, every.parts[name])
    torch.testing.assert_close(some.total.detach(), sum(some.parts.values()))


def test_what_is_frozen_teaches_and_never_changes():
    model = small(directions=(("motion", "joint"), ("bone", "joint")), frozen=("motion", "bone")).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimiser = torch.optim.SGD(model.parameter_groups(), 0.1)
    losses = model.loss(views(), Step(0))
    losses.total.backward()
    optimiser.step()
    model.after_step([losses.carry])
    assert set(losses.parts) == {"contrast_joint", "motion_to_joint", "bone_to_joint"}
    changed = {k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {
        "encoder_q",
        "encoder_k",
        *(f"queue{s}" for s in ("", "_motion", "_bone")),
        *(f"queue_ptr{s}" for s in ("", "_motion", "_bone")),
    }


@pytest.mark.parametrize("residual", ["prenorm", "dynamic-2"])
def test_a_transformer_may_stand_in_for_the_gru(residual):
    network = TransformerConfig(width=8, depth=2, heads=2, frames=8, joints=20, residual=named_residual(residual))
    model = small(network, people=2).train()
    batch = views(4, people=2)
    batch.first[:, :, 1], batch.second[:2, :, 1] = 0, 0
    losses = model.loss(batch, Step(0))
    losses.total.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    model.after_step([losses.carry])
    assert model.eval().tokens(batch.first).shape == (4, 2, 2, 20, 8)
    alone = model.query("joint").feature(batch.first[:, :, :1])
    torch.testing.assert_close(model.query("joint").feature(batch.first), alone)  # nobody does not count
    assert model.stream("bone").depth == 2


def test_a_skipped_step_leaves_queues_and_momentum(tmp_path):
    torch.manual_seed(0)

    class Views:
        batch_size, steps_per_epoch = 4, 3

        def __init__(self, poisoned):
            self.poisoned = poisoned

        def batch(self, step):
            draw = torch.Generator().manual_seed(step.index)
            first, second = torch.randn(2, 4, 8, 1, 20, 3, generator=draw).unbind(0)
            return ViewBatch(first * (float("nan") if step.index in self.poisoned else 1), second, torch.arange(4))

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    def trained(folder, poisoned):
        model = small()
        stage = Stage("pretrain", model, Views(poisoned), 2, Optimiser("sgd", lr=0.1, weight_decay=0.0), Schedule("constant"))
        result = fit([stage], tmp_path / folder, seed=0, config={}, accelerator="cpu", quiet=True, max_steps=4)
        return model, result

    whole, _ = trained("whole", ())
    model, result = trained("skipped", (3,))
    assert result.skipped == 1
    three = small()
    stage = Stage("pretrain", three, Views(()), 2, Optimiser("sgd", lr=0.1, weight_decay=0.0), Schedule("constant"))
    fit([stage], tmp_path / "three", seed=0, config={}, accelerator="cpu", quiet=True, max_steps=3)
    for name, value in model.state_dict().items():
        assert torch.equal(value, three.state_dict()[name]), name
    assert int(whole.queue_ptr) != int(model.queue_ptr)


def test_frozen_teachers_alone_are_taken_over_from_another_run(tmp_path):
    whole = small()
    torch.manual_seed(1)
    options = {"directions": (("motion", "joint"), ("bone", "joint")), "frozen": ("motion", "bone")}
    student = CMD(CMDConfig(**{**vars(whole.config), **options}))
    save_file(whole.state_dict(), tmp_path / "model.safetensors")
    for prefix in student.taken_over():
        load_model(tmp_path / "model.safetensors", student, prefix=prefix)
    other, mine = whole.state_dict(), student.state_dict()
    weights = [k for k in mine if k.endswith("weight") or k.endswith("weight_hh_l0")]
    same = {k.split(".")[0] for k in weights if torch.equal(mine[k], other[k])} - {
        k.split(".")[0] for k in weights if not torch.equal(mine[k], other[k])
    }
    assert same == {"encoder_q_motion", "encoder_k_motion", "encoder_q_bone", "encoder_k_bone"}
    assert small().taken_over() == ()
