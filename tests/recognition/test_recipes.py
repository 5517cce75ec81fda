"""Recipes: written and read back, changed from the command line, and every preset as a method that keeps the contract."""

import copy
import json
import re
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.augment import Shear
from kinema.data.batches import ClipBatch, ViewBatch
from kinema.data.pieces import Window
from kinema.data.sign_augment import JitterParts, SwapHands
from kinema.errors import UserError
from kinema.motion.skeletons import COCO17, KINECT20, NTU25, SBU15, SIGN49, SMPL22
from kinema.recognition.encoder import Encoder
from kinema.recognition.masa import MASA
from kinema.recognition.masa_batch import SignBatch
from kinema.recognition.masa_motion import motions
from kinema.recognition.masa_prepare import SignPreparation
from kinema.recognition.presets import PRESETS, recipe
from kinema.recognition.recipes import build_method, from_json, parts, to_json
from kinema.training.method import Step
from kinema.verbs.train import changed

ALL = [(method, preset) for method, presets in PRESETS.items() for preset in presets]
TINY_CMD = [
    "model.network.hidden=6",
    "model.network.layers=2",
    "model.frames=16",
    "model.dim=5",
    "model.queue=9",
    "model.neighbours=4",
]
SHRUNK = {
    "mamp": [
        "model.encoder.width=16",
        "model.encoder.depth=2",
        "model.encoder.heads=2",
        "model.encoder.frames=16",
        "model.decoder_depth=1",
        "model.decoder_width=16",
    ],
    "cmd": TINY_CMD,
    "i2md": [*TINY_CMD, "model.aggregated=3"],
    # no dropout: what it draws is the loop's to repeat, see test_finetune.py
    "masa": [
        'model.network.graph={"width":8,"channels":[4,4,6],"dropout":0,"feature_dropout":0}',
        "model.network.depth=2",
        "model.network.heads=2",
        "model.network.mlp=16",
        "model.network.dropout=0",
        "model.decoder_depth=1",
        "model.head_hidden=8",
        "model.dim=5",
        "model.queue=9",
    ],
}


def shrunk(method, preset, *more):
    """A preset, as small as a test wants it, by the options that a person would use."""
    return changed(recipe(method, preset, NTU25), {}, [*SHRUNK[method], *more])


def batch_for(chosen, rows=4, frames=16):
    """Clips as the source of a recipe gives them."""
    if chosen.method == "masa":
        return signers(rows, frames)
    return batch(rows, chosen.preparation.people, frames, chosen.size.joints, chosen.size.coordinates)


def signers(rows=4, frames=16):
    """Clips `(B, T, 1, 49, 3)` with confidences, every second one padded; one hand is not there, and some joints are not sure."""
    g = torch.Generator().manual_seed(3)
    walk = (0.5 + 0.03 * torch.randn(rows, frames, 1, 49, 2, generator=g).cumsum(1)).clamp(0.01, 1)
    x = torch.cat([walk, torch.rand(rows, frames, 1, 49, 1, generator=g) * 0.9 + 0.1], -1)
    x[1::2, frames - 5 :] = 0
    x[0, :, :, :21] = 0
    return ClipBatch(x, torch.ones(rows, 1, dtype=torch.bool), torch.zeros(rows, dtype=torch.int64), torch.arange(rows))


def batch(rows=4, people=2, frames=16, joints=25, coordinates=3):
    g = torch.Generator().manual_seed(3)
    positions = torch.randn(rows, 1, people, joints, coordinates, generator=g) + 0.1 * torch.randn(
        rows, frames, people, joints, coordinates, generator=g
    ).cumsum(1)
    present = torch.ones(rows, people, dtype=torch.bool)
    if people > 1:
        positions[0, :, 1], present[0, 1] = 0, False
    return ClipBatch(positions, present, torch.zeros(rows, dtype=torch.int64), torch.arange(rows))


