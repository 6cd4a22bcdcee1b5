"""Patterns, criteria and weight updates of `qcore.prune`, against their definitions."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qcore as qc
from qcore.arrays.pruning.criteria import CRITERIA


@dataclass
class Stats:
    """What criteria read of a layer's inputs."""

    gram: np.ndarray
    count: int


def stats_of(x):
    return Stats(x.astype(np.float64).T @ x.astype(np.float64), len(x))


def inputs(samples=400, features=24, seed=3):
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((max(1, features // 3), features))
    hidden = rng.standard_normal((samples, len(mixing))) @ mixing
    return np.maximum(hidden + 0.3 * rng.standard_normal(hidden.shape), 0).astype(np.float32)


def weights(rows=10, columns=24, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def output_error(x, before, after):
    return float(np.sum((x.astype(np.float64) @ (before.astype(np.float64) - after).T) ** 2))


def blocks(w, rows, columns):
    """Every block's root mean square, and where it lies, by loops."""
    found = []
    for top in range(0, w.shape[0], rows):
        for left in range(0, w.shape[1], columns):
            place = np.s_[top : top + rows, left : left + columns]
            found.append((np.sqrt(np.mean(w[place].astype(np.float64) ** 2)), place))
    return found


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "2x4", "rows"])
@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_takes_the_share_and_no_more(name, pattern):
    criterion, w = CRITERIA[name], weights()
    evidence = {"stats": stats_of(inputs()), "gradient": weights(seed=5)}
    options = {"criterion": name, "pattern": pattern, "random_state": 0}
    if pattern != "2:4":
        options["sparsity"] = 0.5
    if criterion.needs:
        with pytest.raises(ValueError, match=f"{criterion.needs} is None"):
            qc.prune(w, **options)
        options[criterion.needs] = evidence[criterion.needs]
    if criterion.updates and pattern in ("2x4", "rows"):
        with pytest.raises(ValueError, match=name):
            qc.prune(w, **options)
        return
    pruned = qc.prune(w, **options)
    kept = pruned != 0
    assert np.count_nonzero(kept) == w.size // 2
    if not criterion.updates:
        np.testing.assert_array_equal(pruned[kept], w[kept])
    np.testing.assert_array_equal(qc.prune(w, **options), pruned)


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    block=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    sparsity=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_blocks_go_by_their_root_mean_square(shape, block, sparsity, seed):
    w = weights(*shape, seed)
    expected = w.copy()
    found = blocks(w, *block)
    order = np.argsort([norm for norm, _ in found], kind="stable")
    for index in order[: round(sparsity * len(found))]:
        expected[found[index][1]] = 0
    pruned = qc.prune(w, sparsity=sparsity, pattern=f"{block[0]}x{block[1]}")
    np.testing.assert_array_equal(pruned, expected)


@pytest.mark.parametrize(("pattern", "axis"), [("rows", 0), ("neurons", 0), ("columns", 1)])
@pytest.mark.parametrize(("criterion", "power"), [("l2", 2), ("magnitude", 2), ("l1", 1)])
def test_rows_and_columns_go_by_their_norm(pattern, axis, criterion, power):
    w = weights()
    norms = np.sum(np.abs(w.astype(np.float64)) ** power, axis=1 - axis)
    gone = np.sort(np.argsort(norms)[: round(0.3 * len(norms))])
    pruned = qc.prune(w, sparsity=0.3, pattern=pattern, criterion=criterion)
    np.testing.assert_array_equal(np.flatnonzero(~pruned.any(axis=1 - axis)), gone)


def test_l1_and_l2_judge_blocks_differently():
    w = np.array([[3.0, 0.0], [2.0, 2.0]], np.float32)
    assert qc.prune(w, sparsity=0.5, pattern="rows", criterion="l1")[0].sum() == 0
    assert qc.prune(w, sparsity=0.5, pattern="rows", criterion="l2")[1].sum() == 0


def test_extreme_blocks_neither_overflow_nor_vanish():
    w = np.array([[1e38, 1e38], [3e38, 3e38], [1e-38, 1e-38]], np.float32)
    pruned = qc.prune(w, sparsity=1 / 3, pattern="rows")
    np.testing.assert_array_equal(pruned.any(axis=1), [True, True, False])
    np.testing.assert_array_equal(
        qc.prune(w, sparsity=2 / 3, pattern="rows").any(axis=1), [False, True, False]
    )


def test_empty_and_higher_dimensional_arrays():
    assert qc.prune(np.zeros((0, 5), np.float32), sparsity=0.5, pattern="2x2").shape == (0, 5)
    w = np.random.default_rng(0).standard_normal((4, 3, 5))
    flat = qc.prune(w.reshape(4, 15), sparsity=0.5, pattern="2x3")
    np.testing.assert_array_equal(qc.prune(w, sparsity=0.5, pattern="2x3").reshape(4, 15), flat)


def test_random_follows_its_seed():
    w = weights()
    first = qc.prune(w, sparsity=0.5, criterion="random", random_state=1)
    np.testing.assert_array_equal(
        first, qc.prune(w, sparsity=0.5, criterion="random", random_state=1)
    )
    other = qc.prune(w, sparsity=0.5, criterion="random", random_state=2)
    assert np.count_nonzero(first) == np.count_nonzero(other) == 120
    assert (first != other).any()


def test_taylor_ranks_weight_times_gradient():
    w, gradient = weights(), weights(seed=1)
    scores = np.abs(w.astype(np.float64) * gradient)
    expected = np.where(scores > np.sort(scores.reshape(-1))[119], w, 0)
    pruned = qc.prune(w, sparsity=0.5, criterion="taylor", gradient=gradient)
    np.testing.assert_array_equal(pruned, expected)


def test_wanda_ranks_within_each_row_by_the_norm_of_the_input():
    w, x = weights(), inputs()
    scores = np.abs(w) * np.sqrt(np.mean(x.astype(np.float64) ** 2, axis=0))
    pruned = qc.prune(w, sparsity=0.75, criterion="wanda", stats=stats_of(x))
    for row, score, before in zip(pruned, scores, w, strict=True):
        np.testing.assert_array_equal(row, np.where(score > np.sort(score)[17], before, 0))
    pairs = qc.prune(w, pattern="2:4", criterion="wanda", stats=stats_of(x))
    assert (np.count_nonzero(pairs.reshape(10, 6, 4), axis=-1) == 2).all()


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_sparsegpt_prunes_exactly_so_many(sparsity):
    w, x = weights(), inputs()
    pruned = qc.prune(w, sparsity=sparsity, criterion="sparsegpt", stats=stats_of(x))
    assert np.count_nonzero(pruned == 0) == round(sparsity * w.size)
    assert pruned.dtype == w.dtype
    if sparsity == 0:
        np.testing.assert_array_equal(pruned, w)


@pytest.mark.parametrize("options", [{"sparsity": 0.5}, {"pattern": "2:4"}, {"pattern": "2:8"}])
def test_sparsegpt_lowers_the_error_much_on_inputs_it_has_not_seen(options):
    w, x = weights(), inputs(4000)
    stats, unseen = stats_of(x[:2000]), x[2000:]
    plain = qc.prune(w, **options)
    moved = qc.prune(w, criterion="sparsegpt", stats=stats, **options)
    assert np.count_nonzero(moved) == np.count_nonzero(plain)
    assert output_error(unseen, w, moved) < 0.6 * output_error(unseen, w, plain)


def test_the_last_weight_moves_as_least_squares_says():
    """Two inputs, one goes: what stays is the regression of the output on the other."""
    x = inputs(500, 2)
    w = np.array([[0.1, 1.0]], np.float32)
    pruned = qc.prune(w, sparsity=0.5, criterion="sparsegpt", stats=stats_of(x))
    best = np.linalg.lstsq(x[:, 1:].astype(np.float64), x.astype(np.float64) @ w[0], rcond=None)[0]
    assert pruned[0, 0] == 0
    assert pruned[0, 1] == pytest.approx(best[0], rel=0.02)


def test_sparsegpt_over_many_blocks_of_columns_and_dead_inputs():
    x = inputs(700, 300)
    x[:, 100:200] = 0
    w = weights(20, 300)
    pruned = qc.prune(w, sparsity=0.5, criterion="sparsegpt", stats=stats_of(x))
    assert np.count_nonzero(pruned == 0) == 3000
    assert not pruned[:, 100:200].any()
    plain = qc.prune(w, sparsity=0.5)
    assert output_error(x, w, pruned) < 0.5 * output_error(x, w, plain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 0.5, "pattern": "4x1", "criterion": "sparsegpt"}, "'unstructured' and 'N:M'"),
        ({"sparsity": 0.5, "criterion": "sparsegpt"}, "stats are of 7 inputs"),
        ({"sparsity": 0.5, "criterion": "wanda"}, "stats are of 7 inputs"),
        ({"sparsity": 0.5, "criterion": "taylor", "gradient": np.ones(3)}, "gradient has shape"),
    ],
)
def test_evidence_that_does_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        qc.prune(weights(), stats=Stats(np.eye(7), 1), **options)
