"""Quantize at the edges: odd arrays, out=, what is refused, every instruction set."""

import doctest
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import qcore as qc
from qcore import _core


@pytest.mark.parametrize("options", [{}, {"symmetric": False, "signed": False}, {"axis": 0}])
def test_degenerate_arrays(options):
    for x in (np.zeros((3, 4)), np.zeros((0, 4)), np.full((3, 4), 1e-45), np.full((2, 2), -1e-44)):
        q = qc.quantize(x.astype(np.float32), **options)
        assert (q.scale == 1).all()
        assert not q.values.size or (q.values == q.zero_point.flat[0]).all()
        assert (q.dequantize() == 0).all()
        assert q.dequantize().shape == x.shape
    q = qc.quantize(np.full((2, 3), -4.0, np.float32), **options)
    np.testing.assert_allclose(q.dequantize(), -4.0, rtol=1e-6)
    q = qc.quantize(np.float32(7.0))
    assert (q.shape, int(q.values)) == ((), 127)


def test_a_huge_range_does_not_overflow():
    x = np.array([3e38, -3e38], np.float32)
    q = qc.quantize(x, symmetric=False)
    assert np.isfinite(q.scale)
    np.testing.assert_allclose(q.dequantize(), x, rtol=0.01)


def test_infinities_saturate_and_are_counted():
    x = np.array([1.0, np.inf, -np.inf, -1.0], np.float32)
    for options in ({}, {"scale": 1 / 127}):
        q = qc.quantize(x, narrow_range=True, **options)
        assert q.values.tolist() == [127, 127, -127, -127]
        assert q.clipped == 2
    assert qc.quantize(np.full(3, np.inf)).clipped == 3


def test_nan_raises_or_is_zero():
    x = np.array([[1.0, 2.0], [np.nan, -1.0]], np.float32)
    for options in ({}, {"scale": 0.1}, {"axis": 0}, {"rounding": "floor"}, {"scheme": "kmeans"}):
        with pytest.raises(ValueError, match=r"x\[1, 0\] is NaN"):
            qc.quantize(x, **options)
    for options in ({}, {"scale": 0.1}, {"axis": 0}, {"scheme": "kmeans", "levels": 4}):
        q = qc.quantize(x, nan="zero", **options)
        assert q.dequantize()[1, 0] == 0


def test_out_is_filled_and_is_the_values():
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    for options in (
        {"scale": 0.01}, {}, {"axis": 1}, {"scheme": "kmeans", "signed": False},
        {"rounding": "floor"},
    ):  # fmt: skip
        wanted = qc.quantize(x, **options)
        out = np.empty((3, 4), wanted.values.dtype)
        for _ in range(2):  # a buffer is there to be used again
            q = qc.quantize(x, out=out, **options)
            assert q.values is out
            assert q == wanted
    assert not qc.quantize(x).values.flags.writeable


def test_out_that_does_not_fit_is_refused():
    x = np.zeros((3, 4), np.float32)
    for scale in (None, 0.1):
        with pytest.raises(TypeError, match="out has dtype uint8; it must be int8"):
            qc.quantize(x, scale=scale, out=np.empty((3, 4), np.uint8))
        with pytest.raises(ValueError, match=r"out has shape \(4, 3\)"):
            qc.quantize(x, scale=scale, out=np.empty((4, 3), np.int8))
        with pytest.raises(ValueError, match="out is not C-contiguous"):
            qc.quantize(x, scale=scale, out=np.empty((4, 3), np.int8).T)
        with pytest.raises(ValueError, match="shares memory"):
            qc.quantize(x, scale=scale, out=x.view(np.int8)[:, :4])
        with pytest.raises(TypeError, match="must be a NumPy array"):
            qc.quantize(x, scale=scale, out=[1])
        frozen = np.empty((3, 4), np.int8)
        frozen.flags.writeable = False
        with pytest.raises(ValueError, match="out is read-only"):
            qc.quantize(x, scale=scale, out=frozen)


X = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"bits": 9}, ValueError, "bits is 9"),
        ({"bits": 0}, ValueError, "bits is 0"),
        ({"bits": 1, "zero_point": 0}, ValueError, "zero_point is 0; 1 bit has none"),
        ({"bits": 1, "symmetric": False}, ValueError, "1 bit has two codes"),
        ({"bits": 1, "narrow_range": True}, ValueError, "1 bit has two codes"),
        ({"bits": 1, "observer": "mse"}, ValueError, "1 bit takes the mean magnitude"),
        ({"bits": 1, "rounding": "stochastic"}, ValueError, "rounding is 'stochastic'"),
        (
            {"bits": 1, "scale": -1.0},
            ValueError,
            "scale is -1.0; it must be finite and not below 0",
        ),
        ({"bits": 12}, ValueError, "bits is 12; it must be 1 to 8, or 16"),
        ({"bits": 8.0}, TypeError, "bits is 8.0; it must be an integer"),
        ({"bits": True}, TypeError, "bits is True"),
        ({"axis": 2}, ValueError, "axis is 2"),
        ({"axis": 0, "group_size": 2}, ValueError, "both given"),
        ({"group_size": 0}, ValueError, "group_size is 0"),
        ({"scale": 0.0}, ValueError, "scale is 0.0; it must be finite and above 0"),
        ({"scale": -1}, ValueError, "scale is -1.0"),
        ({"scale": np.nan}, ValueError, "scale is nan"),
        ({"scale": np.inf}, ValueError, "scale is inf"),
        ({"scale": [0.1, 0.0], "axis": 0}, ValueError, r"scale\[1\] is 0.0"),
        ({"scale": [0.1, 0.1]}, ValueError, r"scale has shape \(2,\); it must be \(\)"),
        ({"scale": 0.1, "zero_point": 128}, ValueError, "zero_point is 128; .* -128 to 127"),
        ({"scale": 0.1, "zero_point": 0.5}, TypeError, "zero_point has dtype float64"),
        ({"scheme": "nf5"}, ValueError, "scheme is 'nf5'; it must be one of 'affine', 'float16'"),
        ({"scheme": "nf4", "bits": 3}, ValueError, "bits is 3; nf4 has 4"),
        ({"scheme": "nf4", "zero_point": 3}, ValueError, "zero_point is 3; the nf4 scheme"),
        ({"scheme": "nf4", "rounding": "stochastic"}, ValueError, "rounding is 'stochastic'"),
        ({"scheme": "nf4", "observer": "mse"}, ValueError, "observer is 'mse'; the nf4 scheme"),
        ({"scheme": "kmeans", "importance": [1, 2]}, ValueError, "importance has shape"),
        ({"scheme": "kmeans", "importance": -1.0}, ValueError, "importance has a value"),
        ({"importance": 1.0}, ValueError, "the affine scheme has none"),
        ({"rounding": "up"}, ValueError, "rounding is 'up'"),
        ({"observer": "max"}, ValueError, "observer is 'max'; it must be one of 'minmax'"),
        ({"observer": "max", "scale": 1.0}, ValueError, "observer is 'max'"),
        ({"observer": "percentile", "percentile": 0}, ValueError, "percentile is 0"),
        ({"observer": "percentile", "percentile": "all"}, TypeError, "percentile is 'all'"),
        ({"nan": "ignore"}, ValueError, "nan is 'ignore'"),
        ({"nan": "ignore", "scale": 1.0}, ValueError, "nan is 'ignore'"),
        ({"levels": 4}, ValueError, "levels is 4; the affine scheme has none"),
        ({"levels": 300, "scheme": "kmeans"}, ValueError, "levels is 300"),
        ({"scale": 1.0, "scheme": "kmeans"}, ValueError, "scale is 1.0; k-means has none"),
        ({"offset": 0.1}, ValueError, "needs rounding='floor'"),
        ({"rounding": "floor", "axis": 0}, ValueError, "axis is 0; the floor form has none"),
        ({"rounding": "floor", "zero_point": 1}, ValueError, "zero_point is 1"),
        ({"rounding": "floor", "scale": 0}, ValueError, "scale is 0"),
        ({"rounding": "floor", "offset": np.nan}, ValueError, "offset is nan"),
        ({"algorithm": "gtpq"}, ValueError, "algorithm is 'gtpq'"),
        ({"algorithm": "gptq"}, ValueError, "needs stats"),
        ({"algorithm": "gptq", "scheme": "nf4"}, ValueError, "it is for affine codes"),
        ({"random_state": "x", "rounding": "stochastic"}, TypeError, "random_state is 'x'"),
        ({"stats": object()}, ValueError, "stats is given"),
        ({"scale_dtype": np.float64}, ValueError, "scale_dtype is float64"),
        ({"scale_dtype": np.int8, "scale": 1.0}, ValueError, "scale_dtype is int8"),
    ],
)
def test_what_is_refused(options, kind, text):
    with pytest.raises(kind, match=text):
        qc.quantize(X, **options)


