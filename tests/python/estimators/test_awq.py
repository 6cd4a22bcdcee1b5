"""Activation-aware scaling: the layer computes the same, and large inputs meet finer steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore as qc
from layers import inputs, network, output_error, weights
from qcore.estimators.equalization.awq import activation_aware_scale

OPTIONS = {"bits": 3, "group_size": 8}


def salient(rows=500):
    x = inputs(rows)
    x[:, ::6] *= 20
    return x


def test_outputs_are_nearer_where_some_inputs_are_large():
    x, w = salient(), weights()
    stats = qc.InputStats().update(x)
    scale = activation_aware_scale(w, stats, **OPTIONS)
    q = qc.quantize(w * scale, **OPTIONS)
    plain = qc.quantize(w, **OPTIONS)
    off = x @ w.T - (x / scale) @ q.dequantize().T
    assert np.sum(off.astype(np.float64) ** 2) < output_error(w, plain, x) / 2
    assert scale[::6].min() > np.delete(scale, np.s_[::6]).max()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), powers=st.booleans(), dead=st.booleans())
def test_it_is_never_worse_than_no_scaling(seed, powers, dead):
    x, w = inputs(100, seed=seed), weights(seed=seed + 1)
    if dead:
        x[:, 3] = 0
    stats = qc.InputStats().update(x)
    scale = activation_aware_scale(w, stats, powers_of_two=powers, **OPTIONS)
    assert (scale > 0).all()
    assert np.isfinite(scale).all()
    if powers:
        assert (np.log2(scale) % 1 == 0).all()
    off = w - qc.quantize(w * scale, **OPTIONS).dequantize(dtype=np.float64) / scale
    lost = np.sum((off @ stats.gram) * off)
    assert lost <= output_error(w, qc.quantize(w, **OPTIONS), x) * (1 + 1e-4)


def test_inputs_that_are_all_zero_scale_nothing():
    stats = qc.InputStats().update(np.zeros((9, 24), np.float32))
    np.testing.assert_array_equal(activation_aware_scale(weights(), stats, **OPTIONS), np.ones(24))


def test_a_network_with_salient_units_is_nearer():
    net, x = network(), inputs(2000)
    first, bias = net.layers[0].weight.copy(), net.layers[0].bias.copy()
    second = net.layers[1].weight.copy()
    first[::4], bias[::4], second[:, ::4] = first[::4] * 16, bias[::4] * 16, second[:, ::4] / 16
    net = net.with_weights({"fc1.weight": first, "fc1.bias": bias, "fc2.weight": second})
    exact = net.predict_logits(x[1000:])
    off = []
    for algorithm in ((), "awq"):
        quantizer = qc.Quantizer(4, group_size=8, algorithm=algorithm)
        small = quantizer.fit_transform(net, x[:1000])
        off.append(np.mean((small.predict_logits(x[1000:]) - exact) ** 2))
    assert off[1] < off[0] / 2


def test_what_is_refused():
    stats = qc.InputStats().update(inputs())
    with pytest.raises(ValueError, match=r"must be \(out, 24\)"):
        activation_aware_scale(weights(columns=23), stats)
    with pytest.raises(ValueError, match="awq needs samples"):
        qc.Quantizer(4, group_size=8, algorithm="awq").fit(network())
    with pytest.raises(ValueError, match="which is for networks"):
        qc.Quantizer(4, algorithm="awq").fit({"w": weights()})
    with pytest.raises(ValueError, match="it is for all"):
        qc.Quantizer(4, algorithm={"fc2": "awq", "*": ()}).fit(network(), inputs())