def part(whole, shard, shards):
    rows = slice(shard * len(whole) // shards, (shard + 1) * len(whole) // shards)
    return type(whole)(*(getattr(whole, field.name)[rows] for field in fields(whole)))


def pair(whole):
    """Two views of the clips, the second sheared a little."""
    return ViewBatch(whole.positions, Shear(0.2)(whole.positions, Step(1)), whole.index)


@pytest.mark.parametrize(("method", "preset"), ALL)
@pytest.mark.parametrize("skeleton", [NTU25, KINECT20, SBU15, SMPL22, COCO17], ids=lambda s: s.name)
def test_recipes_survive_json(method, preset, skeleton):
    signs = preset == "signs" or method == "masa"  # they see hands and arms, whatever else a skeleton has
    if preset.startswith("paper") and len(skeleton) != 25 and not signs:
        with pytest.raises(UserError, match=rf"preset {preset}: made for the 25 joints .* has {len(skeleton)} \({skeleton.name}\)"):
            recipe(method, preset, skeleton)
        return
    chosen = recipe(method, preset, skeleton)
    assert (chosen.method, chosen.preset) == (method, preset)
    assert chosen.size.joints == (49 if signs else len(skeleton))
    assert chosen.signs == signs
    text = json.dumps(to_json(chosen), allow_nan=False)
    assert from_json(json.loads(text), "config.json") == chosen


def leaves(value, path=()):
    if isinstance(value, dict) and value:
        return [leaf for key, v in value.items() for leaf in leaves(v, (*path, key))]
    return [(path, value)]


LEAVES = leaves(to_json(recipe("mamp", "small", NTU25)))


@given(st.sampled_from(LEAVES), st.sampled_from([None, True, "x", -1, 0.5, 2**70, [], {}, [1, "a"], [[[]]], {"kind": "Rotate"}]))
@settings(max_examples=100, deadline=None)
def test_any_value_anywhere_is_taken_or_refused_in_words(leaf, new):
    value = to_json(recipe("mamp", "small", NTU25))
    place = value
    for key in leaf[0][:-1]:
        place = place[key]
    place[leaf[0][-1]] = copy.deepcopy(new)
    try:
        found = from_json(value, "config.json")
    except UserError as error:
        assert str(error).startswith("config.json: ")  # noqa: PT017 - both ends are fine
    else:
        assert from_json(to_json(found), "again") == found


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, {"preset": "small"}])
def test_what_is_no_recipe_is_refused(value):
    with pytest.raises(
        UserError, match=r"^config\.json: recipe( .*: expected a group of values, a JSON object|\.(preset|method): missing; .*)$"
    ):
        from_json(value, "config.json")


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="unknown method 'mapm': did you mean mamp"):
        recipe("mapm", "small", NTU25)
    with pytest.raises(UserError, match=r"unknown preset of mamp 'paper-ntu61': did you mean paper-ntu60"):
        recipe("mamp", "paper-ntu61", NTU25)
    value = to_json(recipe("mamp", "small", NTU25))
    value["model"]["taau"] = 1
    with pytest.raises(UserError, match=r"^config\.json: recipe\.model: unknown value 'taau': did you mean tau\? known: encoder, "):
        from_json(value, "config.json")


@pytest.mark.parametrize(
    ("changes", "settings", "most"),
    [
        ({}, [], 360),
        ({"epochs": 50}, [], None),
        ({}, ["epochs=50"], None),
        ({"epochs": 50}, ["most_steps=9"], 9),
        ({}, ["most_steps=null"], None),
    ],
)
def test_who_asks_for_a_length_gets_it(changes, settings, most):
    assert changed(recipe("masa", "small", SIGN49), changes, settings).most_steps == most
    with pytest.raises(UserError, match="--set most_steps=0: expected 1 to 1000000000"):
        changed(recipe("masa", "small", SIGN49), {}, ["most_steps=0"])


