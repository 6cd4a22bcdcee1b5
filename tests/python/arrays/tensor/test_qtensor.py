"""QTensor: its parts, its bytes, and that nobody can change it."""

import copy
import math
import pickle

import numpy as np
import pytest

import qcore as qc
import reference

pytestmark = pytest.mark.numerics

KINDS = [
    {},
    {"axis": 0},
    {"axis": -1, "signed": False, "symmetric": False},
    {"group_size": 4, "bits": 4},
    {"bits": 3, "axis": 1},
    {"bits": 16},
    {"rounding": "floor", "bits": 6},
    {"rounding": "floor", "scale": 0.01, "offset": 0.1, "bits": 16},
    {"scheme": "kmeans", "levels": 5},
    {"scheme": "kmeans", "axis": 0},
    {"scheme": "kmeans", "group_size": 4},
    {"scheme": "quantile", "axis": 1},
    {"bits": 1, "axis": 0},
    {"bits": 1, "signed": False, "group_size": 3},
    {"scheme": "nf4", "group_size": 4},
    {"scheme": "power_of_two", "bits": 3, "axis": 0},
    {"scheme": "fp8_e5m2"},
]


def weights(shape=(6, 10), kind=np.float32):
    return np.random.default_rng(0).standard_normal(shape).astype(kind)


@pytest.mark.parametrize("options", KINDS)
def test_copies_are_equal_and_changes_are_not(options):
    w = weights()
    q = qc.quantize(w, **options)
    for other in (pickle.loads(pickle.dumps(q)), copy.copy(q), copy.deepcopy(q)):  # noqa: S301
        assert other == q
        assert other.clipped == q.clipped
        np.testing.assert_array_equal(other.dequantize(), q.dequantize())
    changed = w.copy()
    changed[0, 0] += 5
    assert qc.quantize(changed, **options) != q
    assert q != "something else"


@pytest.mark.parametrize("options", KINDS)
def test_parts_make_the_tensor_again(options):
    q = qc.quantize(weights(), **options)
    again = qc.QTensor.from_parts(
        q.values, q.scale, q.zero_point, axis=q.axis, group_size=q.group_size, bits=q.bits,
        signed=q.signed, narrow_range=q.narrow_range, scheme=q.scheme, offset=q.offset,
        levels=q.levels, reconstruct=q.reconstruct, scale_dtype=q.scale_dtype,
    )  # fmt: skip
    assert again == q
    assert not np.shares_memory(again.values, q.values)


def test_nothing_can_be_set_or_written():
    q = qc.quantize(weights())
    with pytest.raises(AttributeError):
        q.scale = 2
    with pytest.raises(AttributeError):
        q.color = "red"
    for part in (q.values, q.scale, q.zero_point, q.packed):
        with pytest.raises(ValueError, match="read-only"):
            part[...] = 0
    with pytest.raises(TypeError, match=r"made by qcore\.quantize"):
        qc.QTensor()


def test_as_an_array_it_is_its_values():
    q = qc.quantize(weights(), axis=0)
    np.testing.assert_array_equal(np.asarray(q), q.dequantize())
    assert np.asarray(q, np.float64).dtype == np.float64
    assert (q + 0).dtype == np.float32 if hasattr(q, "__add__") else True
    assert (len(q), q.ndim, q.size, q.shape) == (6, 2, 60, (6, 10))
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(q, copy=False)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"axis": 0}, {"axis": 1}, {"group_size": 3}])
def test_it_decodes_to_every_float_by_definition(dtype, options):
    q = qc.quantize(weights(), signed=False, symmetric=False, **options)
    scale = reference.spread(q.scale, q.shape, q.axis, q.group_size)
    zero = reference.spread(q.zero_point, q.shape, q.axis, q.group_size)
    real = np.float64 if dtype == np.float64 else np.float32
    wanted = ((q.values.astype(np.int32) - zero).astype(real) * scale.astype(real)).astype(dtype)
    np.testing.assert_array_equal(q.dequantize(dtype=dtype), wanted)
    for out in (np.empty(q.shape, dtype), np.empty(q.shape[::-1], dtype).T):
        assert qc.dequantize(q, dtype=dtype, out=out) is out
        np.testing.assert_array_equal(out, wanted)


