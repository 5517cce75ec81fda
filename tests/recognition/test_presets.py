"""The presets of MASA against what its code does and what its paper says, value by value, and the presets for poses of signers."""

import pytest
import torch

from kinema.data.pieces import Crop, Window
from kinema.data.sign_augment import JitterParts, SwapHands
from kinema.motion.skeletons import NTU25, SIGN49, WHOLEBODY133
from kinema.nn.graph import GraphConfig
from kinema.recognition.masa import MASAConfig
from kinema.recognition.masa_motion import MotionConfig
from kinema.recognition.masa_network import SignNetworkConfig
from kinema.recognition.masa_prepare import SignPreparation
from kinema.recognition.presets import PRESETS, recipe
from kinema.recognition.protocols import Supervision
from kinema.recognition.recipes import build_method
from kinema.training.method import Optimiser, Schedule

MOTION = {"stride": 3, "hide": 0.9, "hide_key": 0.5, "share": 0.5}
BOTH = {"decoder_depth": 2, "head_hidden": 256, "dim": 128, "temperature": 0.07, "align": 0.05, "align_epochs": 100, "frames": 300}
GRAPH = GraphConfig(width=512, channels=(128, 128, 256), input_eps=0.1, dropout=0.05, feature_dropout=0.25)
NETWORK = {"graph": GRAPH, "depth": 3, "heads": 8, "mlp": 2048, "dropout": 0.1, "coordinates": "unit", "mask_at": "after_time"}
PUBLISHED = {
    "code": {
        "model": MASAConfig(
            network=SignNetworkConfig(**NETWORK, hidden="queries", padding=True, pool="attention"),
            motion=MotionConfig(
                **MOTION, threshold=3.0, direction="positive", candidate="count", confident=0.5, hide_key_by="part"
            ),
            relu=True,
            regression="l1",
            queue=6912,
            momentum=0.999,
            **BOTH,
        ),
        "optimiser": Optimiser("adamw", lr=1e-4, weight_decay=0.03, betas=(0.9, 0.999), clip=None),
        # halved at four epochs
        "rates": {0: 0, 10: 0.5, 20: 1, 119.9: 1, 120: 0.5, 219.9: 0.5, 220: 0.25, 320: 0.125, 370: 0.0625, 399.9: 0.0625},
    },
    "paper": {
        "model": MASAConfig(
            network=SignNetworkConfig(**NETWORK, hidden="skip", padding=False, pool="average"),
            motion=MotionConfig(**MOTION, threshold=5.0, direction="both", candidate="share", confident=0.4, hide_key_by="frame"),
            relu=False,
            regression="l2",
            queue=6144,
            momentum=0.996,
            **BOTH,
        ),
        "optimiser": Optimiser("adamw", lr=1e-4, weight_decay=1e-4, betas=(0.9, 0.95), clip=None),
        # a line to nothing
        "rates": {0: 0, 10: 0.5, 20: 1, 115: 0.75, 210: 0.5, 305: 0.25, 400: 0},
    },
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_masas_presets_are_those_published(preset):
    found, published = recipe("masa", preset, WHOLEBODY133), PUBLISHED[preset]
    assert found.model == published["model"]
    assert found.optimiser == published["optimiser"]
    assert {e: found.schedule.factor(e, found.epochs) for e in published["rates"]} == pytest.approx(published["rates"])
    assert (found.epochs, found.batch_size, found.precision, found.ema, found.augment) == (400, 64, "32", None, ())
    assert found.crop == Window(300, "first")
    assert found.preparation.confident == found.model.motion.confident, "the paper has 0.4 everywhere"
    assert found.preparation.drop_last
    assert (found.preparation.longest, found.preparation.visible, found.preparation.least) == (150, 0.1, 10)
    assert (found.preparation.margin, found.preparation.arm, found.preparation.bottom) == (2.2, 0.8, 50)


@pytest.mark.parametrize("preset", [*PUBLISHED, "small"])
@pytest.mark.parametrize(
    ("dataset", "changes"),
    [
        ("wlasl2000", {"drop_last": True}),
        ("msasl100", {"drop_last": False}),
        ("nmfs-csl", {"drop_last": False, "arm": 0.5}),
        ("slr500", {"drop_last": True, "arm": 0.5, "bottom": None}),
        ("fingerspelling", {"drop_last": True}),
        (None, {"drop_last": True}),
    ],
)
def test_each_data_set_is_prepared_as_published(preset, dataset, changes):
    found = recipe("masa", preset, WHOLEBODY133, dataset).preparation
    sure = {"code": 0.5, "paper": 0.4, "small": 0.5}[preset]
    assert found == (SignPreparation() if preset == "small" else SignPreparation(confident=sure, **changes))


@pytest.mark.parametrize("preset", PUBLISHED)
def test_masas_fine_tuning_is_the_papers(preset):
    how = recipe("masa", preset, SIGN49).supervision
    assert how == Supervision(
        epochs=60,
        batch_size=64,
        optimiser=Optimiser("sgd", lr=0.01, weight_decay=0.0, momentum=0.9),
        schedule=Schedule("step", milestones=(20, 40), gamma=0.1),
        layer_decay=1.0,
        smoothing=0.0,
        drop_path=0.0,
        hidden=0,
        dropout=0.1,
        crop=Window(32, "run"),  # in training any 32 in a row, in evaluation the middle ones
        augment=(),
        precision="32",
    )
    rates = {e: how.optimiser.lr * how.schedule.factor(e, how.epochs) for e in (0, 19.9, 20, 39.9, 40, 59.9)}
    assert rates == pytest.approx({0: 0.01, 19.9: 0.01, 20: 0.001, 39.9: 0.001, 40: 0.0001, 59.9: 0.0001})


@pytest.mark.parametrize("preset", PUBLISHED)
def test_the_size_is_the_published_one(preset):
    with torch.device("meta"):
        model = build_method(recipe("masa", preset, SIGN49))
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert count["encoder_q"] == count["encoder_k"]
    assert 62e6 < count["encoder_q"] < 68.5e6, "68.5 million with the layers that none of the published code uses"
    assert count["reg_decoder"] == pytest.approx(31.5e6, rel=0.01)


@pytest.mark.parametrize(("method", "preset"), [(m, p) for m in PRESETS for p in PRESETS[m] if m == "masa" or p == "signs"])
def test_a_recipe_of_signs_is_the_same_for_every_skeleton(method, preset):
    found = recipe(method, preset, SIGN49)
    assert found == recipe(method, preset, NTU25) == recipe(method, preset, WHOLEBODY133)
    assert found.signs
    assert isinstance(found.preparation, SignPreparation)
    assert (found.size.joints, found.size.coordinates, found.preparation.people) == (49, 2, 1)
    # nothing is published but to leave clips as they are; `small` is ours
    assert [type(each) for each in found.supervision.augment] == ([JitterParts, SwapHands] if preset == "small" else [])
    kind = Window if method == "masa" else Crop
    assert (type(found.crop), type(found.supervision.crop)) == (kind, kind)


def test_what_is_corrupted_of_a_signer_is_the_published_share():
    for method in ("cmd", "i2md"):
        [spatial] = recipe(method, "signs", SIGN49).augment
        assert spatial.joints == 29  # 15 of 25
