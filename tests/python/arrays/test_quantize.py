"""quantize against ONNX Runtime, against its definition, and in what it refuses."""

import doctest
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import qcore as qc
import reference
from qcore import _core

pytestmark = pytest.mark.numerics

SHAPE = (1000, 1000)


def ties(scale):
    """Every half step of a scale, and the floats beside it."""
    halves = (np.arange(-600, 601) * np.float32(0.5) * np.float32(scale)).astype(np.float32)
    up = np.nextafter(halves, np.float32(np.inf))
    return np.concatenate([halves, up, np.nextafter(halves, np.float32(-np.inf))])


def onnx_quantize(x, scale, zero_point, axis=None):
    """Run QuantizeLinear in ONNX Runtime; the model is built by hand from its few bytes."""
    ort = pytest.importorskip("onnxruntime")

    def field(number, payload):
        if isinstance(payload, int):
            return varint(number << 3) + varint(payload)
        return varint(number << 3 | 2) + varint(len(payload)) + payload

    def varint(value):
        out = b""
        while value > 127:
            out += bytes([value & 127 | 128])
            value >>= 7
        return out + bytes([value])

    types = {"float32": 1, "uint8": 2, "int8": 3}

    def tensor(name, array):
        dims = b"".join(field(1, length) for length in array.shape)
        kind = types[array.dtype.name]
        return dims + field(2, kind) + field(8, name) + field(9, array.tobytes())

    def value(name, dtype, shape):
        dims = b"".join(field(1, field(1, length)) for length in shape)
        return field(1, name) + field(2, field(1, field(1, types[dtype]) + field(2, dims)))

    node = field(1, b"x") + field(1, b"s") + field(1, b"z") + field(2, b"y")
    node += field(4, b"QuantizeLinear")
    if axis is not None:
        node += field(5, field(1, b"axis") + field(3, axis) + field(20, 2))
    graph = field(1, node) + field(2, b"g")
    graph += field(5, tensor(b"s", scale)) + field(5, tensor(b"z", zero_point))
    graph += field(11, value(b"x", "float32", x.shape))
    graph += field(12, value(b"y", zero_point.dtype.name, x.shape))
    model = field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 13))
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_a_million_values_as_onnx_runtime(signed, axis):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(SHAPE) * 3).astype(np.float32)
    x.flat[:9] = [np.inf, -np.inf, 0, -0.0, 1e-45, 3e38, -3e38, 1e30, 2.5]
    shape = () if axis is None else (SHAPE[axis],)
    scale = rng.uniform(0.005, 0.05, shape).astype(np.float32)
    low, high = (-128, 127) if signed else (0, 255)
    zero = rng.integers(low, high + 1, shape).astype(np.int8 if signed else np.uint8)
    q = qc.quantize(x, signed=signed, axis=axis, scale=scale, zero_point=zero)
    wanted = onnx_quantize(x, scale, np.asarray(zero), axis)
    assert q.values.dtype == wanted.dtype
    np.testing.assert_array_equal(q.values, wanted)
    spread = (reference.spread(part, SHAPE, axis) for part in (scale, zero))
    codes, clipped = reference.quantize(x, *spread, low, high)
    np.testing.assert_array_equal(q.values, codes)
    assert q.clipped == clipped


@pytest.mark.parametrize("scale", [0.1, 0.01, 1 / 3, 0.007874016, 1.7e-6, 3.3e7, 2.0**-20])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_ties_as_onnx_runtime(scale, dtype):
    x = ties(scale)
    for zero in (0, 3, 127):
        q = qc.quantize(x, signed=dtype == np.int8, scale=scale, zero_point=zero)
        wanted = onnx_quantize(x, np.array(scale, np.float32), np.array(zero, dtype))
        np.testing.assert_array_equal(q.values, wanted)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8, 16])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("narrow", [None, True, False])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ranges_and_codes_by_definition(bits, signed, symmetric, narrow, dtype):
    rng = np.random.default_rng(bits)
    x = (rng.standard_normal((6, 37)) + 0.3).astype(dtype)
    for axis, group_size in ((None, None), (0, None), (-1, None), (None, 16)):
        q = qc.quantize(
            x, bits=bits, signed=signed, symmetric=symmetric, narrow_range=narrow,
            axis=axis, group_size=group_size,
        )  # fmt: skip
        real = np.float64 if dtype == np.float64 else np.float32
        wide = x.astype(real)
        if group_size is not None:
            parts = [wide[:, at : at + group_size] for at in range(0, 37, group_size)]
            low = np.stack([part.min(axis=1) for part in parts], axis=1)
            high = np.stack([part.max(axis=1) for part in parts], axis=1)
        else:
            others = None if axis is None else 1 + axis if axis == 0 else 0
            low, high = wide.min(axis=others), wide.max(axis=others)
        is_narrow = (symmetric and signed) if narrow is None else narrow
        least = (-(2 ** (bits - 1)) if signed else 0) + is_narrow
        most = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
        low, high = np.minimum(low, 0), np.maximum(high, 0)
        if symmetric:
            half = 2 ** (bits - 1) - 1 if is_narrow else (2**bits - 1) / 2
            scale = (np.maximum(-low, high) / real(half)).astype(np.float32)
            zero = np.full(scale.shape, 0 if signed else 2 ** (bits - 1))
        else:
            scale = ((high - low) / real(most - least)).astype(np.float32)
            zero = None
        if group_size is not None and (scale >= 2.0**-14).all():
            scale = scale.astype(np.float16).astype(np.float32)
        if zero is None:
            zero = np.clip(np.rint(least - low / scale.astype(real)), least, most)
        np.testing.assert_array_equal(q.scale, scale)
        np.testing.assert_array_equal(q.zero_point, zero)
        assert (q.bits, q.signed, q.narrow_range) == (bits, signed, is_narrow)
        at = None if axis is None else axis % 2
        spread = (reference.spread(part, x.shape, at, group_size) for part in (scale, zero))
        codes, clipped = reference.quantize(x, *spread, least, most)
        np.testing.assert_array_equal(q.values, codes)
        assert q.clipped == clipped