def test_decoding_refuses_what_does_not_fit():
    q = qc.quantize(weights())
    with pytest.raises(TypeError, match="dtype is int32; it must be float16"):
        q.dequantize(dtype=np.int32)
    with pytest.raises(TypeError, match="out has dtype float64; it must be float32"):
        q.dequantize(out=np.empty(q.shape))
    with pytest.raises(ValueError, match=r"out has shape \(3,\)"):
        q.dequantize(out=np.empty(3, np.float32))
    with pytest.raises(TypeError, match="q is ndarray; it must be a QTensor"):
        qc.dequantize(weights())


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("signed", [True, False])
def test_packed_is_a_little_endian_bit_stream_for_each_row(bits, signed):
    q = qc.quantize(weights((3, 5)), bits=bits, signed=signed)
    rows = []
    for row in q.values:
        stream = sum((int(code) & (2**bits - 1)) << (bits * i) for i, code in enumerate(row))
        rows.append(np.frombuffer(stream.to_bytes(-(-5 * bits // 8), "little"), np.uint8))
    np.testing.assert_array_equal(q.packed.reshape(-1), np.concatenate(rows))
    zeros = q.zero_point.size if q.zero_point.any() else 0
    assert q.nbytes == q.packed.nbytes + 4 + zeros


def test_bytes_count_every_part():
    w = weights((6, 10))
    assert qc.quantize(w, axis=0).nbytes == 60 + 6 * 4
    assert qc.quantize(w, axis=0, signed=False, symmetric=False).nbytes == 60 + 6 * 4 + 6
    assert qc.quantize(w, bits=4, group_size=4).nbytes == 6 * 5 + 6 * 3 * 2
    assert qc.quantize(w, bits=3).nbytes == 6 * 4 + 4
    f32 = qc.quantize(w, bits=4, group_size=4, scale_dtype=np.float32)
    assert f32.nbytes == 6 * 5 + 6 * 3 * 4
    assert qc.quantize(w, bits=1, axis=0).nbytes == 6 * 2 + 6 * 4
    assert qc.quantize(w, scheme="nf4", group_size=4).nbytes == 6 * 5 + 6 * 3 * 2
    assert qc.quantize(w, scheme="kmeans", levels=16).nbytes == 6 * 5 + 16 * 4


def test_the_transpose():
    w = weights()
    for options in ({}, {"axis": 0}, {"axis": 1}, {"scheme": "kmeans", "axis": 0}):
        q = qc.quantize(w, **options)
        np.testing.assert_array_equal(q.T.dequantize(), q.dequantize().T)
        assert q == q.T.T
    with pytest.raises(ValueError, match="no transpose"):
        _ = qc.quantize(w, group_size=4).T


def test_error_is_measured():
    w = np.array([3.0, -4.0], np.float32)
    q = qc.QTensor.from_parts(np.array([3, -3], np.int8), 1.0)
    error = q.error(w)
    assert error.max_abs == 1.0
    assert error.sqnr_db == pytest.approx(10 * math.log10(25))
    assert error.cosine == pytest.approx(21 / (5 * math.sqrt(18)))
    exact = qc.QTensor.from_parts(np.array([3, -4], np.int8), 1.0).error(w)
    assert exact == (math.inf, pytest.approx(1.0), 0.0)
    with pytest.raises(ValueError, match=r"x has shape \(3,\)"):
        q.error(np.ones(3))


def test_repr_says_what_it_is():
    assert repr(qc.quantize(weights(), axis=0)) == (
        "QTensor((6, 10), 8-bit affine, axis=0, int8, 84 bytes)"
    )


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"values": np.zeros(3, np.int64)}, TypeError, "values has dtype int64"),
        ({"values": np.array([-8, 8, 0], np.int8), "bits": 4}, ValueError, "codes from -8 to 8"),
        ({"scale": [1.0, 2.0]}, ValueError, r"scale has shape \(2,\)"),
        ({"scale": 0.0}, ValueError, "scale is 0.0; it must be finite and above 0"),
        ({"scale": np.nan}, ValueError, "scale is nan; it must be finite and above 0"),
        ({"zero_point": [0, 0]}, ValueError, r"zero_point has shape \(2,\)"),
        ({"zero_point": 300}, ValueError, "zero_point is 300; it must be -128 to 127"),
        ({"axis": 5}, ValueError, "axis is 5"),
        ({"scheme": "nf5"}, ValueError, "scheme is 'nf5'"),
        ({"scheme": "nf4"}, TypeError, "indices of levels are uint8"),
        ({"scheme": "binary"}, ValueError, "signs have 1 bit"),
        ({"scale": 0.1, "scale_dtype": np.float16}, ValueError, "float16 does not hold exactly"),
        ({"scheme": "floor"}, ValueError, "offset"),
        ({"scheme": "kmeans", "values": np.zeros(3, np.uint8)}, ValueError, "levels"),
        (
            {"scheme": "kmeans", "values": np.full(3, 9, np.uint8), "levels": [0.0, 1.0]},
            ValueError,
            "code 9; there are 2 levels",
        ),
        (
            {"scheme": "kmeans", "values": np.zeros(3, np.uint8), "levels": [0.0, np.nan]},
            ValueError,
            "levels",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, kind, text):
    parts = {"values": np.zeros(3, np.int8), "scale": 1.0} | change
    with pytest.raises(kind, match=text):
        qc.QTensor.from_parts(**parts)


def test_fake_quantize_is_quantize_then_dequantize():
    w = weights()
    for options in ({}, {"axis": 0}, {"axis": 1, "bits": 4}, {"signed": False, "symmetric": False}):
        q = qc.quantize(w, **options)
        np.testing.assert_array_equal(qc.fake_quantize(w, **options), q.dequantize())
        params = qc.choose_qparams(w, **options)
        out = np.empty_like(w)
        assert qc.fake_quantize(w, params, out=out) is out
        np.testing.assert_array_equal(out, q.dequantize())
        again = qc.quantize(
            w, scale=params.scale, zero_point=params.zero_point, **(options | {"symmetric": None}),
            narrow_range=params.narrow_range,
        )  # fmt: skip
        assert again == q
    with pytest.raises(ValueError, match=r"x\[0\] is NaN"):
        qc.fake_quantize(np.array([np.nan]))
    with pytest.raises(ValueError, match="shares memory"):
        qc.fake_quantize(w, out=w)


def test_qparams_say_their_codes():
    params = qc.choose_qparams(np.array([-1.0, 3.0], np.float32), bits=4, axis=0)
    assert (params.qmin, params.qmax, params.dtype) == (-7, 7, np.int8)
    assert params == qc.choose_qparams(np.array([-1.0, 3.0], np.float32), bits=4, axis=0)
    assert params != qc.choose_qparams(np.array([-1.0, 2.0], np.float32), bits=4, axis=0)
