"""Every scheme in what all schemes share: bounds, round trips, idempotence, odd arrays, files."""

import copy
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import qcore as qc
from qcore import _core
from qcore.arrays.schemes.codebook import spread
from qcore.arrays.schemes.fixed_levels import FIXED, levels_of
from qcore.arrays.schemes.microscaling import KINDS
from qcore.arrays.schemes.table import CHOICES

pytestmark = pytest.mark.numerics

AFFINE = [{"bits": bits} for bits in (2, 3, 4, 5, 6, 7, 8, 16)]
AFFINE += [{"bits": 4, "signed": False, "symmetric": False}, {"bits": 2, "narrow_range": False}]
AFFINE += [{"bits": 4, "rounding": "stochastic", "random_state": 0}]
BOOKS = [{"scheme": name} for name in FIXED] + [{"scheme": "power_of_two", "bits": 3}]
FITTED = [
    {"scheme": "kmeans"},
    {"scheme": "kmeans", "bits": 2},
    {"scheme": "quantile", "levels": 9},
]
ONE_BIT = [{"bits": 1}, {"bits": 1, "signed": False}]
SCHEMES = AFFINE + BOOKS + FITTED + ONE_BIT
LAYOUTS = [{}, {"axis": 0}, {"axis": -1}, {"group_size": 3}, {"group_size": 100}]

arrays = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 5), st.integers(1, 9)),
    elements=st.floats(-1000, 1000, width=16),
)  # fmt: skip


#: What files of their own, or tests below, hold to the same.
ELSEWHERE = {"float16", *KINDS}


def test_every_scheme_is_held_to_what_all_share():
    here = {options.get("scheme", "affine") for options in SCHEMES}
    assert set(CHOICES) - here == ELSEWHERE


def name_of(options):
    return "-".join(str(value) for value in options.values()) or "tensor"


def wide_scale(q):
    if q.levels is not None and q.levels.ndim == 2:
        return np.float32(1.0)
    return spread(q.scale, q.shape, q.axis, q.group_size).astype(np.float64)


@pytest.mark.parametrize("options", SCHEMES, ids=name_of)
@settings(deadline=None, max_examples=15)
@given(x=arrays, layout=st.sampled_from(LAYOUTS))
def test_no_value_is_further_from_its_code_than_the_step_allows(options, x, layout):
    q = qc.quantize(x, **options, **layout)
    real = q.dequantize(dtype=np.float64)
    assert np.isfinite(real).all()
    off = np.abs(real - x.astype(np.float64))
    if q.scheme == "binary":
        # A sign: no further than from the mean magnitude.
        np.testing.assert_allclose(off, np.abs(np.abs(x) - wide_scale(q)), rtol=1e-3, atol=1e-6)
        return
    if q.levels is None:
        steps = 1.0 if options.get("rounding") == "stochastic" else 0.5
        # The full symmetric range ends half a step before its greatest value; float16 scales are
        # off by up to 2^-11.
        full = 0.5 * (not q.narrow_range) + 2.0 ** (q.bits - 12) * (q.scale_dtype == np.float16)
        bound = (steps + full) * wide_scale(q) * (1 + 1e-3)
    else:
        bound = np.full(x.shape, np.inf)
        books = q.levels if q.levels.ndim == 2 else q.levels[None]
        rows = np.moveaxis(x / wide_scale(q), q.axis, 0) if q.levels.ndim == 2 else [x]
        for book, row in zip(books, rows, strict=True):
            share = row / wide_scale(q) if q.levels.ndim == 1 else row
            distance = np.abs(np.asarray(share)[..., None] - book).min(axis=-1)
            if q.levels.ndim == 1:
                bound = distance * wide_scale(q) * (1 + 1e-4) + 1e-4 * np.abs(x)
    assert (off <= bound + 1e-12).all()


@pytest.mark.parametrize("options", AFFINE[:10] + BOOKS, ids=name_of)
@settings(deadline=None, max_examples=15)
@given(x=arrays, layout=st.sampled_from(LAYOUTS))
def test_what_was_quantized_quantizes_to_the_same_codes(options, x, layout):
    q = qc.quantize(x, **options, **layout)
    same = {"scale": q.scale} | ({"zero_point": q.zero_point} if q.levels is None else {})
    if q.levels is None:
        same["narrow_range"] = q.narrow_range
    again = qc.quantize(q.dequantize(), **(options | layout | same))
    np.testing.assert_array_equal(again.values, q.values)


@pytest.mark.parametrize("options", SCHEMES, ids=name_of)
@settings(deadline=None, max_examples=15)
@given(x=arrays, layout=st.sampled_from(LAYOUTS))
def test_zeros_stay_zeros(options, x, layout):
    q = qc.quantize(x, **options, **layout)
    if q.scheme == "binary":
        pytest.skip("a sign has no zero")
    assert (q.dequantize()[x == 0] == 0).all()


