"""MAMP with hyper-connections: from `--set` to a trained run that every command opens."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.data.batches import ClipBatch
from kinema.errors import UserError
from kinema.motion.skeletons import NTU25
from kinema.nn.decay import decayed
from kinema.nn.hyper_connections import HyperConnection, HyperConnections
from kinema.nn.hyper_diagnostics import layer_input_cosine, records, unfolded_matrix
from kinema.recognition.heads import Classifier, LinearHead
from kinema.recognition.presets import recipe
from kinema.recognition.recipes import build_method, from_json, to_json
from kinema.recognition.run import open_run
from kinema.training.checkpoint import read_weights
from kinema.training.method import Step
from kinema.verbs.train import changed

NAMES = {
    "dynamic-4": HyperConnections(4),
    "dynamic-1": HyperConnections(1),
    "static": HyperConnections(4, "static"),
    "manifold-2": HyperConnections(2, "manifold"),
    "fraction-4": HyperConnections(4, "fraction"),
    "static-fraction-2": HyperConnections(2, "static-fraction"),
    '{"n": 2, "norm": "rmsnorm", "reduce": "mean"}': HyperConnections(2, norm="rmsnorm", reduce="mean"),
}
TINY = [
    *("model.encoder.width=16", "model.encoder.depth=2", "model.encoder.heads=2", "model.encoder.frames=8"),
    *("model.decoder_width=8", "model.decoder_depth=1"),
]
JOIN = re.compile(r"\.join[12]\.").search
DECODERS = {"self": ["model.decoder=self", "model.predict_share=1"], "cross": []}


def tiny(name, *more):
    return changed(recipe("mamp", "small", NTU25), {}, [*TINY, *more, f"model.encoder.residual={name}"])


def batch(rows=2):
    g = torch.Generator().manual_seed(3)
    positions = torch.randn(rows, 8, 1, 25, 3, generator=g).cumsum(1)
    return ClipBatch(positions, torch.ones(rows, 1, dtype=torch.bool), torch.zeros(rows, dtype=torch.int64), torch.arange(rows))


def connections(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, HyperConnection)}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("decoder", DECODERS)
def test_every_kind_learns(name, decoder):
    chosen = tiny(name, *DECODERS[decoder])
    assert chosen.model.encoder.residual == NAMES[name]
    assert from_json(json.loads(json.dumps(to_json(chosen), allow_nan=False)), "config.json") == chosen
    torch.manual_seed(0)
    model, data = build_method(chosen), batch()
    found = connections(model)
    assert [m.index for m in found.values()] == [0, 1, 2, 3, 0, 1]
    assert {n.split(".")[0] for n in found} == {"blocks", "decoder_blocks"}
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(3):
        optimiser.zero_grad()
        losses.append(model(data, Step(0)).total)
        losses[-1].backward()
        optimiser.step()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    for part in ("blocks.1.join2", "decoder_blocks.0.join2"):
        assert any(p.grad.abs().sum() > 0 for p in found[part].parameters())
    assert losses[2] < losses[0]


@pytest.mark.parametrize("decoder", DECODERS)
def test_it_starts_with_the_loss_of_the_residual_network(decoder):
    torch.manual_seed(0)
    plain = build_method(tiny("prenorm", *DECODERS[decoder]))
    expected = plain(batch(), Step(1)).total
    for name in ("dynamic-4", "static", "manifold-2", "fraction-4"):
        chosen = tiny(name, *DECODERS[decoder])
        how = chosen.model.encoder.residual
        chosen = replace(
            chosen, model=replace(chosen.model, encoder=replace(chosen.model.encoder, residual=replace(how, reduce="mean")))
        )
        model = build_method(chosen)
        model.load_state_dict(plain.state_dict(), strict=False)
        torch.testing.assert_close(model(batch(), Step(1)).total, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "dynamix-4",
            "residual=dynamix-4: expected prenorm, postnorm, or hyper-connections; kind 'dynamix': expected one of static",
        ),
        ("dynamic-0", "n 0: expected a whole number of streams"),
        ("manifold-1", "n 1: a manifold-constrained connection"),
        ('{"streams": 2}', "unknown value 'streams': known: n, kind, "),
        ('{"n": 2.5}', r"residual\.n 2\.5: expected a whole number"),
        ('{"kind": "dynamik"}', "dynamik"),
        ("3", "residual=3: expected prenorm"),
    ],
)
def test_wrong_names_are_told(name, said):
    with pytest.raises(UserError, match=said):
        tiny(name)


def test_fractions_must_divide_the_widths():
    for name in ("fraction-3", "static-fraction-5"):
        with pytest.raises(UserError, match=r"recipe small: width 16 is not divisible by \d fractions"):
            build_method(tiny(name))


@pytest.mark.parametrize("name", ["dynamic-2", "static", "manifold-2", "fraction-4"])
def test_layer_decay_holds_every_parameter_once(name):
    encoder = build_method(tiny(name))
    model = Classifier(encoder, LinearHead(16, 3), layer_decay=0.5)
    takes = decayed(model)
    names = {id(p): n for n, p in model.named_parameters()}
    groups = model.parameter_groups()
    listed = [names[id(p)] for g in groups for p in g["params"]]
    assert len(listed) == len(set(listed))
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert set(listed) == set(trained)
    joins = [n for n in trained if JOIN(n)]
    assert len(joins) == 2 * 2 * len(list(next(iter(connections(encoder).values())).parameters()))
    for group in groups:
        for parameter in group["params"]:
            found = names[id(parameter)]
            if JOIN(found):
                assert group["lr_scale"] == 0.5 ** (2 - int(found.split(".")[2]))
                assert ("weight_decay" not in group) == takes[found]


def test_what_the_encoder_and_the_decoder_read():
    torch.manual_seed(0)
    for name in ("dynamic-4", "prenorm"):
        model = build_method(tiny(name))
        encoder, decoder = records(model, batch(), Step(0))
        assert layer_input_cosine(encoder).median.shape == (3,)
        assert layer_input_cosine(decoder).median.shape == (1,)
        (alone,) = records(model, batch().positions, call=model.tokens)
        assert alone.names == encoder.names
    assert len(unfolded_matrix(records(build_method(tiny("manifold-2")), batch(), Step(0))[1])) == 3


def test_a_run_is_trained_and_opened(good, bad, made, tmp_path):
    options = ("--set", "model.encoder.residual=dynamic-2")
    good(*made.train, "--out", tmp_path / "run", *options, "--precision", "bf16", "--lr", 0.01)
    trained = open_run(tmp_path / "run")
    assert trained.recipe.model.encoder.residual == HyperConnections(2)
    weights, encoder = read_weights(tmp_path / "run"), trained.encoder()
    learnt = [n for n in weights if JOIN(n)]
    assert len(learnt) == len([n for n in encoder.state_dict() if JOIN(n)]) == 2 * 2 * 7
    assert all(torch.equal(weights[n], encoder.state_dict()[n]) for n in learnt)
    fresh = trained.encoder(weights=False).state_dict()
    assert any(not torch.equal(weights[n], fresh[n]) for n in learnt if n.endswith("projection"))
    assert "of 24 clips" in good("embed", tmp_path / "run", made.store, "--out", tmp_path / "f.npz", "--accelerator", "cpu")
    with np.load(tmp_path / "f.npz", allow_pickle=False) as found:
        assert np.isfinite(found["features"]).all()
        assert found["features"].std(0).max() > 0
    said = bad(*made.train, "--out", tmp_path / "run", "--set", "model.encoder.residual=dynamic-4", "--resume")
    assert "another configuration" in said
