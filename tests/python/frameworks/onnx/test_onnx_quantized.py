"""Quantized ONNX graphs in and out, beside ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore.arrays.tensor.tensor import QTensor
from qcore.graph.node import Node
from qcore.graph.value import Value

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")


def normal(*shape: int, seed: int) -> Any:
    values = np.random.default_rng(seed).standard_normal(shape)
    return (values / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def network(*, residual: bool = True) -> qc.Graph:
    """Convolutions, a depthwise one, a residual, pools, a concatenation, a dense layer."""
    same = {"pads": [1, 1, 1, 1]}
    nodes = [
        Node("stem", "Conv", ("x", "w0", "b0"), ("s",), same | {"activation": "relu"}),
        Node("pool", "MaxPool", ("s",), ("p",), {"kernel_shape": [2, 2], "strides": [2, 2]}),
        Node("depth", "Conv", ("p", "w1", "b1"), ("d",), same | {"group": 8, "activation": "relu"}),
        Node("point", "Conv", ("d", "w2", "b2", "p") if residual else ("d", "w2", "b2"), ("q",)),
        Node("join", "Concat", ("q", "d"), ("j",), {"axis": 1}),
        Node("mean", "GlobalAveragePool", ("j",), ("g",)),
        Node("flat", "Flatten", ("g",), ("f",)),
        Node("fc", "Gemm", ("f", "w3", "b3"), ("y",), {"transB": 1}),
    ]
    return qc.Graph(
        nodes,
        inputs=[Value("x", "float32", ("n", 3, 12, 12))],
        outputs=[Value("y", "float32", ("n", 5))],
        constants={
            "w0": normal(8, 3, 3, 3, seed=0), "b0": normal(8, 1, seed=1).ravel(),
            "w1": normal(8, 1, 3, 3, seed=2), "b1": normal(8, 1, seed=3).ravel(),
            "w2": normal(8, 8, 1, 1, seed=4), "b2": normal(8, 1, seed=5).ravel(),
            "w3": normal(5, 16, seed=6), "b3": normal(5, 1, seed=7).ravel(),
        },
    )  # fmt: skip


def samples(count: int = 48) -> Any:
    return np.random.default_rng(9).standard_normal((count, 3, 12, 12)).astype(np.float32)


def runtime(model: Any) -> Any:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_codes_go_out_as_quantize_and_dequantize() -> None:
    net, x = network(), samples()
    small = qc.Quantizer(8, progress=False).fit_transform(net, x)
    model = small.to_onnx()
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("QuantizeLinear") == len(small.codes)
    # Weights stay codes: four of them, beside the biases of integers.
    stored = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    weights = [name for name in stored if name.endswith(":codes")]
    assert len(weights) == 4
    assert {stored[name] for name in weights} <= {2, 3}
    # Nothing is there twice: a bias of integers is not a float one as well.
    read = {name for node in model.graph.node for name in node.input}
    assert set(stored) <= read
    found = runtime(model).run(None, {"x": x})[0]
    # The last product is of floats: codes that are one step apart move it by little.
    assert np.abs(found - small(x)).max() < 0.02
    assert np.mean(found.argmax(1) == small(x).argmax(1)) > 0.95


@pytest.mark.parametrize("residual", [False, True])
def test_every_value_is_that_of_onnx_runtime_within_one_code(residual: bool) -> None:
    net, x = network(residual=residual), samples()
    small = qc.Quantizer(8, progress=False).fit_transform(net, x)
    model = small.to_onnx()
    names = [name for name in small.codes if name in small.producers]
    for name in names:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    wanted = dict(zip(names, runtime(model).run(names, {"x": x}), strict=True))
    found = small.run({"x": x}, names)
    for name in names:
        steps = np.abs(found[name] - wanted[name]) / float(small.codes[name].scale)
        assert steps.max() < 1.01, name
        assert np.mean(steps > 0.5) < 0.02, name


def test_a_channel_of_next_to_no_weight_is_that_of_onnx_runtime() -> None:
    # Its bias is beyond int32 in units of its sums, where a runtime that quantizes it saturates.
    net, x = network(residual=False), samples()
    weight, bias = net.constants["w1"].copy(), net.constants["b1"].copy()
    weight[2] *= np.float32(1e-9)
    weight[5] *= np.float32(1e-20)
    bias[[2, 5]] = [0.7, 0.4]
    small = qc.Quantizer(8, algorithm=(), progress=False).fit_transform(
        net.with_weights({"w1": weight, "b1": bias}), x
    )
    model = small.to_onnx()
    onnx.checker.check_model(model, full_check=True)
    names = ["d", "q", "g"]
    for name in names:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    found = small.run({"x": x}, names)
    for name, wanted in zip(names, runtime(model).run(names, {"x": x}), strict=True):
        steps = np.abs(found[name] - wanted) / float(small.codes[name].scale)
        assert steps.max() < 1.01, name


def test_what_was_written_is_read_as_codes() -> None:
    net, x = network(), samples()
    small = qc.Quantizer(8, progress=False).fit_transform(net, x)
    again = qc.from_onnx(small.to_onnx())
    assert isinstance(again, qc.Graph)
    assert set(again.codes) == set(small.codes)
    for name, params in small.codes.items():
        assert float(again.codes[name].scale) == float(params.scale)
    weights = [value for value in again.constants.values() if isinstance(value, QTensor)]
    assert len(weights) == 4
    np.testing.assert_allclose(again(x), small(x), atol=0.02)


def quantized_by_runtime(tmp_path: Path, style: str) -> Any:
    quantization = pytest.importorskip("onnxruntime.quantization")
    source, target = tmp_path / "float.onnx", tmp_path / f"{style}.onnx"
    network(residual=False).to_onnx(source)

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = list(samples())

        def get_next(self) -> Any:
            return {"x": self.left.pop()[None]} if self.left else None

    formats = quantization.QuantFormat
    quantization.quantize_static(
        str(source), str(target), Reader(), per_channel=style == "QDQ",
        quant_format=formats.QDQ if style == "QDQ" else formats.QOperator,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip
    return onnx.load(target)


@pytest.mark.parametrize("style", ["QDQ", "QOperator"])
@pytest.mark.parametrize("exact", [None, "onnx"])
def test_models_that_onnx_runtime_quantized(tmp_path: Path, style: str, exact: str | None) -> None:
    model = quantized_by_runtime(tmp_path, style)
    net = qc.from_onnx(model, exact=exact)
    assert isinstance(net, qc.Graph)
    assert net.exact == exact
    assert len(net.codes) >= 6
    assert sum(isinstance(value, QTensor) for value in net.constants.values()) >= 3
    x = samples()
    wanted = runtime(model).run(None, {"x": x})[0]
    assert np.abs(net(x) - wanted).max() < 0.05 * np.abs(wanted).max()
    path = tmp_path / "kept.safetensors"
    net.save(path)
    again = qc.load(path)
    assert again.exact == exact
    np.testing.assert_array_equal(again(x), net(x))


def test_dynamic_quantization_is_its_definition(tmp_path: Path) -> None:
    helper, tensor = onnx.helper, onnx.TensorProto
    b = np.random.default_rng(0).integers(-100, 100, (6, 5)).astype(np.int8)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "b", "z"], ["p"]),
        helper.make_node("Cast", ["p"], ["f"], to=1),
        helper.make_node("Mul", ["f", "s"], ["y"]),
    ]
    made = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", tensor.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("y", tensor.FLOAT, ["n", 5]),
         helper.make_tensor_value_info("p", tensor.INT32, ["n", 5])],
        [onnx.numpy_helper.from_array(b, "b")],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    x = np.random.default_rng(1).standard_normal((7, 6)).astype(np.float32)
    wanted = runtime(model).run(["y", "p"], {"x": x})
    found = qc.from_onnx(model).run({"x": x})
    np.testing.assert_array_equal(found["p"], wanted[1])
    np.testing.assert_allclose(found["y"], wanted[0], rtol=1e-6)


def test_integers_of_a_convolution() -> None:
    helper, tensor = onnx.helper, onnx.TensorProto
    rng = np.random.default_rng(2)
    w = rng.integers(-100, 100, (4, 3, 3, 3)).astype(np.int8)
    nodes = [helper.make_node("ConvInteger", ["x", "w", "z"], ["y"], pads=[1, 1, 1, 1])]
    made = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", tensor.UINT8, [2, 3, 8, 8])],
        [helper.make_tensor_value_info("y", tensor.INT32, [2, 4, 8, 8])],
        [onnx.numpy_helper.from_array(w, "w"),
         onnx.numpy_helper.from_array(np.uint8(100), "z")],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    x = rng.integers(0, 256, (2, 3, 8, 8)).astype(np.uint8)
    np.testing.assert_array_equal(
        qc.from_onnx(model).run({"x": x})["y"], runtime(model).run(None, {"x": x})[0]
    )


def test_exact_is_for_what_it_is_known_of() -> None:
    with pytest.raises(ValueError, match="exact"):
        network().changed(exact="other")