def test_set_changes_what_it_names():
    base = recipe("mamp", "small", NTU25)
    found = changed(base, {"epochs": 3}, ["model.tau=0.5", "model.decoder=self", "model.predict_share=1", "augment=[]", "ema=0.99"])
    expected = replace(base, epochs=3, augment=(), ema=0.99, model=replace(base.model, tau=0.5, decoder="self", predict_share=1.0))
    assert found == expected
    assert changed(base, {}, []) == base
    assert changed(base, {}, ["model.encoder.modality=bone"]).model.encoder.modality == "bone"
    assert changed(found, {}, ["ema=null"]).ema is None
    assert changed(base, {}, ["supervision.precision=32"]).supervision.precision == "32"


BAD_SETTINGS = {
    "model.taau=1": "unknown value of the recipe .*'taau': did you mean tau",
    "modle.tau=1": "unknown part of the recipe .*'modle': did you mean model",
    "augment.0.angle=1": "unknown part of the recipe .*'augment'",
    "tau": "--set tau: expected path=value",
    "": "expected path=value",
    "=1": "unknown value of the recipe",
    "model=3": "--set model=3: that is a group of values; set one of encoder, ",
    "model.tau=fast": "--set model.tau=fast: expected a number",
    "model.tau=NaN": "--set model.tau=NaN: expected a number",
    "model.tau=[1]": "expected a number$",
    "batch_size=2.5": "expected a whole number$",
    "batch_size=0": "expected 1 to 100000$",
    "epochs=0": "expected a number above 0, at most 1000000$",
    "epochs=-3": "expected a number above 0, at most 1000000$",
    "optimiser.lr=-1": "expected a number above 0, at most 1000$",
    "supervision.batch_size=0": "expected 1 to 100000$",
    "model.pack=5": "expected true or false$",
    "model.decoder=diagonal": "expected self or cross$",
    "model.mask_ratio=1.5": "expected a share between 0 and 1$",
    "model.stride=0": "expected 1 to 31 frames$",
    "model.encoder.heads=0": "expected 1 or more$",
    "model.encoder.depth=1000000": "expected 1 to 512$",
    "ema=2": "expected 0 to below 1$",
    "ema=often": "expected a number, or null$",
    "crop.minimum=0": "expected 0 <= low <= high <= 1, minimum >= 1",
    "optimiser.betas=[0.9]": "expected a list of 2$",
    "optimiser.betas=[0.9,1.5]": r"optimiser\.betas\.1 1\.5: expected 0 to below 1$",
    "precision=64": "expected one of auto, 32, bf16$",
    "model.encoder.frames=33": "33 frames x 25 joints cannot be cut",
    "optimiser.kind=lion": "optimiser 'lion': expected adamw or sgd",
    'augment=[{"kind":"Teleport"}]': "Teleport",
    "preparation.people=0": "expected 1 or more$",
    "model.tau=1e999": "--set model.tau=1e999: expected a number",
    "model.encoder.drop_path=0.1": "pre-training drops no paths.*supervision.drop_path",
    "augment={}": r"--set augment={}: expected a list in JSON, like the preset's \[{\"angle\": 0.3, .*}\]$",
    "supervision.schedule.milestones=3": r"expected a list in JSON, perhaps \[\]",
}
BAD_CONTRAST = {
    "model.directions={}": r"expected a list in JSON, like the preset's \[\[\"joint\", \"motion\"\], .*, \.\.\.\]",
    "model.directions=none": "expected a list in JSON",
    'model.directions=[["joint","hand"]]': r"model\.directions\.0\.1 hand: expected one of joint, motion, bone$",
    'model.directions=[["joint"]]': r'model\.directions\.0 \["joint"\]: expected a list of 2$',
    "model.frozen=bone": "expected a list in JSON",
    'model.frozen=["bone"]': "leave out of directions",
    "model.weight=-1": "expected 0 or more$",
    "model.teacher=1e999": "--set model.teacher=1e999: expected a number",
    'model.network={"heads":4,"joints":25,"frames":32,"drop_path":0.5}': "model.network.drop_path 0.5: pre-training drops no paths",
    'model.network={"width":64}': "model.network: unknown value 'width': known: hidden, layers, direction$",
    "model.network=gru": "that is a group of values; set one of hidden, layers, direction",
}


