"""Codebooks by k-means: how good, how repeatable, and that zeros stay zeros."""

import itertools

import numpy as np
import pytest
from sklearn.cluster import KMeans

import qcore as qc
from qcore import _core


def squared_error(w, q):
    return float(((w.astype(np.float64) - q.dequantize(dtype=np.float64)) ** 2).sum())


@pytest.mark.parametrize("levels", [2, 4, 16, 64])
def test_as_good_as_scikit_learns_best_of_ten(levels):
    w = np.random.default_rng(0).standard_normal((50, 40)).astype(np.float32)
    q = qc.quantize(w, scheme="kmeans", levels=levels)
    theirs = KMeans(levels, n_init=10, random_state=0).fit(w.reshape(-1, 1)).inertia_
    assert squared_error(w, q) <= theirs * 1.02


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_close_to_the_best_there_is(levels):
    rng = np.random.default_rng(1)
    for _ in range(20):
        w = np.sort(rng.standard_normal(9)).astype(np.float32)
        best = np.inf
        for cuts in itertools.combinations(range(1, 9), levels - 1):
            cells = np.split(w.astype(np.float64), cuts)
            best = min(best, sum(((c - c.mean()) ** 2).sum() for c in cells))
        found = squared_error(w, qc.quantize(w, scheme="kmeans", levels=levels))
        assert best * (1 - 1e-6) <= found <= best * 1.6 + 1e-12


def test_each_value_has_its_nearest_level():
    w = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    q = qc.quantize(w, scheme="kmeans", levels=7)
    distance = np.abs(w[:, None].astype(np.float64) - q.levels.astype(np.float64))
    np.testing.assert_array_equal(distance[np.arange(1000), q.values], distance.min(axis=1))
    assert (np.diff(q.levels) >= 0).all()
    assert (q.bits, q.values.dtype, q.levels.dtype) == (3, np.uint8, np.float32)


@pytest.mark.parametrize("levels", [1, 2, 16, 256])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_zeros_stay_exactly_zero(levels, axis):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((20, 30)).astype(np.float32) + 0.5
    w[rng.random(w.shape) < 0.8] = 0.0
    q = qc.quantize(w, scheme="kmeans", levels=levels, axis=axis)
    assert (q.dequantize()[w == 0] == 0).all()


def test_the_same_values_give_the_same_codebook_in_any_order_and_on_any_threads():
    w = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    book = qc.quantize(w, scheme="kmeans").levels
    np.testing.assert_array_equal(qc.quantize(w[::-1], scheme="kmeans").levels, book)
    before = _core.num_threads()
    try:
        _core.set_num_threads(3)
        np.testing.assert_array_equal(qc.quantize(w, scheme="kmeans").levels, book)
    finally:
        _core.set_num_threads(before)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_one_codebook_for_each_index_of_an_axis(axis):
    w = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    q = qc.quantize(w, scheme="kmeans", levels=3, axis=axis)
    assert q.levels.shape == (w.shape[axis], 3)
    for index in range(w.shape[axis]):
        alone = qc.quantize(np.take(w, index, axis), scheme="kmeans", levels=3)
        np.testing.assert_array_equal(q.levels[index], alone.levels)
        np.testing.assert_array_equal(np.take(q.dequantize(), index, axis), alone.dequantize())


def test_few_distinct_values_come_back_exactly():
    w = np.array([0.5, -0.25, 3.0, 0.5, 3.0], np.float32)
    q = qc.quantize(w, scheme="kmeans", levels=8)
    np.testing.assert_array_equal(q.dequantize(), w)


def test_degenerate_arrays():
    assert qc.quantize(np.empty((0, 3), np.float32), scheme="kmeans").dequantize().shape == (0, 3)
    assert qc.quantize(np.float32(2.0), scheme="kmeans").dequantize() == 2.0
    q = qc.quantize(np.zeros((2, 3), np.float32), scheme="kmeans", axis=0)
    assert (q.dequantize() == 0).all()
    with pytest.raises(ValueError, match=r"x\[1\] is infinite"):
        qc.quantize(np.array([1.0, np.inf]), scheme="kmeans")
