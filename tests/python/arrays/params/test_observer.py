"""Observers: exact in any order, and what their methods choose."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore as qc
from qcore import _core

METHODS = ("minmax", "percentile", "mse", "entropy")


def values(seed=0, size=20_000, kind=np.float32):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.standard_normal(size), rng.laplace(0.5, 2, size // 50)]).astype(kind)


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=10)
@given(data=st.data(), symmetric=st.booleans())
def test_any_split_and_order_gives_the_same_bits(method, data, symmetric):
    x = values(size=3000)
    whole = qc.Observer(method).update(x)
    order = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(len(x))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=5)))
    parts = [qc.Observer(method) for _ in range(3)]
    for index, batch in enumerate(np.split(x[order], cuts)):
        if batch.size:
            parts[index % 3].update(batch)
    merged = parts[2].merge(parts[0]).merge(parts[1])
    merged = pickle.loads(pickle.dumps(merged))  # noqa: S301
    options = {"symmetric": symmetric, "signed": symmetric}
    assert merged.qparams(**options) == whole.qparams(**options)
    assert merged.count == len(x)


def test_minmax_is_the_range_of_the_array():
    x = values()
    for options in ({}, {"signed": False, "symmetric": False}, {"narrow_range": False}):
        assert qc.Observer().update(x).qparams(**options) == qc.choose_qparams(x, **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_arrays_at_hand_are_observed_alike(method, kind):
    x = values(size=2000, kind=kind)
    for options in ({}, {"signed": False, "symmetric": False}):
        found = qc.choose_qparams(x, observer=method, **options)
        seen = qc.Observer(method).update(x).qparams(**options)
        np.testing.assert_allclose(found.scale, seen.scale, rtol=1e-6)
        assert found.zero_point == seen.zero_point
        q = qc.quantize(x, observer=method, **options)
        np.testing.assert_array_equal(q.scale, found.scale)


@pytest.mark.parametrize("layout", [{"axis": 0}, {"axis": 1}, {"group_size": 25}])
@pytest.mark.parametrize("method", METHODS)
def test_each_scale_has_a_range_of_its_own(layout, method):
    x = values(size=2000)[:2000].reshape(20, 100)
    found = qc.choose_qparams(x, bits=4, observer=method, **layout).scale
    pieces = {
        0: [x[i] for i in range(20)],
        1: [x[:, i] for i in range(100)],
        None: [x[i, j : j + 25] for i in range(20) for j in range(0, 100, 25)],
    }[layout.get("axis")]
    kind = {} if "axis" in layout else {"scale_dtype": np.float16}
    wanted = [qc.choose_qparams(p, bits=4, observer=method, **kind).scale for p in pieces]
    np.testing.assert_array_equal(found.reshape(-1), np.array(wanted))


def test_a_percentile_holds_its_share():
    x = values(size=50_000)
    for percentile in (90.0, 99.0, 99.9):
        seen = qc.Observer("percentile", percentile=percentile).update(x)
        low, high = seen.range(symmetric=False, signed=False)
        inside = np.mean((x >= low) & (x <= high)) * 100
        assert percentile <= inside < percentile + 0.2
        far = seen.range()[1]
        assert percentile <= np.mean(np.abs(x) <= far) * 100 < percentile + 0.2


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_mse_finds_the_least_error(bits, symmetric):
    x = values(size=5000)
    options = {"bits": bits, "symmetric": symmetric}
    found = qc.quantize(x, observer="mse", **options).error(x).sqnr_db
    assert found >= qc.quantize(x, **options).error(x).sqnr_db
    if symmetric:
        # No step of a fine grid is better by more than a trifle.
        top = np.abs(x).max() / (2 ** (bits - 1) - 1)
        others = [
            qc.quantize(x, bits=bits, scale=top * share, narrow_range=True).error(x).sqnr_db
            for share in np.linspace(0.05, 1, 200)
        ]
        assert found >= max(others) - 0.02


def onnx_runtime_threshold(x):
    calibrate = pytest.importorskip("onnxruntime.quantization.calibrate")
    collector = calibrate.HistogramCollector("entropy", True, 2048, 128, 99.999, "same")
    collector.collect({"x": [x]})
    return float(collector.compute_entropy()["x"][1])


@pytest.mark.parametrize("shape", ["normal", "laplace", "relu", "far", "uniform"])
def test_the_entropy_threshold_is_that_of_onnx_runtime(shape):
    rng = np.random.default_rng(1)
    x = {
        "normal": rng.standard_normal(200_000) * 3,
        "laplace": rng.laplace(0, 1, 200_000),
        "relu": np.maximum(rng.standard_normal(200_000), 0),
        "far": np.append(rng.standard_normal(200_000), [40.0, -35.0]),
        "uniform": rng.uniform(-2, 2, 200_000),
    }[shape].astype(np.float32)
    low, high = qc.Observer("entropy").update(x).range()
    bin_width = 2 * np.abs(x).max() / 2048
    assert abs(max(-low, high) - onnx_runtime_threshold(x)) <= bin_width * 1.01


@pytest.mark.parametrize("count", [9, 64, 576])
def test_entropy_cuts_nothing_off_so_few_values(count):
    # The weights of an output of a convolution: each scale is to cover them all.
    w = np.random.default_rng(count).standard_normal((8, count)).astype(np.float32)
    w[:, 0] *= 4
    found = qc.quantize(w, bits=8, axis=0, observer="entropy")
    np.testing.assert_array_equal(found.scale, qc.quantize(w, bits=8, axis=0).scale)
    assert found.error(w).sqnr_db > 30


def test_what_is_not_finite_is_left_out_or_refused():
    x = np.array([1.0, np.inf, -2.0, -np.inf], np.float32)
    seen = qc.Observer().update(x)
    assert (seen.min, seen.max, seen.count, seen.infinite) == (-2.0, 1.0, 2, 2)
    with pytest.raises(ValueError, match=r"x\[1\] is NaN"):
        seen.update([0.0, np.nan])
    assert seen.count == 2
    assert seen.update([3.0, np.nan], nan="ignore").max == 3.0
    empty = qc.Observer("entropy")
    assert (empty.min, empty.max, float(empty.qparams().scale)) == (0.0, 0.0, 1.0)


def test_threads_do_not_change_counts():
    x = np.random.default_rng(0).standard_normal(3_000_000).astype(np.float32)
    before = _core.num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            _core.set_num_threads(threads)
            seen = qc.Observer().update(x)
            found.append([*seen.histogram()[0], *seen.histogram()[1], seen.min, seen.max])
        assert found[0] == found[1] == found[2]
    finally:
        _core.set_num_threads(before)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="method is 'max'"):
        qc.Observer("max")
    with pytest.raises(ValueError, match="bits is 9"):
        qc.Observer(bits=9)
    with pytest.raises(TypeError, match="other is int"):
        qc.Observer().merge(3)


# statistics of inputs ----------------------------------------------------------------------------
def test_input_stats_stream_and_merge():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3000, 7)).astype(np.float32)
    e = x + rng.standard_normal(x.shape).astype(np.float32) * 0.1
    whole = qc.InputStats().update(x, e)
    wide, exact = x.astype(np.float64), e.astype(np.float64)
    np.testing.assert_allclose(whole.gram, wide.T @ wide, rtol=1e-12)
    np.testing.assert_allclose(whole.covariance, np.cov(wide.T, bias=True), atol=1e-12)
    joint = np.cov(wide.T, exact.T, bias=True)[:7, 7:]
    np.testing.assert_allclose(whole.cross_covariance, joint, atol=1e-12)
    np.testing.assert_array_equal(whole.absmax, np.abs(x).max(axis=0))
    merged = (
        qc.InputStats().update(x[:1000], e[:1000]).merge(qc.InputStats().update(x[1000:], e[1000:]))
    )
    np.testing.assert_allclose(merged.gram, whole.gram, rtol=1e-12)
    np.testing.assert_allclose(merged.cross_covariance, whole.cross_covariance, atol=1e-12)
    assert merged.count == 3000


def test_input_stats_refuse_what_does_not_fit():
    stats = qc.InputStats().update(np.ones((2, 3)))
    with pytest.raises(ValueError, match="x has 4 features; before it were 3"):
        stats.update(np.ones((2, 4)))
    with pytest.raises(ValueError, match="exact must be given in every update"):
        stats.update(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"x\[0, 1\] is nan"):
        stats.update(np.array([[0.0, np.nan, 0.0]]))
    with pytest.raises(ValueError, match="the statistics are empty"):
        _ = qc.InputStats().gram