@pytest.mark.parametrize("setting", BAD_SETTINGS)
def test_set_teaches(setting):
    with pytest.raises(UserError, match=BAD_SETTINGS[setting]) as caught:
        changed(recipe("mamp", "small", NTU25), {}, [setting])
    names_the_setting(caught.value, setting)


def names_the_setting(error, setting):
    """What a person set, and in what words, comes first; the words of the library underneath never come."""
    assert str(error).startswith(f"--set {setting[:60]}")
    assert not re.search(r"@ \$|While structuring|literal \[|not a recipe", str(error))


@pytest.mark.parametrize(
    ("changes", "settings", "said"),
    [
        ({"epochs": 0}, [], "--epochs 0: expected a number above 0"),
        ({"optimiser.lr": -1.0}, [], "--lr -1.0: expected a number above 0"),
        ({"batch_size": 10**9}, [], "--batch-size 1000000000: expected 1 to 100000"),
        ({}, ["model.tau=1", "model.tau=x", "batch_size=4"], "--set model.tau=x: expected a number"),
        (
            {},
            ["batch_size=4", "model.encoder.frames=33", "model.encoder.frame_patch=4"],
            "--set model.encoder.frames=33 --set model.encoder.frame_patch=4: model.encoder: 33 frames x 25 joints cannot be cut",
        ),
    ],
)
def test_the_words_that_set_a_value_are_named(changes, settings, said):
    with pytest.raises(UserError) as caught:
        changed(recipe("mamp", "small", NTU25), changes, settings)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("method", ["cmd", "i2md"])
@pytest.mark.parametrize("setting", BAD_CONTRAST)
def test_set_teaches_of_contrast(method, setting):
    with pytest.raises(UserError, match=BAD_CONTRAST[setting]) as caught:
        changed(recipe(method, "small", NTU25), {}, [setting])
    names_the_setting(caught.value, setting)


@pytest.mark.parametrize("setting", ["model.encoder.heads=3", "model.decoder_width=30"])
def test_sizes_that_contradict_one_another(setting):
    with pytest.raises(UserError, match=r"recipe small: width \d+ is not divisible by \d heads"):
        build_method(changed(recipe("mamp", "small", NTU25), {}, [setting]))


# the contract of a method, for everything that is registered


def gradients(model, losses):
    model.zero_grad(set_to_none=True)
    losses.total.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("method", "preset"), ALL)
