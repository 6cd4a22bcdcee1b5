"""`qcore.compact`: smaller arrays, the same results."""

from itertools import pairwise

import numpy as np
import pytest

import qcore as qc


def network(activation="relu", seed=0, sizes=(12, 20, 14, 5)):
    rng = np.random.default_rng(seed)
    pairs = list(pairwise(sizes))
    return qc.nn.Sequential.from_arrays(
        [rng.standard_normal((out, into)) for into, out in pairs],
        [rng.standard_normal(out) for _, out in pairs],
        layout="out_in",
        activation=activation,
        output="linear",
    )


def samples(n=50, inputs=12):
    return np.random.default_rng(9).standard_normal((n, inputs)).astype(np.float32)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "linear"])
def test_pruned_neurons_leave_and_nothing_changes(activation):
    pruned = qc.Pruner(0.5, pattern="neurons", scope="layer").fit_transform(network(activation))
    small = qc.compact(pruned)
    assert [layer.weight.shape for layer in small.layers] == [(10, 12), (7, 10), (5, 7)]
    assert [layer.bias.shape for layer in small.layers] == [(10,), (7,), (5,)]
    X = samples()
    np.testing.assert_allclose(
        small.predict_proba(X), pruned.predict_proba(X), rtol=1e-5, atol=1e-5
    )
    assert pruned.layers[0].weight.shape == (20, 12)


def test_neurons_that_nobody_reads_leave_in_chains():
    net = network()
    weights = net.named_weights()
    second, third = weights["fc2.weight"].copy(), weights["fc3.weight"].copy()
    third[:, 3:9] = 0  # so these rows of fc2 go, and with them all that reads fc1's first five
    second[[row for row in range(14) if not 3 <= row < 9], :5] = 0
    net = net.with_weights({"fc2.weight": second, "fc3.weight": third})
    small = qc.compact(net)
    assert [layer.out_features for layer in small.layers] == [15, 8, 5]
    np.testing.assert_allclose(
        small.predict_proba(samples()), net.predict_proba(samples()), rtol=1e-5, atol=1e-5
    )
    report = small.report_.to_dict()
    assert [row["removed neurons"] for row in report["rows"]] == [5, 6, 0]
    assert report["totals"]["bytes"] == small.nbytes


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_a_layer_that_dies_altogether_keeps_one_neuron(activation):
    net = network(activation)
    dead = {"fc2.weight": np.zeros((14, 20), np.float32)}
    net = net.with_weights(dead)
    small = qc.compact(net)
    assert small.layers[1].out_features == 1
    np.testing.assert_allclose(
        small.predict_proba(samples()), net.predict_proba(samples()), rtol=1e-5, atol=1e-5
    )


def test_networks_without_bias_gain_one_only_where_it_is_needed():
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((6, 4)), rng.standard_normal((3, 6))]
    weights[0][2] = 0
    for activation, needed in (("sigmoid", True), ("tanh", False)):
        net = qc.nn.Sequential.from_arrays(
            weights, [None, None], layout="out_in", activation=activation, output="linear"
        )
        small = qc.compact(net)
        assert small.layers[0].out_features == 5
        assert (small.layers[1].bias is not None) == needed
        X = samples(inputs=4)
        found, wanted = small.predict_proba(X), net.predict_proba(X)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_network_without_dead_neurons_stays():
    net = network()
    small = qc.compact(net)
    for before, after in zip(net.layers, small.layers, strict=True):
        np.testing.assert_array_equal(before.weight, after.weight)
    assert small.report_.totals["removed neurons"] == 0


def test_a_compact_network_saves_and_trains(tmp_path):
    small = qc.compact(qc.Pruner(0.5, pattern="neurons").fit_transform(network()))
    small.save(tmp_path / "small.safetensors")
    X = samples()
    loaded = qc.load(tmp_path / "small.safetensors")
    np.testing.assert_array_equal(loaded.predict_proba(X), small.predict_proba(X))
    small.fit(X, np.zeros((50, 5)), epochs=1, random_state=0)


def test_quantized_weights_are_refused():
    with pytest.raises(TypeError, match=r"fc1\.weight is a QTensor; compact before quantizing"):
        qc.compact(qc.compress(network(), bits=8))
