"""Graphs of every opset that is read, with constants beside the file, of all float types."""

from __future__ import annotations

import numpy as np
import pytest

import qcore as qc

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

RNG = np.random.default_rng(0)
CONV = (RNG.standard_normal((4, 3, 3, 3)) / 5).astype(np.float32)
HEAD = (RNG.standard_normal((4, 2)) / 2).astype(np.float32)
X = RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)


def cnn(opset, element=TensorProto.FLOAT):
    """A network whose ops changed their spelling over the opsets: axes and pads."""

    def constant(name, values):
        cast = helper.make_tensor(name, element, values.shape, values.ravel().tolist())
        return numpy_helper.from_array(values, name) if element == TensorProto.FLOAT else cast

    constants = [constant("conv", CONV), constant("head", HEAD)]
    if opset < 13:
        squeeze = helper.make_node("Squeeze", ["m"], ["s"], axes=[2, 3])
    else:
        constants.append(numpy_helper.from_array(np.int64([2, 3]), "axes"))
        squeeze = helper.make_node("Squeeze", ["m", "axes"], ["s"])
    if opset < 18:
        mean = helper.make_node("ReduceMean", ["r"], ["m"], axes=[2, 3], keepdims=1)
    else:
        constants.append(numpy_helper.from_array(np.int64([2, 3]), "over"))
        mean = helper.make_node("ReduceMean", ["r", "over"], ["m"], keepdims=1)
    nodes = [
        helper.make_node("Conv", ["x", "conv"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        mean,
        squeeze,
        helper.make_node("MatMul", ["s", "head"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", element, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", element, ["n", 2])],
        constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def expected(conv, head):
    """The network in plain NumPy."""
    padded = np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    hidden = np.maximum(np.einsum("nchwij,ocij->nohw", windows, conv), 0)
    return hidden.mean(axis=(2, 3)) @ head


@pytest.mark.parametrize("opset", range(11, 29))
def test_every_opset_gives_the_same_network(opset, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(cnn(opset).SerializeToString())
    np.testing.assert_allclose(qc.load(path)(X), expected(CONV, HEAD), atol=1e-5)


def test_constants_may_lie_beside_the_file(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(cnn(21), path, save_as_external_data=True, location="net.bin", size_threshold=0)
    assert (tmp_path / "net.bin").stat().st_size >= CONV.nbytes
    net = qc.load(path)
    np.testing.assert_allclose(net(X), expected(CONV, HEAD), atol=1e-5)
    small = qc.compress(net, X)
    small.save(tmp_path / "small.safetensors")
    (tmp_path / "net.bin").unlink()
    np.testing.assert_array_equal(qc.load(tmp_path / "small.safetensors")(X), small(X))
    with pytest.raises((qc.FormatError, OSError), match=r"net\.bin"):
        qc.load(path)


@pytest.mark.parametrize(
    ("element", "bits"), [(TensorProto.FLOAT16, 10), (TensorProto.BFLOAT16, 7)]
)
def test_narrow_floats_run_as_float32_and_come_back_narrow(element, bits, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(cnn(21, element).SerializeToString())
    net = qc.load(path)
    x = X.astype(np.float16) if element == TensorProto.FLOAT16 else X
    found = net(x)
    assert net.outputs[0].dtype == ("float16" if element == TensorProto.FLOAT16 else "bfloat16")
    np.testing.assert_allclose(np.asarray(found, np.float32), expected(CONV, HEAD), atol=2.0**-bits)