class TestContract:
    def make(self, method, preset):
        torch.manual_seed(0)
        chosen = shrunk(method, preset)
        model, data = build_method(chosen).train(), batch_for(chosen)
        return model, pair(data) if model.pairs else data

    @pytest.mark.parametrize("bf16", [False, True])
    def test_loss_and_every_gradient_are_finite(self, method, preset, bf16):
        model, data = self.make(method, preset)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = model(data, Step(0))
        assert losses.total.ndim == 0
        assert losses.total.isfinite()
        assert all(v.ndim == 0 and not v.requires_grad for v in losses.parts.values())
        found = gradients(model, losses)
        assert found.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
        assert all(g.isfinite().all() for g in found.values())
        assert any(g.any() for g in found.values())

    def test_a_step_gives_the_same_loss_again(self, method, preset):
        model, data = self.make(method, preset)
        # running statistics are the loop's to put back when a step is skipped
        statistics = (".running_mean", ".running_var", ".num_batches_tracked")
        before = {k: v.clone() for k, v in model.state_dict().items() if not k.endswith(statistics)}
        first = model.loss(data, Step(5)).total
        torch.rand(3)  # whatever happens meanwhile
        assert torch.equal(model.loss(data, Step(5)).total, first)
        if not model.pairs:  # two views are drawn by the source
            assert not torch.equal(model.loss(data, Step(6)).total, first)
            assert not torch.equal(model.loss(data, Step(5, seed=1)).total, first)
        after = model.state_dict()
        assert all(torch.equal(v, after[k]) for k, v in before.items()), "a loss changes nothing that persists"

    def test_a_step_gives_the_same_gradients_to_the_bit(self, method, preset):
        model, _ = self.make(method, preset)
        many = batch_for(shrunk(method, preset), rows=24 if method == "masa" else 64)
        data = pair(many) if model.pairs else many
        first = gradients(model, model.loss(data, Step(0)))
        for _ in range(3):
            again = gradients(model, model.loss(data, Step(0)))
            assert all(torch.equal(first[name], again[name]) for name in first)

    def test_shards_average_to_the_whole(self, method, preset):
        model, data = self.make(method, preset)
        if isinstance(model, MASA):
            pytest.skip("its predictions are averaged over hidden frames, not rows: test_masas_shards_add_up")
        if model.pairs:  # batch statistics of a part are not those of the whole
            model.eval()
        whole = model.loss(data, Step(2))
        expected = gradients(model, whole)
        parts = [model.loss(part(data, s, 2), Step(2, shard=s, shards=2)) for s in range(2)]
        mean = (parts[0].total + parts[1].total) / 2
        torch.testing.assert_close(mean, whole.total, rtol=1e-5, atol=1e-6)
        halves = [gradients(model, p) for p in parts]
        for name, gradient in expected.items():
            torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, gradient, rtol=1e-3, atol=1e-5)

    def test_parameter_groups_hold_everything_once(self, method, preset):
        model, _ = self.make(method, preset)
        listed = [p for group in model.parameter_groups() for p in group["params"]]
        assert len(listed) == len({id(p) for p in listed}) == sum(p.requires_grad for p in model.parameters())

    def test_encoder_contract(self, method, preset):
        model, data = self.make(method, preset)
        assert isinstance(model, Encoder)
        positions = data.first if model.pairs else data.positions
        tokens = model.eval().tokens(positions)
        assert tokens.shape[:2] == (len(positions), 1 if model.pairs else positions.shape[2])
        assert tokens.shape[-1] == model.width
        assert tokens.isfinite().all()
        kept = [n for n, _ in model.named_parameters() if model.is_encoder_parameter(n)]
        assert {*range(model.depth + 1)} <= {model.layer_of(n) for n in kept} <= {*range(model.depth + 2)}
        assert 0 < len(kept) < len(list(model.named_parameters()))


@pytest.mark.parametrize("preset", PRESETS["masa"])
def test_masas_shards_add_up(preset):
    """Predictions are averaged over the hidden frames of a call, so shards count by theirs; the alignment is a mean over rows."""
    torch.manual_seed(0)
    model, data = build_method(shrunk("masa", preset)).eval(), signers(6)

    def found(clips, step):
        signs = SignBatch.of_positions(clips.positions)
        draws = step.uniform("mask.query", (len(signs), 3, model.config.frames))
        hidden = model.query_view(signs, motions(signs, model.config.motion), draws).hidden
        extra = 1 if model.config.regression == "l1" else 0  # the code counts joints, and one more
        joints = (21, 21, 7) if extra else (1, 1, 1)
        counts = {name: float(h.sum()) * j + extra for name, h, j in zip(hidden._fields, hidden, joints, strict=True)}
        return model.loss(clips, step), counts, extra

    whole, counts, extra = found(data, Step(2, epoch=5))
    shards = [found(part(data, s, 2), Step(2, epoch=5, shard=s, shards=2)) for s in range(2)]
    contrast = sum(loss.parts["contrast"] for loss, _, _ in shards) / 2
    torch.testing.assert_close(contrast, whole.parts["contrast"], rtol=1e-5, atol=1e-6)
    assert len({shard[1]["right"] for shard in shards}) == 2, "or else a plain mean would do as well"
    for name, count in counts.items():
        together = sum(loss.parts[name] * each[name] for loss, each, _ in shards)
        assert sum(each[name] for _, each, _ in shards) == count + extra
        assert count > extra, "something has to be hidden"
        torch.testing.assert_close(together, whole.parts[name] * count, rtol=1e-5, atol=1e-5)


