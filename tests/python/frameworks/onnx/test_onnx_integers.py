"""Integers of ONNX that are found while a network runs: exactly those of its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import qcore as qc

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def both(
    nodes: list[Any], constants: dict[str, Any], outputs: dict[str, int], x: Any
) -> tuple[qc.Graph, Any, Any]:
    """Return a graph, and what ONNX Runtime and it give for an input."""
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", kind, ["n", *x.shape[1:]])],
            [helper.make_tensor_value_info(name, of, None) for name, of in outputs.items()],
            [numpy_helper.from_array(np.asarray(c), name) for name, c in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    net = qc.from_onnx(model)
    wanted = dict(zip(outputs, session.run(list(outputs), {"x": x}), strict=True))
    return net, wanted, net.run({"x": x})


@pytest.mark.parametrize("spread", [1.0, 1e-3, 0.0])
def test_codes_by_the_range_of_a_tensor_are_those_of_onnx(spread: float) -> None:
    x = np.random.default_rng(0).normal(0.3, 1, (5, 37)).astype(np.float32) * np.float32(spread)
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])
    kinds = {"y": TensorProto.UINT8, "s": TensorProto.FLOAT, "z": TensorProto.UINT8}
    net, wanted, found = both([node], {}, kinds, x)
    assert ("quantize by range") in [kernel for _, kernel in net.kernels({"x": x})]
    np.testing.assert_array_equal(found["y"], wanted["y"])
    np.testing.assert_array_equal(found["z"], wanted["z"])
    if spread:
        np.testing.assert_array_equal(found["s"], wanted["s"])


@pytest.mark.parametrize("of_weights", [np.int8, np.uint8])
@pytest.mark.parametrize("zeros", ["none", "one", "columns"])
@pytest.mark.parametrize("shape", [(4, 33), (2, 3, 33)])
def test_products_of_integers_are_exact(
    of_weights: Any, zeros: str, shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(1)
    limits = np.iinfo(of_weights)
    w = rng.integers(limits.min, limits.max, (33, 18), endpoint=True).astype(of_weights)
    x = rng.normal(0.5, 1, shape).astype(np.float32)
    constants: dict[str, Any] = {"w": w}
    inputs = ["c", "w", "z"]
    if zeros != "none":
        constants["wz"] = rng.integers(1, 90, () if zeros == "one" else 18).astype(of_weights)
        inputs.append("wz")
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["c", "s", "z"]),
        helper.make_node("MatMulInteger", inputs, ["y"]),
    ]
    net, wanted, found = both(nodes, constants, {"y": TensorProto.INT32}, x)
    assert "product of int8" in [kernel for _, kernel in net.kernels({"x": x})]
    np.testing.assert_array_equal(found["y"], wanted["y"])
    again = qc.from_onnx(net.to_onnx())
    np.testing.assert_array_equal(again.run({"x": x})["y"], wanted["y"])


def test_values_without_a_range_are_refused() -> None:
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])
    kinds = {"y": TensorProto.UINT8, "s": TensorProto.FLOAT, "z": TensorProto.UINT8}
    net, _, _ = both([node], {}, kinds, np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match="not finite"):
        net.run({"x": np.array([[1, np.nan, 2]], np.float32)})


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("zeros", [False, True])
def test_products_by_blocks_of_few_bits(bits: int, zeros: bool) -> None:
    rng = np.random.default_rng(2)
    inner, outer, block, half = 64, 24, 32, 1 << (bits - 1)
    codes = rng.integers(0, 1 << bits, (outer, 2, block)).astype(np.uint8)
    places = np.arange(0, 8, bits)
    parts = codes.reshape(outer, 2, -1, len(places)) << places
    packed = parts.sum(-1).astype(np.uint8)
    scales = rng.uniform(0.01, 0.1, (outer, 2)).astype(np.float32)
    x = rng.standard_normal((5, inner)).astype(np.float32)
    middle: Any = half
    constants: dict[str, Any] = {"w": packed, "s": scales.reshape(-1)}
    inputs = ["x", "w", "s"]
    if zeros:
        middle = rng.integers(0, 1 << bits, (outer, 2)).astype(np.uint8)
        wide = np.zeros((outer, -(-2 * bits // 8) * 8 // bits), np.uint8)
        wide[:, :2] = middle
        shifted = wide.reshape(outer, -1, len(places)) << places
        constants["z"] = shifted.sum(-1).astype(np.uint8).reshape(-1)
        inputs.append("z")
        middle = middle[..., None]
    real = (codes.astype(np.float32) - middle) * scales[..., None]
    wanted = x @ real.reshape(outer, inner).T
    for level in (0, 4):
        node = helper.make_node(
            "MatMulNBits", inputs, ["y"], domain="com.microsoft", K=inner, N=outer, bits=bits,
            block_size=block, accuracy_level=level,
        )  # fmt: skip
        model = helper.make_model(
            helper.make_graph(
                [node],
                "net",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inner])],
                [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outer])],
                [numpy_helper.from_array(np.asarray(c), name) for name, c in constants.items()],
            ),
            opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)],
            ir_version=8,
        )
        net = qc.from_onnx(model)
        found = net.run({"x": x})["y"]
        integers = level == 4 and bits < 8 and not zeros
        assert ("dense int4" in [k for _, k in net.kernels({"x": x})]) == integers
        atol = 0.02 * np.abs(wanted).max() if integers else 1e-4
        np.testing.assert_allclose(found, wanted, atol=atol)
