"""Late fusion of two methods: the weight, what chooses it, and what it is worth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.data.splits import Split
from kinema.recognition.fusion import WEIGHTS, choose_weight, fuse, fused_probe
from kinema.recognition.protocols import linear_decisions

RIGHT, WRONG, UNSURE = [4.0, 0.0], [0.0, 5.0], [1.0, 0.0]


@pytest.mark.parametrize(
    ("first", "second", "weight", "accuracy"),
    [
        ([RIGHT, RIGHT], [RIGHT, RIGHT], 0.5, 100),  # all alike: a half
        ([RIGHT, RIGHT], [WRONG, WRONG], 0.6, 100),  # the nearest to a half of those that are right
        ([WRONG, WRONG], [RIGHT, RIGHT], 0.4, 100),
        ([UNSURE, RIGHT], [WRONG, RIGHT], 0.9, 100),
        ([WRONG, WRONG], [WRONG, WRONG], 0.5, 0),
    ],
)
def test_the_weight_has_the_most_right_answers_and_lies_near_a_half(first, second, weight, accuracy):
    assert choose_weight(np.array(first), np.array(second), np.array([0, 0])) == (weight, accuracy)


@given(seed=st.integers(0, 200), weight=st.sampled_from(WEIGHTS))
def test_a_constant_added_to_all_classes_says_nothing_and_the_ends_are_one_method(seed, weight):
    rng = np.random.default_rng(seed)
    first, second, shift = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), rng.normal(size=(5, 1)) * 9
    np.testing.assert_allclose(fuse(first + shift, second, weight), fuse(first, second, weight), atol=1e-9)
    np.testing.assert_allclose(fuse(first, second, weight), fuse(second, first, 1 - weight), atol=1e-9)
    assert np.array_equal(fuse(first, second, 1.0).argmax(1), first.argmax(1))
    assert np.array_equal(fuse(first, second, 0.0).argmax(1), second.argmax(1))


def two_halves(seed=0):
    """Four classes; one table tells whether it is a class above 1, the other whether it is odd."""
    rng = np.random.default_rng(seed)
    labels = np.arange(120) % 4
    tables = [2 * side[:, None] + rng.normal(size=(120, 6)) for side in (labels // 2, labels % 2)]
    rows = np.arange(120)
    return tables, labels, Split("toy", rows[:80], rows[80:], rows[:60], rows[60:80])


def test_two_methods_that_know_different_things_know_more_together():
    (first, second), labels, split = two_halves()
    a, b = (linear_decisions(table, labels, split) for table in (first, second))
    score = fused_probe(a, b, labels, split)
    alone = score.details["alone"]
    assert score.accuracy > max(alone.values()) + 15
    assert 0.2 < score.details["weight_of_first"] < 0.8
    told = score.details["validation"]
    assert told["fused"] >= max(told["first"], told["second"])
    assert (told["first"], told["second"]) == (a.validation, b.validation)
    assert "chosen_on" not in score.details


def test_nothing_is_chosen_on_test_clips_unless_they_are_the_validation_part():
    (first, second), labels, split = two_halves()
    decisions = [linear_decisions(table, labels, split) for table in (first, second)]
    told = fused_probe(*decisions, labels, split).details
    shuffled = labels.copy()
    shuffled[split.test] = np.random.default_rng(1).permutation(labels[split.test])
    other = fused_probe(*decisions, shuffled, split).details
    assert [told[k] for k in ("weight_of_first", "validation")] == [other[k] for k in ("weight_of_first", "validation")]
    part = Split("toy", split.fit, split.validation, split.fit, split.validation)
    decisions = [linear_decisions(table, labels, part) for table in (first, second)]
    score = fused_probe(*decisions, labels, part)
    assert score.details["chosen_on"] == "the clips that are scored"
    assert score.accuracy == score.details["validation"]["fused"]


def test_a_class_that_fit_never_saw_is_simply_never_right():
    (first, second), labels, split = two_halves()
    fit = split.fit[labels[split.fit] != 3]
    odd = Split("toy", split.train, split.test, fit, split.validation)
    a, b = (linear_decisions(table, labels, odd) for table in (first, second))
    assert a.fit_classes.tolist() == [0, 1, 2]
    assert a.classes.tolist() == [0, 1, 2, 3]
    assert fused_probe(a, b, labels, odd).details["validation"]["fused"] <= 75
