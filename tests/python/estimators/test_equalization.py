"""Scales that move between layers: the network computes the same, and quantizes better."""

import numpy as np
import pytest

import qcore as qc
from layers import inputs, network
from qcore.arrays.layerwise.algorithms import EQUALIZERS
from qcore.estimators.equalization.equalization import equalizing_scales, scaled


def options_of(name):
    return {"bits": 4, "group_size": 8}


def outlier_network():
    """Return a network with one hidden unit 3,000 times as large as the rest."""
    net = network()
    first, bias = net.layers[0].weight.copy(), net.layers[0].bias.copy()
    second = net.layers[1].weight.copy()
    first[0], bias[0] = first[0] * 3000, bias[0] * 3000
    second[:, 0] /= 3000
    return net.with_weights({"fc1.weight": first, "fc1.bias": bias, "fc2.weight": second})


@pytest.mark.parametrize("method", EQUALIZERS)
def test_the_network_computes_the_same(method):
    net, x = outlier_network(), inputs(300)
    scales = equalizing_scales(net, method, x, options_of)
    assert set(scales) == {"fc1", "fc2"}
    assert all((np.log2(scale) % 1 == 0).all() for scale in scales.values())
    moved = scaled(net, scales)
    np.testing.assert_allclose(moved.predict_logits(x), net.predict_logits(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", EQUALIZERS)
def test_an_outlier_unit_quantizes_well(method):
    net, x = outlier_network(), inputs(2000)
    exact = net.predict_logits(x[1000:])
    off = []
    for algorithm in ((), method, (method, "gptq", "bias_correction")):
        small = qc.Quantizer(8, algorithm=algorithm).fit_transform(net, x[:1000])
        off.append(np.mean((small.predict_logits(x[1000:]) - exact) ** 2))
    assert off[1] < off[0] / 10
    assert off[2] < off[0] / 10


def test_what_cannot_be_scaled_is_left_or_refused():
    net, x = network(), inputs(100)
    layers = [qc.nn.Dense.from_weights(layer.weight, layer.bias, layout="out_in",
              activation="tanh") for layer in net.layers]  # fmt: skip
    assert equalizing_scales(qc.nn.Sequential(layers), "smoothquant", x, options_of) == {}
    with pytest.raises(ValueError, match="smoothquant needs samples"):
        qc.Quantizer(8, algorithm="smoothquant").fit(net)
    with pytest.raises(ValueError, match="which is for networks"):
        qc.Quantizer(8, algorithm="smoothquant").fit(net.named_weights())
    qc.Quantizer(8, algorithm="cross_layer_equalization").fit_transform(net)