BAD_SIGNS = {
    'crop={"low":0.5,"high":1.0,"minimum":8,"evaluation":0.95}': "crop: method masa takes a window of frames as they are",
    'supervision.crop={"low":0.5,"high":1.0,"minimum":8,"evaluation":0.95}': "supervision.crop: method masa takes a window",
    'preparation={"people":1,"centre":"first"}': "preparation: MASA sees hands cut out of images",
    'augment=[{"kind":"Rotate","angle":0.3}]': r"augment: Rotate; expected SwapHands or JitterParts, for poses with confidences, or \[\]",
    'supervision.augment=[{"kind":"Noise"}]': "supervision.augment: Noise; expected SwapHands",
    "crop.frames=0": "expected 1 or more$",
    "crop.take=last": "expected one of first, run, spread$",
    "supervision.drop_path=0.1": "this network has no paths to drop",
    "preparation.margin=0": "margin > 0",
    "model.motion.stride=0": "expected 1 frame or more",
    "model.network.heads=5": "is not divisible by 5 heads",
}


@pytest.mark.parametrize("setting", BAD_SIGNS)
def test_set_teaches_of_signs(setting):
    with pytest.raises(UserError, match=BAD_SIGNS[setting]) as caught:
        changed(recipe("masa", "small", NTU25), {}, [setting])
    names_the_setting(caught.value, setting)


def test_other_methods_take_no_augmentation_of_signs():
    with pytest.raises(UserError, match=r"augment: SwapHands; expected Rotate, Shear, ..., for poses without confidences, or \[\]"):
        changed(recipe("mamp", "signs", NTU25), {}, ['augment=[{"kind":"SwapHands"}]'])


def test_augmentations_of_signs_are_kept_in_json():
    found = changed(
        recipe("masa", "small", NTU25), {}, ['supervision.augment=[{"kind":"SwapHands"},{"kind":"JitterParts","angle":0.3}]']
    )
    assert found.supervision.augment == (SwapHands(), JitterParts(angle=0.3))
    assert from_json(json.loads(json.dumps(to_json(found))), "config.json") == found


def test_other_methods_take_no_window():
    window = 'crop={"frames":30,"take":"run"}'
    with pytest.raises(UserError, match="crop: method mamp takes a crop that is resized"):
        changed(recipe("mamp", "signs", NTU25), {}, [window])


def test_json_tells_crops_from_windows_and_preparations_apart():
    found = changed(recipe("masa", "small", NTU25), {}, ["crop.take=spread", "crop.frames=20", "preparation.confident=0.4"])
    assert found.crop == Window(20, "spread")
    assert found.preparation == SignPreparation(confident=0.4)
    again = from_json(json.loads(json.dumps(to_json(found))), "config.json")
    assert again == found
    assert (type(again.crop), type(again.preparation)) == (Window, SignPreparation)


def test_a_cpu_cuts_large_batches_and_only_those() -> None:
    paper = recipe("mamp", "paper-ntu60", NTU25)
    assert parts(paper, "cuda") == 1
    assert parts(paper, "cpu") == 16  # 128 clips x 2 people x 750 tokens: 8 clips at once
    assert parts(replace(paper, batch_size=2), "cpu") == 1
    assert parts(replace(paper, batch_size=37), "cpu") == 37  # a prime can only be cut into single clips
    assert parts(paper, "cpu", processes=4) == 4
    assert parts(replace(paper, accumulate=3), "cpu") == 3
    assert parts(recipe("mamp", "small", NTU25), "cpu") == 1
