"""The linear probe's classifier against scikit-learn's, fitted to convergence on the features as they are."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from kinema.data.splits import Split
from kinema.recognition.logistic import PrincipalAxes, decisions, predictions
from kinema.recognition.protocols import STRENGTHS, linear_probe


def problem(rows=40, features=120, classes=4, rank=None, seed=0):
    """Features of very different sizes in which the classes overlap; with `rank`, linear maps of so many hidden ones."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows * 2) % classes
    hidden = rng.normal(size=(rows * 2, rank or features)) + rng.normal(size=(classes, rank or features))[labels] / 3
    table = hidden @ rng.normal(size=(rank, features)) if rank else hidden
    table *= np.geomspace(1e-3, 1e3, features)
    return table[:rows], labels[:rows], table[rows:], labels[rows:]


def reference(rows, labels, queries, strength):
    """`(Q, K)` by L-BFGS without any rotation, to a gradient of 1e-9."""
    scaler = StandardScaler().fit(rows)
    model = LogisticRegression(C=strength, tol=1e-9, max_iter=20_000).fit(scaler.transform(rows), labels)
    return model.decision_function(scaler.transform(queries))


def ours(rows, labels, queries, strength):
    [(_, values)] = decisions(rows, labels, queries, [strength])
    return values[:, 1] if values.shape[1] == 2 else values


CASES = {
    "more features than clips": {},
    "twice as many clips as features": {"rows": 80, "features": 40},
    "rank far below both": {"rank": 6},
    "two classes": {"classes": 2},
}


@pytest.mark.parametrize("strength", [0.001, 0.1, 3.0])
@pytest.mark.parametrize("case", CASES)
def test_the_optimum_is_the_one_without_rotation(case, strength):
    rows, labels, queries, _ = problem(**CASES[case])
    expected, found = reference(rows, labels, queries, strength), ours(rows, labels, queries, strength)
    # both stop at a small gradient, not at the optimum itself: at the weakest regulariser that is good for four digits
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())
    if expected.ndim == 2:
        assert (found.argmax(1) == expected.argmax(1)).all()


def test_repeated_clips_and_features_that_say_nothing_change_no_axis():
    rows, *_ = problem(rows=12, features=30)
    padded = np.hstack([np.vstack([rows, rows]), np.full((24, 3), 0.1), np.zeros((24, 2))])
    space = PrincipalAxes.of(padded)
    assert space.axes.shape == (35, 11)  # twelve different clips about their mean
    np.testing.assert_allclose(space.axes.T @ space.axes, np.eye(11), atol=1e-9)
    standard = (padded - space.mean) / space.scale
    np.testing.assert_allclose(space.coordinates(padded) @ space.axes.T, standard, atol=1e-9)


def test_features_without_any_variation_give_the_most_frequent_class():
    [found] = predictions(np.ones((5, 3)), np.array([4, 4, 4, 7, 7]), np.ones((2, 3)), [1.0])
    assert found.tolist() == [4, 4]


def test_where_it_begins_does_not_matter():
    rows, labels, queries, _ = problem()
    [_, (_, warm)], [(_, cold)] = decisions(rows, labels, queries, [0.001, 1.0]), decisions(rows, labels, queries, [1.0])
    np.testing.assert_allclose(warm, cold, atol=1e-3)


def test_the_probe_chooses_on_validation_clips_and_never_looks_at_test_clips():
    rows, labels, queries, truth = problem(rows=60)
    table, labels = np.vstack([rows, queries]).astype(np.float32), np.concatenate([labels, truth])
    train, test = np.arange(60), np.arange(60, 120)
    split = Split("x", train, test, train[:45], train[45:])
    score = linear_probe(table, labels, split)
    right = {c: (reference(table[:45], labels[:45], table[45:60], c).argmax(1) == labels[45:60]).mean() for c in STRENGTHS}
    chosen = {k: v for k, v in score.details.items() if k in ("strength", "validation")}
    assert chosen == {"strength": max(right, key=right.get), "validation": 100 * max(right.values())}
    expected = reference(table[:60], labels[:60], table[60:], score.details["strength"]).argmax(1)
    assert (score.predictions == expected).all()
    table[60:], labels[60:] = -table[60:], 0
    assert {k: v for k, v in linear_probe(table, labels, split).details.items() if k in chosen} == chosen
