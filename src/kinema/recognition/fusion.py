"""Late fusion of the linear probes of two methods: w log p_A + (1 - w) log p_B, with one w chosen on validation clips."""

from __future__ import annotations

import time

import numpy as np
from scipy.special import log_softmax

from ..data.splits import Split
from .names import FUSED
from .protocols import Decisions, Score, evidence

WEIGHTS = tuple(i / 10 for i in range(11))
"""Weights of the first method that are tried; at the ends one method speaks alone."""


def fuse(first: np.ndarray, second: np.ndarray, weight: float) -> np.ndarray:
    """Decision values `(Q, K)` of two methods -> `(Q, K)`: log-softmax of each, weighed, so that their scales do not matter alone."""
    return weight * log_softmax(first, axis=1) + (1 - weight) * log_softmax(second, axis=1)


def choose_weight(first: np.ndarray, second: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """The weight with the most right answers, and their share in percent; of equals the one nearest to a half.

    Args:
        first, second: decision values `(V, K)`. truth: `(V,)` columns.
    """
    shares = {w: 100.0 * float((fuse(first, second, w).argmax(1) == truth).mean()) for w in WEIGHTS}
    best = max(shares, key=lambda w: (shares[w], -abs(w - 0.5)))
    return best, shares[best]


def fused_probe(first: Decisions, second: Decisions, labels: np.ndarray, split: Split) -> Score:
    """Fuses the probes of two methods, trained on the same clips; the weight is chosen by probes trained on `fit`."""
    start = time.perf_counter()
    # a class that no probe has seen is never right: column -1
    columns = {int(label): column for column, label in enumerate(first.fit_classes)}
    held = np.array([columns.get(int(label), -1) for label in labels[split.validation]])
    weight, validation = choose_weight(first.held, second.held, held)
    predictions = first.classes[fuse(first.scored, second.scored, weight).argmax(1)]
    truth = labels[split.test]
    alone = [100.0 * float((d.classes[d.scored.argmax(1)] == truth).mean()) for d in (first, second)]
    details = {
        "weight_of_first": weight,
        "validation": {"first": first.validation, "second": second.validation, "fused": validation},
        "alone": {"first": alone[0], "second": alone[1]},
        "strengths": {"first": first.strengths, "second": second.strengths},
        **evidence(split),
    }
    accuracy = 100.0 * float((predictions == truth).mean())
    return Score(FUSED, accuracy, predictions, truth, time.perf_counter() - start, details)
