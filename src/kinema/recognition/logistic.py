"""Logistic regression to convergence where features outnumber clips: the classifier of the linear probe.

With an L2 penalty the optimal weights lie in the row space of the training features: a part of them orthogonal to every training clip
would change no logit there and cost penalty. So the features are turned once to the principal axes of the training clips. Nothing
is lost, at most as many columns as clips remain, and Newton's method ends in about ten steps as a rule, where the usual L-BFGS on the
features themselves stops early or takes minutes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TOLERANCE = 1e-6
"""Largest entry of the gradient at which a fit ends. On features of NW-UCLA this leaves decision values within 0.3 % of their range at the
weakest regulariser, and within 1e-5 at the strongest."""
MOST_STEPS = 5000
"""Newton steps. Some ten are needed as a rule, but up to 200 were seen (26 classes, 250 clips, features of random weights whose scales
differ by thousands, a weak regulariser). Reaching this is an error, never a result."""


@dataclass(frozen=True)
class PrincipalAxes:
    """Where training features vary.

    Attributes:
        mean, scale: `(D,)` of each feature; the scale is its standard deviation, or 1 where it is constant.
        axes: `(D, R)` orthonormal columns, R at most the number of training rows and of features.
    """

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> PrincipalAxes:
        """Of training features `(N, D)`; axes along which they do not vary, numerically, are left out."""
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(rows)
        mean, scale = np.asarray(scaler.mean_), np.asarray(scaler.scale_)
        standard = (rows - mean) / scale  # float64: the products below square the range of scales
        wide = standard.shape[1] > standard.shape[0]
        values, vectors = np.linalg.eigh(standard @ standard.T if wide else standard.T @ standard)
        kept = values > values[-1] * max(standard.shape) * np.finfo(np.float64).eps
        axes = standard.T @ (vectors[:, kept] / np.sqrt(values[kept])) if wide else vectors[:, kept]
        return cls(mean, scale, axes)

    def coordinates(self, rows: np.ndarray) -> np.ndarray:
        """`(N, D)` -> `(N, R)` float64 of any rows, standardised by the training rows."""
        return ((rows - self.mean) / self.scale) @ self.axes


def predictions(rows: np.ndarray, labels: np.ndarray, queries: np.ndarray, strengths: Sequence[float]) -> list[np.ndarray]:
    """Labels `(Q,)` that queries `(Q, D)` get from training features `(N, D)` with labels `(N,)`, for each of the strengths.

    The optimum is that of scikit-learn's `LogisticRegression(C=strength)` on standardised features. Each strength is begun at the weights of
    the one before, so a rising order is the quickest.
    """
    return [classes[values.argmax(1)] for classes, values in decisions(rows, labels, queries, strengths)]


def decisions(
    rows: np.ndarray, labels: np.ndarray, queries: np.ndarray, strengths: Sequence[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Class labels `(K,)` and decision values `(Q, K)` for each strength."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    space = PrincipalAxes.of(rows)
    training, asked = space.coordinates(rows), space.coordinates(queries)
    if not training.shape[1]:  # nothing varies: one column that says nothing, for scikit-learn takes no table without columns
        training, asked = np.zeros((len(rows), 1)), np.zeros((len(queries), 1))
    model = LogisticRegression(solver="newton-cg", tol=TOLERANCE, max_iter=MOST_STEPS, warm_start=True)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        for strength in strengths:
            model.C = strength
            values = model.fit(training, labels).decision_function(asked)
            if values.ndim == 1:  # two classes: one column, positive for the second
                values = np.stack([-values, values], 1)
            found.append((np.asarray(model.classes_), values))
    return found
