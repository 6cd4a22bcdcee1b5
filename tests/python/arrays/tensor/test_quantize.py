"""quantize against ONNX Runtime, against its definition, and in what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import qcore as qc
import reference

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
