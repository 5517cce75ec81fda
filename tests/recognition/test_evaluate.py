"""Protocols over runs: what is measured how often, and a user's mistakes."""

import pytest

from kinema.data.store import Store
from kinema.errors import UserError
from kinema.recognition import run as run_module
from kinema.recognition.evaluate import evaluate
from kinema.recognition.run import open_run


def test_a_protocol_may_be_measured_once_while_others_are_for_every_run(made, tmp_path):
    runs, store = [open_run(made.run), open_run(made.other)], Store.open(made.store)
    found = evaluate(runs, store, "view", ("knn", "raw-knn", "random-knn"), tmp_path, once=("random-knn",))
    assert {row.protocol: len(row.scores) for row in found.rows} == {"knn": 2, "raw-knn": 1, "random-knn": 1}
    alone = evaluate(runs[:1], store, "view", ("random-knn",), tmp_path)
    assert found.rows[2].mean == alone.rows[0].mean
    assert found.rows[2].spread is None


def test_nothing_to_measure_is_told(made, tmp_path):
    store = Store.open(made.store)
    with pytest.raises(UserError, match="at least one protocol; protocols: linear, knn"):
        evaluate([open_run(made.run)], store, "view", (), tmp_path)
    with pytest.raises(UserError, match="at least one run"):
        evaluate([], store, "view", ("knn",), tmp_path)


@pytest.mark.parametrize("protocol", ["linear", "knn"])
def test_features_that_are_not_finite_are_told_with_their_run(made, tmp_path, monkeypatch, protocol):
    def diverged(folder, model):
        for weights in model.parameters():
            weights.data.fill_(float("nan"))

    monkeypatch.setattr(run_module, "load_model", diverged)
    with pytest.raises(UserError, match=r"run: with its trained weights .* not finite; did the training diverge"):
        evaluate([open_run(made.run)], Store.open(made.store), "view", (protocol,), tmp_path)
