"""Nearest neighbours in pieces against the whole matrix of similarities, and how much memory a piece takes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kinema.recognition.neighbours import BUDGET, nearest, needed, piece, search


def naive(queries, gallery):
    """`(Q, G)` cosines in double precision; a row of zeros is at right angles to everything."""

    def unit(x):
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)

    return unit(queries.astype(np.float64)) @ unit(gallery.astype(np.float64)).T


class Largest(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that any operation gave."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [t.numel() * t.element_size() for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        self.bytes = max([self.bytes, *sizes])
        return out


@settings(deadline=None, max_examples=60)
@given(
    queries=st.integers(1, 40),
    gallery=st.integers(1, 40),
    width=st.integers(1, 9),
    k=st.integers(1, 12),
    budget=st.sampled_from([1, 500, 3000, 20_000, BUDGET]),
    seed=st.integers(0, 99),
    coarse=st.booleans(),
)
def test_pieces_find_what_the_whole_matrix_shows(queries, gallery, width, k, budget, seed, coarse):
    rng = np.random.default_rng(seed)
    asked, stored = rng.normal(size=(queries, width)), rng.normal(size=(gallery, width))
    if coarse:  # many ties, and rows of zeros
        asked, stored = asked.round(), stored.round()
    rows, similarities = search(asked, stored, k, budget=budget)
    k = min(k, gallery)
    expected = naive(asked, stored)
    assert rows.shape == similarities.shape == (queries, k)
    assert rows.dtype == np.int64
    assert all(len(set(row)) == k for row in rows.tolist()), "a neighbour is given once"
    np.testing.assert_allclose(similarities, np.sort(expected, 1)[:, ::-1][:, :k], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(expected, rows, 1), similarities, atol=1e-6)
    assert np.array_equal(nearest(asked, stored, k, budget=budget), rows)


@given(width=st.integers(1, 8192), k=st.integers(1, 500), budget=st.integers(1, 2**32))
def test_a_piece_keeps_to_the_budget_and_uses_it(width, k, budget):
    size = piece(width, k, budget)
    assert size == 1 or needed(size, width, k) <= budget
    assert size == 1 << 16 or needed(2 * size, width, k) > budget


@pytest.mark.parametrize("k", [1, 20])
def test_no_tensor_is_ever_larger_than_the_budget(k):
    rng = np.random.default_rng(0)
    asked, stored = (rng.normal(size=(n, 64)).astype(np.float32) for n in (1000, 1500))
    budget = 2**18  # the whole matrix would take 6 MB, the inputs together 0.6 MB
    with Largest() as seen:
        rows = nearest(asked, stored, k, budget=budget)
    assert 0 < seen.bytes <= budget
    assert np.array_equal(rows[:, 0], naive(asked, stored).argmax(1))


def test_published_sizes_are_compared_in_thousands():
    assert needed(piece(2048, 1), 2048, 1) <= BUDGET
    assert piece(2048, 1) >= 2048
