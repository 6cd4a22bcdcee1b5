"""What calibration sees of a network is what the network computes."""

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
