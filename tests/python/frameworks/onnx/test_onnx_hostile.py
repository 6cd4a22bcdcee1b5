"""ONNX files that were tampered with: each is read, or refused by a word of ours."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
import pytest

import qcore as qc
from qcore.frameworks.onnx.read.graph import read_graph

pytestmark = pytest.mark.filterwarnings("ignore")
node = onnx.helper.make_node


def model(*nodes, inputs=("x",), outputs=("y",), opset=17, **constants):
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info(name, 1, ["n", 3, 8, 8]) for name in inputs],
        [onnx.helper.make_tensor_value_info(name, 1, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])


def decoding(zero=None, **attributes):
    """Return a model of codes (4, 6) with four scales, and what is wrong with it."""
    zero = np.zeros(4, np.int8) if zero is None else zero
    dq = node("DequantizeLinear", ["c", "s", "z"], ["y"], name="dq", **attributes)
    codes, scale = np.ones((4, 6), np.int8), np.ones(4, np.float32)
    return model(dq, inputs=(), opset=21, c=codes, s=scale, z=zero)


def multiplied(zero):
    """Return a model of a product of codes, whose result has this zero point."""
    one, none = np.ones((), np.float32), np.zeros((), np.int8)
    product = node("QLinearMatMul", ["c", "s", "z", "c", "s", "z", "x", "to"], ["y"], name="q")
    return model(product, opset=21, c=np.ones((3, 3), np.int8), s=one, z=none, to=zero)


W = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
CONV = node("Conv", ["x", "w"], ["h"], name="conv", pads=[1, 1, 1, 1])


def test_mutated_files_end_in_an_error_of_ours(tmp_path):
    good = model(
        CONV, node("Relu", ["h"], ["r"]), node("MaxPool", ["r"], ["m"], kernel_shape=[2, 2]),
        node("Flatten", ["m"], ["f"]), node("Gemm", ["f", "v"], ["y"], transB=1), w=W,
        v=np.ones((5, 196), np.float32),
    ).SerializeToString()  # fmt: skip
    rng = np.random.default_rng(0)
    path = tmp_path / "m.onnx"
    for _ in range(150):
        broken = bytearray(good)
        for place in rng.integers(0, len(good), rng.integers(1, 6)):
            broken[place] = rng.integers(0, 256)
        path.write_bytes(broken)
        with contextlib.suppress(qc.FormatError, qc.UnsupportedError):
            qc.load(path)
    for cut in range(1, len(good), len(good) // 40):
        path.write_bytes(good[:cut])
        with contextlib.suppress(qc.FormatError, qc.UnsupportedError):
            qc.load(path)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (model(node("Relu", ["z"], ["y"]), w=W), "reads 'z', which nothing makes"),
        (model(CONV, node("Relu", ["h"], ["y"]), node("Relu", ["h"], ["y"]), w=W), "there already"),
        (model(node("Add", ["x", "y"], ["z"]), node("Relu", ["z"], ["y"])), "cycle"),
        (model(CONV, w=W), "output 'y' is made by no node"),
        (model(node("Relu", ["x", "x"], ["y"])), "node Relu .* has 2 inputs; it takes 1"),
        (model(node("Relu", ["x"], ["y"], alpha=1.0)), "has the attribute 'alpha'"),
        (model(node("Softmax", ["x"], ["y"], axis=1.5)), "node Softmax .* has axis of type 1"),
        (model(node("Conv", ["x", "w"], ["y"], group=0), w=W), "group"),
        (model(node("Sum", ["x", "", "x"], ["y"])), "node 'y' .Sum. leaves out input 1"),
        (decoding(zero=np.zeros(3, np.int8)), "node 'dq' .*3 zero points for 4 scales"),
        (decoding(zero=np.zeros(0, np.int8)), "node 'dq' .*0 zero points for 4 scales"),
        (decoding(axis=7), "node 'dq' .*the axis is 7, of codes of 2 dims"),
        (decoding(axis=1), "node 'dq' .*not those of axis 1 .* must be of shape \\(6,\\)"),
        (decoding(axis=1, block_size=-1), "node 'dq' .*block_size is -1"),
        (decoding(axis=1, block_size=2), "node 'dq' .*must be of shape \\(4, 3\\)"),
        (multiplied(np.zeros((), np.float32)), "zero point is float32; it must be uint8 or int8"),
    ],
)
def test_graphs_that_cannot_be_say_why(broken, reason):
    with pytest.raises(qc.FormatError, match=reason):
        qc.from_onnx(broken)


def test_every_missing_op_is_listed_with_its_count_and_first_node():
    found = model(
        node("NonMaxSuppression", ["x", "x"], ["a"], name="nms"),
        node("Det", ["x"], ["b"], name="d1"), node("Det", ["x"], ["y"], name="d2"),
    )  # fmt: skip
    with pytest.raises(qc.UnsupportedError, match=r"Det \(2 nodes, the first is 'd1'\)") as error:
        qc.from_onnx(found)
    assert error.value.ops == (("NonMaxSuppression", 1, "nms"), ("Det", 2, "d1"))
    with pytest.raises(qc.UnsupportedError, match="opset 6; 7 to 28 are read"):
        read_graph(model(node("Relu", ["x"], ["y"]), opset=6))


def test_shapes_that_do_not_fit_name_the_node_when_it_runs():
    net = qc.from_onnx(model(node("Conv", ["x", "w"], ["y"], name="conv"), w=W[:, :2]))
    with pytest.raises(ValueError, match="conv"):
        net(np.zeros((1, 3, 8, 8), np.float32))


def test_onnx_runtime_runs_what_there_is_not(tmp_path):
    pytest.importorskip("onnxruntime")
    whole = model(
        CONV, node("Exp", ["h"], ["e"]), node("Add", ["e", "one"], ["a"]),
        node("GlobalLpPool", ["a"], ["b"], name="odd"), node("Relu", ["b"], ["r"]),
        node("Add", ["r", "h"], ["y"]), w=W, one=np.float32(1),
    )  # fmt: skip

    path = tmp_path / "m.onnx"
    path.write_bytes(whole.SerializeToString())
    with pytest.raises(qc.UnsupportedError, match="GlobalLpPool"):
        qc.load(path)
    with pytest.raises(ValueError, match="fallback is 'torch'"):
        qc.load(path, fallback="torch")
    net = qc.load(path, fallback="onnxruntime")
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    import onnxruntime

    wanted = onnxruntime.InferenceSession(path).run(None, {"x": x})[0]
    np.testing.assert_allclose(net(x), wanted, rtol=1e-4, atol=1e-5)
    assert net.fallback_ops == (("GlobalLpPool", 1, "odd"),)
    assert 0 < net.fallback_share_ < 1
    assert repr(net) == "MixedGraph(3 parts, 1 of them in ONNX Runtime)"
