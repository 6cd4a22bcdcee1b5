"""TFLite's int8 networks: LiteRT's integers to the bit where they are asked for, near them else."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import qcore as qc
from qcore.arrays.tensor.tensor import QTensor

pytest.importorskip("tflite")
ROOT = Path(__file__).parents[4]
TINY = ROOT.parent / "shared" / "tiny"
pytestmark = [
    pytest.mark.skipif(not TINY.is_dir(), reason="needs MLPerf Tiny's reference networks"),
    pytest.mark.filterwarnings("ignore"),
]
sys.path.insert(0, str(ROOT))  # the comparison that the documents quote
NETWORKS = ("resnet8", "dscnn_kws", "mobilenetv1_vww", "autoencoder", "wakeword")


def both(name: str, exact: str | None, count: int):
    pytest.importorskip("ai_edge_litert.interpreter")
    from benches.tiny.exactness import compared, inputs, reference

    path = TINY / f"{name}_int8.tflite"
    net, interpreter = qc.from_tflite(path, exact=exact), reference(path)
    shape = tuple(interpreter.get_input_details()[0]["shape"])
    for x in inputs(shape, count):
        yield from compared(net, interpreter, x)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_has_the_integers_of_the_reference_kernels(name):
    seen = set()
    for tensor, found, wanted in both(name, "tflite", 4):
        np.testing.assert_array_equal(found, wanted, err_msg=tensor)
        seen.add(tensor)
    # All but the input, which is given.
    assert len(seen) >= {"resnet8": 16, "mobilenetv1_vww": 31}.get(name, 10)


@pytest.mark.parametrize("name", NETWORKS)
def test_integers_of_our_own_are_near(name):
    last = [found - wanted for _, found, wanted in both(name, None, 4)][-1]
    assert np.abs(last).max() <= 24


def test_types_and_codes_are_those_of_the_file(tmp_path):
    net = qc.load(TINY / "dscnn_kws_int8.tflite", exact="tflite")
    assert net.exact == "tflite"
    assert net.inputs[0].dtype == net.outputs[0].dtype == "int8"
    assert net.inputs[0].shape == ("batch", 49, 10, 1)
    weights = [value for value in net.constants.values() if isinstance(value, QTensor)]
    assert len(weights) == 10
    assert {value.axis for value in weights} == {0, None}
    data = np.load(TINY / "kws_test.npz")
    x = data["x"][:20]
    found = np.concatenate([net(row[None]) for row in x])
    assert np.mean(found.argmax(1) == data["y"][:20]) >= 0.8
    net.save(tmp_path / "net.safetensors")
    again = qc.load(tmp_path / "net.safetensors")
    assert again.exact == "tflite"
    np.testing.assert_array_equal(np.concatenate([again(row[None]) for row in x]), found)
