"""How the papers train their classifiers: the published figures, the one linear map of CMD, and what stays as it was."""

import json

import numpy as np
import pytest
import torch

from kinema.data.pieces import Crop
from kinema.data.splits import Split
from kinema.motion.clip import Clip
from kinema.motion.skeletons import KINECT20, NTU25
from kinema.recognition.classifier import train_classifier
from kinema.recognition.cmd import CMD, CMDConfig
from kinema.recognition.heads import PlainHead
from kinema.recognition.presets import PRESETS, recipe
from kinema.recognition.protocols import Supervision, Task
from kinema.recognition.published import PUBLISHED_LINEAR, cmd_linear, cmd_supervision, lasting, mamp_linear
from kinema.recognition.run import Trained
from kinema.recognition.sequence import GRUConfig
from kinema.training.method import Optimiser, Schedule


@pytest.fixture(scope="module")
def task():
    """Two classes of moving people: twelve clips train, four test."""
    rng = np.random.default_rng(0)
    labels = np.arange(16) % 2
    motions = rng.normal(size=(16, 12, 1, 20, 3)).cumsum(1) * 0.05 + labels[:, None, None, None, None]
    clips = [Clip(m.astype(np.float32), KINECT20, label=int(c)) for m, c in zip(motions, labels, strict=True)]
    train, test = np.arange(12), np.arange(12, 16)
    return Task(clips, labels, ("low", "high"), Split("toy", train, test, train[:8], train[8:]), "toy")


def encoder():
    torch.manual_seed(0)
    sizes = {"joints": 20, "people": 1, "frames": 8, "dim": 5, "queue": 12, "neighbours": 4}
    return CMD(CMDConfig(tuple(KINECT20.bone_pairs()), network=GRUConfig(hidden=6, layers=2), **sizes))


def test_every_method_has_a_published_probe():
    assert set(PRESETS) - {"masa"} == set(PUBLISHED_LINEAR)  # MASA's paper fine-tunes and nothing else


def test_cmds_probe_is_the_published_one():
    how = cmd_linear(recipe("cmd", "paper-ntu", NTU25).supervision)
    assert how == Supervision(
        epochs=80,
        batch_size=64,
        optimiser=Optimiser("sgd", lr=0.1, weight_decay=0.0, momentum=0.9),
        schedule=Schedule("step", milestones=(50, 70), gamma=0.1),
        layer_decay=1.0,
        smoothing=0.0,
        drop_path=0.0,
        hidden=0,
        dropout=0.0,
        crop=Crop(low=0.5, minimum=64, evaluation=0.95),
        augment=(),
        precision="32",
    )
    rates = {e: how.optimiser.lr * how.schedule.factor(e, how.epochs) for e in (0, 49.99, 50, 69.99, 70, 79.99)}
    assert rates == pytest.approx({0: 0.1, 49.99: 0.1, 50: 0.01, 69.99: 0.01, 70: 0.001, 79.99: 0.001})


@pytest.mark.parametrize("preset", ["paper-ntu", "paper-pku"])
def test_cmds_presets_train_everything_at_a_tenth_of_that_rate(preset):
    how = recipe("cmd", preset, NTU25).supervision
    assert how == cmd_supervision(Supervision())
    assert how.optimiser.lr == 0.01


def test_mamps_probe_keeps_its_batch_norm_whatever_the_head_of_its_fine_tuning():
    assert mamp_linear(Supervision(hidden=0)).hidden > 0
    assert mamp_linear(Supervision(hidden=512)).hidden == 512


def test_in_fewer_epochs_the_milestones_move_along():
    how = lasting(cmd_linear(Supervision()), 8)
    assert (how.epochs, how.schedule.milestones) == (8, (5, 7))
    assert lasting(Supervision(), 10) == Supervision(epochs=10)


def test_the_plain_head_is_one_linear_map_of_the_mean_token():
    torch.manual_seed(0)
    head = PlainHead(2000, 50).train()
    assert {name: tuple(p.shape) for name, p in head.state_dict().items()} == {"fc.weight": (50, 2000), "fc.bias": (50,)}
    assert head.fc.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert not head.fc.bias.any()
    tokens = torch.randn(3, 2, 4, 5, 2000)
    torch.testing.assert_close(head(tokens), tokens.mean((1, 2, 3)) @ head.fc.weight.T)
    assert (PlainHead(2000, 50, dropout=0.5).train().dropout(torch.ones(2000)) == 0).any()


def test_cmds_probe_leaves_the_encoder_as_it_is_and_fine_tuning_only_the_other_streams(task, tmp_path):
    short = lasting(cmd_linear(Supervision(crop=Crop(minimum=4))), 16)
    whole = encoder()
    before = {name: value.clone() for name, value in whole.state_dict().items()}

    def changed():
        return {name.split(".")[0] for name, value in whole.state_dict().items() if not torch.equal(value, before[name])}

    run = Trained(tmp_path, recipe("cmd", "small", NTU25), NTU25, 0, {})
    train_classifier("linear-published", run, whole.stream("joint"), task, short, tmp_path / "probe", seed=0, frozen=True)
    assert changed() == set(), "weights and batch statistics alike"
    held = json.loads((tmp_path / "probe" / "config.json").read_text())
    assert held["head"]["kind"] == "plain"
    assert held["recipe"]["supervision"]["hidden"] == 0
    train_classifier("finetune", run, whole.stream("motion"), task, short, tmp_path / "tuned", seed=0)
    assert changed() == {"encoder_q_motion"}