@pytest.mark.parametrize("options", SCHEMES, ids=name_of)
@pytest.mark.parametrize("layout", LAYOUTS, ids=name_of)
def test_odd_arrays(options, layout):
    for x in (np.zeros((3, 4)), np.full((3, 4), 1e-45), np.full((2, 3), -1e-44)):
        q = qc.quantize(x.astype(np.float32), **options, **layout)
        assert np.abs(q.dequantize()).max() <= 1e-44
    for value in (2.5, -3.0, 1.5e38, -1.5e38):
        x = np.full((3, 4), value, np.float32)
        real = qc.quantize(x, **options, **layout).dequantize()
        slack = 0.51 if not options.get("narrow_range", True) else 0.08
        assert np.isfinite(real).all()
        if options.get("rounding") != "stochastic":
            np.testing.assert_allclose(real, x, rtol=slack)
    one = qc.quantize(np.full((1, 1), 0.75, np.float32), **options, **layout)
    assert one.shape == (1, 1)
    for shape in ((0, 4), (3, 0)):
        q = qc.quantize(np.empty(shape, np.float32), **options, **layout)
        assert (q.shape, q.dequantize().shape) == (shape, shape)


@pytest.mark.parametrize("options", SCHEMES, ids=name_of)
@pytest.mark.parametrize("layout", LAYOUTS, ids=name_of)
def test_files_bring_every_scheme_back(options, layout, tmp_path):
    x = np.random.default_rng(0).standard_normal((6, 50)).astype(np.float32)
    pruned = np.where(np.abs(x) < 1.2, np.float32(0), x)
    for values in (x, pruned):
        q = qc.quantize(values, **options, **layout)
        qc.save(tmp_path / "q.safetensors", q)
        back = qc.load(tmp_path / "q.safetensors")
        assert back == q
        assert (back.nbytes, back.scale_dtype) == (q.nbytes, q.scale_dtype)
        np.testing.assert_array_equal(back.dequantize(), q.dequantize())


def test_the_error_of_uniform_values_falls_by_six_decibels_a_bit():
    x = np.random.default_rng(0).uniform(-1, 1, 200_000).astype(np.float32)
    for bits in (2, 3, 4, 5, 6, 7, 8, 16):
        found = qc.quantize(x, bits=bits, symmetric=False).error(x).sqnr_db
        # Power 1/3, noise step²/12 with step 2 / (2^b - 1).
        wanted = 20 * np.log10(2**bits - 1)
        assert found == pytest.approx(wanted, abs=0.1), bits
        floor = qc.quantize(x, bits=bits, rounding="floor").error(x).sqnr_db
        assert floor == pytest.approx(6.0206 * bits, abs=0.1)


