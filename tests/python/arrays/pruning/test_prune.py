"""`qcore.prune` against a full stable sort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import qcore as qc

FLOATS = [np.float16, np.float32, np.float64]


def by_sorting(w, sparsity):
    count = round(sparsity * w.size)
    order = np.argsort(np.abs(w).reshape(-1), kind="stable")
    result = w.reshape(-1).copy()
    result[order[:count]] = 0
    return result.reshape(w.shape)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("sparsity", [0.0, 0.001, 0.25, 0.5, 0.8, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (3, 5), (64, 65), (2, 3, 4, 5)])
def test_equals_a_stable_sort(dtype, sparsity, shape):
    w = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    pruned = qc.prune(w, sparsity=sparsity)
    np.testing.assert_array_equal(pruned, by_sorting(w, sparsity))
    assert pruned.dtype == dtype
    assert np.count_nonzero(pruned == 0) == round(sparsity * w.size)


@given(
    w=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=9),
        elements=st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 1e-45, -1e-45, np.inf, -np.inf, 3e38]),
    ),
    sparsity=st.floats(0, 1),
)
def test_ties_and_extremes_go_from_the_lower_index_on(w, sparsity):
    np.testing.assert_array_equal(qc.prune(w, sparsity=sparsity), by_sorting(w, sparsity))


def test_zeros_that_are_there_count():
    w = np.array([0, 0, 0, 1, 2, 3], np.float32)
    np.testing.assert_array_equal(qc.prune(w, sparsity=0.5), w)
    np.testing.assert_array_equal(qc.prune(w, sparsity=0.2), w)


def test_neither_changes_nor_returns_the_input():
    w = np.arange(12, dtype=np.float32).reshape(3, 4)
    before = w.copy()
    pruned = qc.prune(w, sparsity=0.0)
    pruned[:] = 7
    np.testing.assert_array_equal(w, before)


@pytest.mark.parametrize("view", [np.s_[::-1], np.s_[:, ::2], np.s_[::2, ::-3]])
def test_takes_any_layout(view):
    w = np.random.default_rng(1).standard_normal((20, 30)).astype(">f4")[view]
    plain = np.ascontiguousarray(w, np.float32)
    np.testing.assert_array_equal(qc.prune(w, sparsity=0.7), qc.prune(plain, sparsity=0.7))
    np.testing.assert_array_equal(qc.prune(w.T, sparsity=0.5), by_sorting(plain.T, 0.5))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 8), (1, 2), (3, 7)])
@pytest.mark.parametrize("cols", [0, 1, 3, 4, 8, 13])
def test_n_of_m_keeps_the_n_largest_of_each_group(dtype, n, m, cols):
    w = np.random.default_rng(2).integers(-4, 5, (3, cols)).astype(dtype)
    expected = w.copy()
    for row in expected:
        for start in range(0, cols, m):
            group = row[start : start + m]
            order = np.argsort(np.abs(group), kind="stable")
            group[order[: max(0, len(group) - n)]] = 0
    np.testing.assert_array_equal(qc.prune(w, pattern=f"{n}:{m}"), expected)


def test_neurons_are_rows_of_least_norm():
    w = np.array([[3, 4], [1, 1], [0, 6], [2, 0]], np.float32)
    pruned = qc.prune(w, sparsity=0.5, pattern="neurons")
    np.testing.assert_array_equal(pruned, [[3, 4], [0, 0], [0, 6], [0, 0]])
    huge = np.array([[1e308, 1e308], [1.2e308, 0]])
    np.testing.assert_array_equal(
        qc.prune(huge, sparsity=0.5, pattern="neurons")[0], [1e308, 1e308]
    )


def test_only_the_rest_of_a_pattern_may_be_said_twice():
    w = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(
        qc.prune(w, sparsity=0.5, pattern="2:4"), qc.prune(w, pattern="2:4")
    )
    with pytest.raises(ValueError, match=r"sparsity is 0.6; pattern '2:4' means 0.5"):
        qc.prune(w, sparsity=0.6, pattern="2:4")


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "neurons"])
def test_nan_is_refused_by_position(pattern):
    w = np.zeros((4, 4), np.float32)
    w[1, 2] = w[3, 0] = np.nan
    sparsity = None if pattern == "2:4" else 0.5
    with pytest.raises(ValueError, match=r"^w\[1, 2\] is NaN"):
        qc.prune(w, sparsity=sparsity, pattern=pattern)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "sparsity is None"),
        ({"sparsity": 1.5}, "sparsity is 1.5; it must be from 0 to 1"),
        ({"sparsity": float("nan")}, "sparsity is nan"),
        ({"sparsity": 0.5, "pattern": "4*1"}, "'unstructured', 'neurons', 'rows'"),
        ({"sparsity": 0.5, "pattern": "0x1"}, "at least one row and one column"),
        ({"sparsity": 0.5, "pattern": "4x1"}, "need 2"),
        ({"sparsity": 0.5, "pattern": None}, "pattern is None"),
        ({"pattern": "4:4"}, "N < M"),
        ({"pattern": "0:4"}, "1 <= N"),
        ({"pattern": "2:65"}, "M <= 64"),
        ({"sparsity": 0.5, "criterion": "wand"}, "criterion is 'wand'.*'magnitude'"),
        ({"sparsity": 0.5, "criterion": "wanda"}, "stats is None; criterion 'wanda' needs it"),
        ({"sparsity": 0.5, "criterion": "taylor"}, "gradient is None"),
    ],
)
def test_options_that_are_not_allowed(options, message):
    with pytest.raises(ValueError, match=message):
        qc.prune(np.ones(4, np.float32), **options)


def test_arrays_that_are_not_of_floats():
    with pytest.raises(TypeError, match="w has dtype int64"):
        qc.prune(np.arange(4), sparsity=0.5)
    with pytest.raises(TypeError, match="sparsity is"):
        qc.prune(np.ones(4, np.float32), sparsity="0.5")
    with pytest.raises(ValueError, match="w has no axes"):
        qc.prune(np.float32(1), pattern="2:4")
    with pytest.raises(ValueError, match="w has 1 dimensions"):
        qc.prune(np.ones(4, np.float32), sparsity=0.5, pattern="neurons")