@pytest.mark.parametrize("x", [np.ones(3, np.int32), np.ones(3, bool), np.ones(3, complex), ["a"]])
def test_arrays_that_are_no_floats_are_refused(x):
    with pytest.raises(TypeError, match=r"x has dtype .*; it must be float16, float32 or float64"):
        qc.quantize(x)


def test_a_zero_point_alone_finds_the_least_scale_that_holds_the_range():
    x = np.array([-1.0, 3.0], np.float32)
    q = qc.quantize(x, signed=False, zero_point=100)
    assert float(q.scale) == np.float32(3 / 155)
    assert q.clipped == 0
    q = qc.quantize(x, signed=False, zero_point=0)
    assert (float(q.scale), q.clipped) == (np.float32(3 / 255), 1)


def test_the_short_way_and_the_long_way_agree():
    x = np.random.default_rng(0).standard_normal((7, 33)).astype(np.float32)
    for signed in (True, False):
        for bits in (2, 5, 8):
            for zero in (None, 1):
                options = {"bits": bits, "signed": signed, "zero_point": zero}
                short = qc.quantize(x, scale=0.1, **options)
                long = qc.quantize(x.T, scale=np.array(0.1), **options).T
                assert short == long
                assert short.clipped == long.clipped


def test_bfloat16_is_taken_where_it_exists():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.array([1.0, -0.5, 0.25], ml_dtypes.bfloat16)
    assert qc.quantize(x) == qc.quantize(x.astype(np.float32))


@pytest.mark.each_isa
@pytest.mark.parametrize("isa", _core.available_isas())
def test_every_instruction_set_gives_the_same_bytes(isa, monkeypatch):
    script = """
import hashlib, numpy as np, qcore as qc
rng = np.random.default_rng(0)
found = hashlib.sha256()
for kind in (np.float16, np.float32, np.float64):
    x = (rng.standard_normal((50, 77)) * 4).astype(kind)
    for options in ({}, {"axis": 0}, {"axis": 1}, {"group_size": 32}, {"bits": 4},
                    {"symmetric": False, "signed": False}, {"rounding": "floor"},
                    {"scale": 0.03}, {"bits": 16}, {"scheme": "kmeans"}, {"bits": 1},
                    {"rounding": "stochastic", "random_state": 1}, {"observer": "mse", "axis": 0},
                    {"observer": "entropy"}, {"observer": "percentile", "percentile": 99},
                    {"scheme": "nf4", "group_size": 32}, {"scheme": "fp8_e4m3"}):
        q = qc.quantize(x, **options)
        for part in (q.values, q.scale, q.zero_point, q.dequantize()):
            found.update(part.tobytes())
    found.update(qc.fake_quantize(x, bits=5).tobytes())
print(found.hexdigest())
"""
    found = []
    for forced in (isa, "scalar"):
        monkeypatch.setenv("QCORE_ISA", forced)
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(done.stdout)
    assert found[0] == found[1]


def test_threads_do_not_change_results():
    x = np.random.default_rng(0).standard_normal((1200, 1100)).astype(np.float32)
    before = _core.num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            _core.set_num_threads(count)
            results.append([qc.quantize(x, axis=axis) for axis in (None, 0, 1)])
        assert results[0] == results[1] == results[2]
    finally:
        _core.set_num_threads(before)


@pytest.mark.parametrize(("name", "least"), [("numerics.md", 4), ("concepts.md", 3)])
def test_the_examples_of_the_pages(name, least):
    page = pathlib.Path(__file__).parents[4] / "docs" / name
    found = doctest.testfile(str(page), module_relative=False)
    assert found.attempted >= least
    assert found.failed == 0