def test_dynamic_quantize_linear_is_the_asymmetric_uint8():
    x = np.array([0, 2, -3, -2.5, 1.34, 0.5], np.float32)  # the example of the ONNX standard
    q = qc.quantize(x, signed=False, symmetric=False)
    assert float(q.scale) == np.float32(0.0196078438)
    assert int(q.zero_point) == 153
    assert q.values.tolist() == [153, 255, 0, 26, 221, 179]


@pytest.mark.parametrize("signed", [True, False])
def test_the_worked_example_is_304(signed):
    x = np.array([3.14159], np.float32)
    form = {"scale": 0.01, "offset": 0.1, "rounding": "floor", "signed": signed}
    q = qc.quantize(x, bits=16, **form)
    assert (q.values.tolist(), q.clipped) == ([304], 0)
    assert q.values.dtype == (np.int16 if signed else np.uint16)
    np.testing.assert_allclose(q.dequantize(), [0.1 + 304.5 * 0.01], rtol=1e-6)
    edge = qc.quantize(x, bits=16, reconstruct="edge", **form)
    np.testing.assert_allclose(edge.dequantize(), [0.1 + 304 * 0.01], rtol=1e-6)
    small = qc.quantize(x, bits=8, **form)
    assert (small.values.tolist(), small.clipped) == ([127 if signed else 255], 1)


@pytest.mark.parametrize("bits", [2, 3, 8, 16])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_floor_form_finds_its_step_and_offset(bits, dtype):
    x = np.random.default_rng(0).uniform(-3, 7, 1000).astype(dtype)
    q = qc.quantize(x, bits=bits, rounding="floor")
    low, high = float(x.min()), float(x.max())
    assert q.offset == low
    assert float(q.scale) == np.float32((high - low) / 2**bits)
    assert q.scheme == "floor"
    assert not q.signed
    assert (q.values.min(), q.values.max(), q.clipped) == (0, 2**bits - 1, 0)
    step = float(q.scale)
    assert np.abs(q.dequantize(dtype=np.float64) - x.astype(np.float64)).max() <= step * 0.51 + 1e-6


def test_the_floor_form_of_a_constant_and_of_nothing():
    q = qc.quantize(np.full(3, 2.5, np.float32), rounding="floor", reconstruct="edge")
    assert q.values.tolist() == [0, 0, 0]
    assert q.dequantize().tolist() == [2.5, 2.5, 2.5]
    assert qc.quantize(np.empty(0, np.float32), rounding="floor").values.shape == (0,)


floats = st.sampled_from([np.float16, np.float32, np.float64])


@settings(deadline=None, max_examples=60)
@given(
    x=floats.flatmap(lambda kind: hnp.arrays(
        kind, hnp.array_shapes(max_dims=3, max_side=9),
        elements=st.floats(-1000, 1000, width=16),
    )),
    bits=st.integers(2, 8),
    signed=st.booleans(),
    symmetric=st.booleans(),
    per_axis=st.booleans(),
)  # fmt: skip
def test_error_is_at_most_half_a_step_and_again_changes_nothing(
    x, bits, signed, symmetric, per_axis
):
    axis = 0 if per_axis else None
    q = qc.quantize(x, bits=bits, signed=signed, symmetric=symmetric, axis=axis)
    real = q.dequantize(dtype=np.float64)
    step = reference.spread(q.scale, x.shape, axis).astype(np.float64)
    full = symmetric and not (q.narrow_range)
    # The full symmetric range ends half a step before its greatest value.
    slack = 0.5 * step * (1 + 1e-3) + 0.5 * step * full
    assert (np.abs(real - x.astype(np.float64)) <= slack + 1e-30).all()
    again = qc.quantize(
        q.dequantize(), bits=bits, signed=signed, axis=axis, narrow_range=q.narrow_range,
        scale=q.scale, zero_point=q.zero_point,
    )  # fmt: skip
    np.testing.assert_array_equal(again.values, q.values)
    assert (q.dequantize()[x == 0] == 0).all()


@settings(deadline=None, max_examples=60)
@given(data=st.data(), kind=floats)
def test_layout_of_the_input_does_not_matter(data, kind):
    base = data.draw(hnp.arrays(kind, (6, 5, 8), elements=st.floats(-9, 9, width=16)))
    steps = st.sampled_from([1, 2, -1, -2])
    view = base[tuple(slice(None, None, data.draw(steps)) for _ in range(3))]
    view = view.transpose(data.draw(st.permutations(range(3))))
    plain = np.ascontiguousarray(view)
    raw = np.empty(plain.nbytes + 1, np.uint8)
    odd = raw[1:].view(kind).reshape(plain.shape)
    odd[...] = plain
    swapped = plain.astype(plain.dtype.newbyteorder())
    for options in ({}, {"axis": 1}, {"group_size": 3}, {"rounding": "floor"}, {"scale": 0.1}):
        wanted = qc.quantize(plain, **options)
        for other in (view, odd, swapped, np.asfortranarray(plain)):
            assert qc.quantize(other, **options) == wanted


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
    page = pathlib.Path(__file__).parents[3] / "docs" / name
    found = doctest.testfile(str(page), module_relative=False)
    assert found.attempted >= least
    assert found.failed == 0
