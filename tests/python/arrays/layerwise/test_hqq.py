"""Steps and zero points from the weights alone: never worse than rounding, and zero stays zero."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import qcore as qc
from layers import inputs, network, weights
from qcore.arrays.layerwise.hqq import fit_groups

LAYOUTS = [{"axis": 0}, {"group_size": 8}, {"group_size": 10}, {}]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_are_as_near_as_by_any_range(bits, layout):
    w = weights()
    q = qc.quantize(w, bits=bits, algorithm="hqq", **layout)
    off = np.sum((q.dequantize(dtype=np.float64) - w) ** 2)
    for options in ({}, {"observer": "mse"}, {"symmetric": False, "observer": "mse"}):
        if bits == 8 and options.get("symmetric") is False:
            continue  # int8 kernels want symmetric codes of 8 bits, so they are
        plain = qc.quantize(w, bits=bits, **layout, **options)
        assert off <= 1.03 * np.sum((plain.dequantize(dtype=np.float64) - w) ** 2)
    parts = qc.QTensor.from_parts(
        q.values, q.scale, q.zero_point, axis=q.axis, group_size=q.group_size, bits=q.bits,
        scale_dtype=q.scale_dtype,
    )  # fmt: skip
    assert parts == q


def test_a_few_values_are_as_good_as_brute_force():
    w = np.random.default_rng(0).standard_normal((20, 5))
    scale, zero = fit_groups(w, -2, 1)
    for row, step, point in zip(w, scale, zero, strict=True):
        levels = np.clip(np.rint(row / step), -2 - point, 1 - point)
        found = np.sum((row - levels * step) ** 2)
        best = np.inf
        for one in range(-2, 2):
            every = np.array(list(itertools.product(range(-2 - one, 2 - one), repeat=5)))
            power = np.sum(every**2, axis=1)
            gain = every @ row
            usable = (power > 0) & (gain > 0)
            best = min(best, np.sum(row**2) - (gain[usable] ** 2 / power[usable]).max())
        assert found <= best * 1.5 + 1e-12


@settings(deadline=None, max_examples=80)
@given(
    w=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=9),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    ),
    bits=st.integers(2, 8),
    layout=st.sampled_from(LAYOUTS),
    signed=st.booleans(),
)
def test_any_values(w, bits, layout, signed):
    q = qc.quantize(w, bits=bits, algorithm="hqq", signed=signed, **layout)
    real = q.dequantize(dtype=np.float64)
    assert np.isfinite(real).all()
    assert (real[w == 0] == 0).all()
    assert np.abs(real).max(initial=0) <= 4 * np.abs(w.astype(np.float64)).max(initial=0)
    again = qc.QTensor.from_parts(
        q.values, q.scale, q.zero_point, axis=q.axis, group_size=q.group_size, bits=bits,
        signed=signed, scale_dtype=q.scale_dtype,
    )  # fmt: skip
    assert again == q


@pytest.mark.parametrize(
    "w", [np.zeros((3, 4)), np.full((3, 4), 0.7), np.full((3, 4), 1e-42), np.zeros((0, 4)),
          np.array([[3.0]]), np.full((2, 3), 3e38)], ids=["zero", "constant", "denormal", "empty",
          "one", "huge"])  # fmt: skip
def test_degenerate_groups(w):
    w = w.astype(np.float32)
    q = qc.quantize(w, bits=3, algorithm="hqq", axis=0)
    assert q.shape == w.shape
    tolerance = 1e-37 if w.size and abs(w).max() < 1e-37 else 1e-6 * np.abs(w).max(initial=0)
    np.testing.assert_allclose(q.dequantize(), w, atol=tolerance)


def test_outliers_weigh_less_with_a_smaller_exponent():
    w = np.random.default_rng(1).standard_normal((50, 32))
    w[:, 0] = 30
    scale = {norm: fit_groups(w, -4, 3, norm=norm)[0].mean() for norm in (0.7, 2.0)}
    assert scale[0.7] < scale[2.0]
    with pytest.raises(ValueError, match=r"norm is 1\.5"):
        fit_groups(w, -4, 3, norm=1.5)


def test_a_network_and_a_dict_need_no_samples():
    net, x = network(), inputs(500)
    exact = net.predict_logits(x)
    for options in ({}, {"group_size": 8}):
        small = qc.Quantizer(3, algorithm="hqq", **options).fit_transform(net)
        plain = qc.Quantizer(3, observer="minmax", **options).fit_transform(net)
        off = [np.mean((n.predict_logits(x) - exact) ** 2) for n in (small, plain)]
        assert off[0] < off[1]
    named = qc.Quantizer(3, algorithm="hqq").fit_transform(net.named_weights())
    assert named["fc1.weight"].bits == 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"algorithm": ("hqq", "gptq")}, "hqq fits codes by itself"),
        ({"algorithm": "hqq", "axis": 1}, "axis is 1"),
        ({"algorithm": "hqq", "scale": 1.0}, "scale is 1.0"),
        ({"algorithm": "hqq", "observer": "mse"}, "observer is 'mse'"),
        ({"algorithm": "awq"}, "which is for networks"),
        ({"algorithm": "magic"}, "algorithm is 'magic'"),
    ],
)
def test_what_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        qc.quantize(weights(), bits=4, **options)
