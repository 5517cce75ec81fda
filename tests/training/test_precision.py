"""Which precision is computed in: what is asked for, what the machine gains, what a run was begun in."""

import json

import pytest
import torch
from toys import stage

from kinema.errors import FormatError, UserError
from kinema.training import precision
from kinema.training.fit import fit
from kinema.training.folder import differences
from kinema.training.precision import MARGIN, Verdict, bf16_pays, for_inference, resolve, verdict


@pytest.fixture
def pays(monkeypatch):
    """Says whether bf16 pays here."""

    def say(answer):
        monkeypatch.setattr(precision, "_judged", lambda kind: Verdict(answer, "for a test"))

    return say


@pytest.fixture
def anew():
    """Nothing is remembered from before, nor afterwards."""
    precision._judged.cache_clear()
    yield
    precision._judged.cache_clear()


def test_auto_is_what_pays_and_a_wish_is_a_wish(pays):
    for answer in (True, False):
        pays(answer)
        low = "bf16" if answer else "32"
        assert [resolve(asked, "cpu") for asked in ("auto", "32", "bf16")] == [low, "32", "bf16"]
        assert [for_inference(asked, "cpu") for asked in ("auto", "32", "bf16")] == [low, "32", low]


@pytest.mark.parametrize(("gain", "answer"), [(5.0, True), (MARGIN, True), (1.2, False), (0.1, False)])
def test_a_processor_has_to_gain_by_a_margin(monkeypatch, anew, gain, answer):
    monkeypatch.setattr(precision, "_cpu_knows_bf16", lambda: True)
    monkeypatch.setattr(precision, "rates", lambda device: {"32": 100.0, "bf16": 100.0 * gain})
    threads = torch.get_num_threads()
    assert bf16_pays("cpu") == answer
    assert f"{gain:.1f} times as fast" in verdict("cpu").why
    assert torch.get_num_threads() == threads


def test_a_processor_without_instructions_is_not_measured(monkeypatch, anew):
    monkeypatch.setattr(precision, "_cpu_knows_bf16", lambda: False)
    monkeypatch.setattr(precision, "rates", lambda device: pytest.fail("was measured"))
    assert verdict(torch.device("cpu")) == Verdict(False, "the processor has no bf16 instructions that torch uses")
    assert not bf16_pays("mps")


def test_it_is_measured_once(monkeypatch, anew):
    calls = []
    monkeypatch.setattr(precision, "_cpu_knows_bf16", lambda: True)
    monkeypatch.setattr(precision, "rates", lambda device: calls.append(device) or {"32": 1.0, "bf16": 2.0})
    assert bf16_pays("cpu")
    assert bf16_pays(torch.device("cpu"))
    assert len(calls) == 1


def test_torch_still_reports_what_is_asked_for():
    assert precision._cpu_knows_bf16() in (True, False)
    assert all(0 < rate < 1e16 for rate in precision.rates("cpu").values())


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_is_believed(monkeypatch, anew, native):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert bf16_pays("cuda") == native


def run(folder, asked, **options):
    def config(settled):
        return {"recipe": {"precision": settled, "supervision": {"precision": "auto"}}}

    chosen = stage(epochs=2)
    result = fit([chosen], folder, config=config, precision=asked, accelerator="cpu", quiet=True, **options)
    return result, json.loads((folder / "config.json").read_text()), chosen.method.state_dict()


@pytest.mark.parametrize("here", [True, False])
def test_a_run_is_resumed_in_its_own_precision_on_another_machine(tmp_path, pays, here):
    pays(here)
    low = "bf16" if here else "32"
    result, config, whole = run(tmp_path / "whole", "auto")
    assert (result.precision, config["fit"]["precision"], config["recipe"]["precision"]) == (low, low, low)
    assert config["recipe"]["supervision"]["precision"] == "auto"
    _, before, _ = run(tmp_path / "cut", "auto", max_steps=3)
    pays(not here)
    result, after, parts = run(tmp_path / "cut", "auto", resume=True)
    assert result.finished
    assert result.precision == low
    assert before == after
    assert all(torch.equal(value, parts[name]) for name, value in whole.items()), "bit for bit"
    with pytest.raises(UserError, match=f'recipe.precision .was "{low}", now'):
        run(tmp_path / "cut", "32" if here else "bf16", resume=True)
    (tmp_path / "cut" / "config.json").write_text(json.dumps({**before, "fit": {"precision": "64"}}))
    with pytest.raises(FormatError, match=r"fit\.precision '64'"):
        run(tmp_path / "cut", "auto", resume=True)


def test_what_a_new_configuration_leaves_open_agrees_with_an_older_one():
    older = {"recipe": {"supervision": {"precision": "bf16", "epochs": 3}}}
    newer = {"recipe": {"supervision": {"precision": "auto", "epochs": 3}}}
    assert differences(older, newer) == []
    assert differences(newer, older) == ['recipe.supervision.precision (was "auto", now "bf16")']
    assert differences({"name": "a"}, {"name": "auto"}) == ['name (was "a", now "auto")']


def test_bf16_that_does_not_pay_is_done_and_told(tmp_path, pays, capsys):
    for answer in (True, False):
        pays(answer)
        config = {"what": "a test"}
        fit([stage(epochs=1)], tmp_path / str(answer), config=config, precision="bf16", accelerator="cpu")
        assert ("bf16, as asked for; fp32 is likely faster here (for a test)" in capsys.readouterr().err) != answer


def test_an_unknown_precision_is_told(tmp_path):
    with pytest.raises(UserError, match="precision '16': expected one of auto, 32, bf16"):
        fit([stage(epochs=1)], tmp_path / "x", config={}, precision="16", accelerator="cpu", quiet=True)