# one bit and three values ------------------------------------------------------------------------
def test_one_bit_is_the_sign_times_the_mean_magnitude():
    x = np.array([[1.0, -3.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    q = qc.quantize(x, bits=1, axis=0)
    assert q.values.tolist() == [[0, -1, 0], [0, 0, 0]]
    np.testing.assert_allclose(q.scale, [4 / 3, 0.0])
    np.testing.assert_allclose(q.dequantize(), [[4 / 3, -4 / 3, 4 / 3], [0, 0, 0]])
    assert q.packed.tolist() == [2, 0]
    assert (q.scheme, q.bits, q.values.dtype) == ("binary", 1, np.int8)
    unsigned = qc.quantize(x, bits=1, axis=0, signed=False)
    np.testing.assert_array_equal(unsigned.dequantize(), q.dequantize())
    assert unsigned.values.tolist() == [[1, 0, 1], [1, 1, 1]]


def test_two_narrow_bits_are_ternary():
    x = np.array([0.9, -0.2, -1.0, 0.6], np.float32)
    q = qc.quantize(x, bits=2)
    assert q.values.tolist() == [1, 0, -1, 1]
    assert q.narrow_range


# rounding ----------------------------------------------------------------------------------------
def test_stochastic_rounding_is_unbiased_seeded_and_independent_of_threads():
    x = np.full(400_000, 0.37, np.float32)
    options = {"scale": 1.0, "rounding": "stochastic"}
    q = qc.quantize(x, random_state=3, **options)
    assert abs(q.values.mean() - 0.37) < 0.005
    assert set(np.unique(q.values)) == {0, 1}
    before = _core.num_threads()
    try:
        for threads in (1, 2, 3):
            _core.set_num_threads(threads)
            assert qc.quantize(x, random_state=3, **options) == q
    finally:
        _core.set_num_threads(before)
    assert qc.quantize(x, random_state=4, **options) != q
    # A part of an array at its beginning rounds as in the whole.
    assert (qc.quantize(x[:1000], random_state=3, **options).values == q.values[:1000]).all()


# scales ------------------------------------------------------------------------------------------
def test_scales_are_rounded_to_their_type_before_the_codes():
    x = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    q = qc.quantize(x, bits=4, group_size=16)
    assert q.scale_dtype == np.float16
    assert (q.scale.astype(np.float16) == q.scale).all()
    wanted = np.clip(np.rint(x / np.repeat(q.scale, 16, axis=1)), -7, 7)
    np.testing.assert_array_equal(q.values, wanted)
    assert qc.quantize(x, bits=4, axis=0).scale_dtype == np.float32
    assert qc.quantize(x, bits=4, axis=0, scale_dtype=np.float16).scale_dtype == np.float16
    # Where float16 would under- or overflow, scales stay as they are.
    for factor in (1e-7, 1e9):
        far = qc.quantize(x * np.float32(factor), bits=4, group_size=16)
        assert far.scale_dtype == np.float32


# formats -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("scheme", "name"),
    [
        ("fp8_e4m3", "float8_e4m3fn"),
        ("fp8_e5m2", "float8_e5m2"),
        ("fp4", "float4_e2m1fn"),
    ],
)
def test_small_floats_round_as_ml_dtypes(scheme, name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind = getattr(ml_dtypes, name)
    levels = levels_of(scheme, 4 if scheme == "fp4" else 8)
    middles = (levels[1:].astype(np.float64) + levels[:-1]) / 2
    x = np.concatenate([levels, middles.astype(np.float32)])
    x = np.concatenate([x, np.nextafter(x, np.float32(9e9)), np.nextafter(x, np.float32(-9e9))])
    x = np.concatenate([x, np.random.default_rng(0).uniform(levels[0], levels[-1], 9999)])
    x = x[np.abs(x) <= levels[-1]].astype(np.float32)
    q = qc.quantize(x, scheme=scheme, scale=1.0)
    np.testing.assert_array_equal(q.dequantize(), x.astype(kind).astype(np.float32))


def test_powers_of_two_are_shifts():
    levels = levels_of("power_of_two", 4)
    assert levels.tolist() == sorted([0.0, *(s * 2.0**-k for k in range(7) for s in (1, -1))])
    assert (levels_of("log", 8)[-1], len(levels_of("log", 8))) == (1.0, 255)


def test_float16_is_numpys(tmp_path):
    x = np.random.default_rng(0).standard_normal((6, 50)).astype(np.float32)
    x[0, :5] = 0, -0.0, 1e-8, 65504, -65519
    q = qc.quantize(x, scheme="float16")
    with np.errstate(over="ignore"):
        wanted = x.astype(np.float16)
    bits = wanted.astype(np.float32).view(np.uint32)
    np.testing.assert_array_equal(q.dequantize().view(np.uint32), bits)
    assert (q.bits, q.values.dtype, q.nbytes) == (16, np.uint16, 2 * x.size + 4)
    qc.save(tmp_path / "q.safetensors", q)
    assert qc.load(tmp_path / "q.safetensors") == copy.deepcopy(q) == q
    far = qc.quantize(np.array([7e4, -np.inf, 0], np.float32), scheme="float16")
    assert (far.dequantize().tolist(), far.clipped) == ([65504.0, -65504.0, 0.0], 2)
    for shape in ((0, 4), (3, 0), ()):
        zeros = qc.quantize(np.zeros(shape, np.float32), scheme="float16")
        assert zeros.dequantize().shape == shape
    with pytest.raises(ValueError, match=r"x\[0\] is NaN"):
        qc.quantize(np.array([np.nan], np.float32), scheme="float16")
    with pytest.raises(ValueError, match="group_size"):
        qc.quantize(x, scheme="float16", group_size=10)


# k-means -----------------------------------------------------------------------------------------
def test_importance_draws_levels_to_what_counts():
    x = np.linspace(-1, 1, 101, dtype=np.float32)
    weights = np.where(x > 0.5, 1000.0, 1.0)
    plain = qc.quantize(x, scheme="kmeans", levels=4).dequantize()
    drawn = qc.quantize(x, scheme="kmeans", levels=4, importance=weights).dequantize()
    here = x > 0.5
    assert np.sum((drawn - x)[here] ** 2) < np.sum((plain - x)[here] ** 2) / 4


def test_groups_share_one_codebook():
    x = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    x[2] *= 100
    q = qc.quantize(x, scheme="kmeans", levels=16, group_size=32)
    assert (q.levels.shape, q.scale.shape) == ((16,), (4, 2))
    assert q.error(x[:]).sqnr_db > qc.quantize(x, scheme="kmeans", levels=16).error(x).sqnr_db


def test_every_scheme_is_known_from_the_first_call_on() -> None:
    program = (
        "import numpy as np, qcore as qc\n"
        "qc.QTensor.from_parts(np.zeros((2, 2), np.int8), 1.0, bits=8)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_lone_zero_beside_equal_values_has_a_level() -> None:
    x = np.full((3, 7), -1.0, np.float32)
    x[1, 2] = 0
    q = qc.quantize(x, scheme="quantile", levels=9)
    np.testing.assert_array_equal(q.dequantize(), x)
