"""What calibration sees of a network is what the network computes."""

import itertools

import numpy as np
import pytest

import qcore as qc
from qcore.estimators.calibration.calibration import quantized_input


@pytest.mark.parametrize("width", [1, 7, 64, 130])
def test_dynamic_inputs_are_those_that_the_network_multiplies(width):
    """With codes 1 on the diagonal and scale 1, a layer gives back its input as it decoded it."""
    rng = np.random.default_rng(width)
    x = (rng.normal(size=(33, width)) * rng.uniform(0.01, 100, (33, 1))).astype(np.float32)
    x[0] = 0
    x[1, 0] = -np.abs(x[1]).max() * 1.5  # full range: the least code is -128
    unit = qc.QTensor.from_parts(np.eye(width, dtype=np.int8), np.ones(width), axis=0)
    layer = qc.nn.Dense.from_weights(unit, None, layout="out_in", activation="linear")
    layer.input_qparams = "dynamic"
    ran = qc.nn.Sequential([layer]).predict_logits(x)
    np.testing.assert_array_equal(quantized_input(x, "dynamic"), ran)
    scale = np.abs(x[1]).max() / np.float32(127.5)
    assert np.rint(ran[1, 0] / scale) == -128


def test_a_value_that_is_no_number_is_told_by_its_row():
    x = np.zeros((3, 5), np.float32)
    x[2, 4] = np.nan
    with pytest.raises(ValueError, match="row 2"):
        quantized_input(x, "dynamic")


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_ranges_through_a_network_do_not_depend_on_the_batches(activation):
    """The float reference has one order of sums: any split gives the same bits."""
    rng = np.random.default_rng(3)
    sizes = [300, 70, 33, 10]
    weights = [rng.normal(0, a**-0.5, (b, a)) for a, b in itertools.pairwise(sizes)]
    biases = [rng.normal(size=len(weight)) for weight in weights]
    net = qc.nn.Sequential.from_arrays(
        weights, biases, layout="out_in", activation=activation, output="softmax"
    )
    samples = rng.normal(size=(257, 300)).astype(np.float32)

    def outputs(X):
        for layer in net.layers:
            X = layer.forward(X)
            yield X

    whole = list(outputs(samples))
    for size in [1, 7, 64, 100]:
        starts = range(0, len(samples), size)
        parts = [list(outputs(samples[start : start + size])) for start in starts]
        for index, value in enumerate(whole):
            np.testing.assert_array_equal(np.concatenate([part[index] for part in parts]), value)
        for index, value in enumerate(whole):
            seen = qc.Observer("entropy")
            for part in reversed(parts):
                seen.update(part[index])
            wanted = qc.Observer("entropy").update(value).qparams(symmetric=False)
            assert seen.qparams(symmetric=False) == wanted
