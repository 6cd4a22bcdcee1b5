"""Small floats with small scales: to the bits of their standards, through files and layers."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import qcore as qc
from qcore.arrays.schemes.microscaling import KINDS

ml_dtypes = pytest.importorskip("ml_dtypes")

ELEMENTS = {
    "F4": "float4_e2m1fn", "F6_E2M3": "float6_e2m3fn", "F6_E3M2": "float6_e3m2fn",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip
POWERS = [name for name in KINDS if name != "nvfp4"]


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def _saturated(values, element):
    """What ml_dtypes rounds to; it has no saturation of its own where there is a NaN."""
    kind = np.dtype(getattr(ml_dtypes, ELEMENTS[element]))
    top = float(ml_dtypes.finfo(kind).max)
    return np.clip(values, -top, top).astype(kind)


def _reference(x, scheme):
    """The specification's section 6.3, in NumPy and ml_dtypes: scales and elements."""
    kind = KINDS[scheme]
    top = float(ml_dtypes.finfo(getattr(ml_dtypes, ELEMENTS[kind.element])).max)
    scale, shares = (
        np.empty((*x.shape[:-1], -(-x.shape[-1] // kind.group_size))),
        np.empty(x.shape),
    )
    for at in np.ndindex(scale.shape):
        part = (*at[:-1], slice(at[-1] * kind.group_size, (at[-1] + 1) * kind.group_size))
        most = float(np.abs(x[part]).max())
        power = int(np.floor(np.log2(most)) - np.floor(np.log2(top))) if most else 0
        scale[at] = 2.0 ** np.clip(power, -127, 127)
        shares[part] = x[part].astype(np.float64) / scale[at]
    return scale.astype(np.float32), _saturated(shares, kind.element)


def _arrays(rng):
    yield rng.normal(size=(7, 96)).astype(np.float32)
    yield (rng.standard_cauchy(size=(5, 70)) * 10.0 ** rng.integers(-30, 30, (5, 70))).astype(
        np.float32
    )
    yield np.linspace(-8, 8, 33 * 64, dtype=np.float32).reshape(33, 64)
    ties = np.arange(-64, 64, dtype=np.float32).reshape(2, 64) / 8
    yield ties
    yield np.zeros((2, 32), np.float32)
    yield np.full((1, 32), 1e-45, np.float32)
    yield np.full((1, 32), np.finfo(np.float32).max, np.float32)


@pytest.mark.parametrize("scheme", POWERS)
def test_scales_and_codes_are_those_of_the_specification(scheme, rng):
    for x in _arrays(rng):
        q = qc.quantize(x, scheme=scheme)
        scale, elements = _reference(x, scheme)
        np.testing.assert_array_equal(q.scale, scale)
        mask = (1 << q.bits) - 1
        np.testing.assert_array_equal(q.values, elements.view(np.uint8) & mask)
        spread = np.repeat(scale, 32, axis=-1)[:, : x.shape[1]]
        np.testing.assert_array_equal(q.dequantize(), elements.astype(np.float32) * spread)


def test_nvfp4_has_scales_of_e4m3_and_one_of_the_tensor(rng):
    for x in _arrays(rng):
        q = qc.quantize(x, scheme="nvfp4")
        most = np.abs(x).max()
        whole = np.float32(most / np.float32(6 * 448))
        whole = whole if whole >= np.finfo(np.float32).tiny else np.float32(1)
        assert q.tensor_scale == whole
        groups = -(-x.shape[1] // 16)
        padded = np.zeros((len(x), groups * 16), np.float32)
        padded[:, : x.shape[1]] = x
        tops = np.abs(padded.reshape(len(x), groups, 16)).max(axis=-1)
        codes = _saturated((tops / np.float32(6)) / whole, "F8_E4M3")
        codes = np.where(tops == 0, 1, np.where(codes == 0, 2.0**-9, codes.astype(np.float32)))
        scale = codes.astype(np.float32) * whole
        np.testing.assert_array_equal(q.scale, scale)
        shares = padded.reshape(len(x), groups, 16) / scale[..., None]
        elements = _saturated(shares, "F4").reshape(padded.shape)[:, : x.shape[1]]
        np.testing.assert_array_equal(q.values, elements.view(np.uint8) & 15)


@pytest.mark.parametrize("scheme", KINDS)
def test_files_pickles_and_streams_keep_every_bit(scheme, rng, tmp_path):
    x = rng.normal(size=(40, 96)).astype(np.float32)
    q = qc.quantize(x, scheme=scheme)
    each = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}.get(KINDS[scheme].element, 8)
    groups = q.scale.size
    assert q.nbytes == 40 * 96 * each // 8 + groups + (4 if scheme == "nvfp4" else 0)
    qc.save(tmp_path / "a.safetensors", {"w": q, "x": x})
    again = qc.load(tmp_path / "a.safetensors")["w"]
    assert again == q
    assert again.scale.dtype == np.float32
    assert copy.deepcopy(q) == q
    np.testing.assert_array_equal(np.asarray(again), np.asarray(q))
    qc.save(tmp_path / "x.safetensors", {"w": x})
    qc.compress(tmp_path / "x.safetensors", output=tmp_path / "y.safetensors", scheme=scheme)
    assert qc.load(tmp_path / "y.safetensors")["w"] == q
    kept = qc.Quantizer(scheme=scheme).fit_transform({"w": x})["w"]
    assert kept == q
    assert scheme in q.kind


@pytest.mark.parametrize("scheme", KINDS)
def test_layers_multiply_what_the_codes_stand_for(scheme, rng):
    for columns in (64, 50):
        w = rng.normal(size=(24, columns)).astype(np.float32)
        q = qc.quantize(w, scheme=scheme)
        for rows in (1, 9):
            x = rng.normal(size=(rows, columns)).astype(np.float32)
            want = x.astype(np.float64) @ q.dequantize(dtype=np.float64).T
            np.testing.assert_allclose(qc.linear(x, q), want, rtol=1e-5, atol=1e-4)
        net = qc.nn.Sequential.from_arrays([w], [w[:, 0]], layout="out_in")
        small = qc.Quantizer(scheme=scheme).fit_transform(net)
        assert small.named_weights()["fc1.weight"] == q
        np.testing.assert_allclose(small.predict_logits(x), want + w[:, 0], rtol=1e-5, atol=1e-4)


def test_infinities_saturate_and_what_does_not_fit_is_refused(rng):
    x = np.array([[1.0, np.inf, -np.inf, 2.0]], np.float32)
    q = qc.quantize(x, scheme="mxfp4")
    assert q.clipped == 2
    np.testing.assert_array_equal(q.dequantize(), [[1.0, 3.0, -3.0, 2.0]])
    with pytest.raises(ValueError, match=r"x\[0, 0\]"):
        qc.quantize(np.float32([[np.nan]]), scheme="mxfp4")
    with pytest.raises(ValueError, match="group_size is 16; mxfp4 has 32"):
        qc.quantize(x, scheme="mxfp4", group_size=16)
    with pytest.raises(ValueError, match="both given"):
        qc.quantize(x, scheme="mxfp4", axis=0)
    with pytest.raises(ValueError, match="bits is 5; mxfp4 has 4"):
        qc.quantize(x, 5, scheme="mxfp4")
    with pytest.raises(ValueError, match=r"3\.0, which is no value of F8_E8M0"):
        qc.quantize(x, scheme="mxfp4", scale=[[3.0]])
    given = qc.quantize(x, scheme="mxfp4", scale=[[4.0]])
    np.testing.assert_array_equal(given.dequantize(), [[0.0, 24.0, -24.0, 2.0]])
    codes = np.zeros((1, 16), np.uint8)
    with pytest.raises(ValueError, match="nvfp4 has one"):
        qc.QTensor.from_parts(codes, [[1.0]], group_size=16, bits=4, signed=False, scheme="nvfp4")
    with pytest.raises(ValueError, match="group_size is 16; mxfp4 has 32"):
        qc.QTensor.from_parts(codes, [[1.0]], group_size=16, bits=4, signed=False, scheme="mxfp4")


@pytest.mark.parametrize("scheme", KINDS)
def test_every_code_survives_a_file(scheme, tmp_path):
    group = KINDS[scheme].group_size
    bits = KINDS[scheme].float.bits
    codes = np.resize(np.arange(2**bits, dtype=np.uint8), (8, 4 * group))
    scale = np.ldexp(np.float32(1), np.arange(32).reshape(8, 4) - 6)
    whole = 0.37 if scheme == "nvfp4" else None
    if whole is not None:
        scale = scale.clip(2.0**-6, 256) * np.float32(whole)
    q = qc.QTensor.from_parts(
        codes, scale, group_size=group, bits=bits, signed=False, scheme=scheme, tensor_scale=whole
    )
    qc.save(tmp_path / "q.safetensors", q)
    again = qc.load(tmp_path / "q.safetensors")
    np.testing.assert_array_equal(again.values, codes)
    np.testing.assert_array_equal(again.scale, q.scale)
    kind = np.dtype(getattr(ml_dtypes, ELEMENTS[KINDS[scheme].element]))
    want = codes.view(kind).astype(np.float32) * np.repeat(q.scale, group, axis=-1)
    np.testing.assert_array_equal(q.dequantize(), want)
    assert not np.signbit(q.dequantize())[codes == 0].any()
