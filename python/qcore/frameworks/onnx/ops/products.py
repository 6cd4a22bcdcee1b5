"""Products with weights: convolutions, Gemm, MatMul; and what a fused one is in ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qcore.arrays.products.activations import ACTIVATIONS
from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, Writer, same
from qcore.graph.lowering.operands import DYNAMIC
from qcore.graph.node import Node

__all__ = ["OPS"]

_FUSED = ("activation", "activation_min", "activation_max", "activation_alpha", "activation_beta")
#: What ONNX has no word for: there a product of codes takes floats.
_OWN = (*_FUSED, DYNAMIC)


def write_product(node: Node, writer: Writer) -> None:
    """Write a product, the residual that is added to it, and its activation as steps of ONNX."""
    plain = {key: value for key, value in node.attributes.items() if key not in _OWN}
    inputs = list(node.inputs)
    bias, residual = node.input(2), node.input(3)
    kept = inputs[:3] if node.op != "MatMul" else inputs[:2]
    steps: list[tuple[str, Sequence[str], dict[str, Any]]] = [(node.op, kept, plain)]
    if node.op == "MatMul" and bias:
        steps.append(("Add", ["", bias], {}))
    if residual:
        steps.append(("Add", ["", residual], {}))
    activation = str(node.get("activation", "linear"))
    if activation == "clip":
        low, high = node.get("activation_min"), node.get("activation_max")
        limits = [
            "" if limit is None else writer.constant(np.float32(limit)) for limit in (low, high)
        ]
        steps.append(("Clip", ["", *limits], {}))
    elif activation == "relu6":
        limits = [writer.constant(np.float32(limit)) for limit in (0, 6)]
        steps.append(("Clip", ["", *limits], {}))
    elif activation != "linear":
        made = ACTIVATIONS[activation]
        parameters = dict(made.attributes) | _parameters(node, made.onnx)
        steps.append((made.onnx, [""], parameters))
    value = ""
    for place, (op, names, attributes) in enumerate(steps):
        outputs = node.outputs if place == len(steps) - 1 else None
        given = list(names) if place == 0 else [value, *names[1:]]
        if op == "Silu":
            value = writer.add("Mul", [value, writer.add("Sigmoid", [value])], outputs)
        else:
            value = writer.add(op, given, outputs, **attributes)


def _parameters(node: Node, op: str) -> dict[str, Any]:
    names = {"LeakyRelu": ("alpha",), "Elu": ("alpha",), "HardSigmoid": ("alpha", "beta")}
    found = {name: node.get(f"activation_{name}") for name in names.get(op, ())}
    return {name: value for name, value in found.items() if value is not None}


def _read(node: SourceNode, reader: Reader) -> None:
    reader.add(node.op, node.inputs, node.outputs, **node.attributes)


_CONV = frozenset({"auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"})

OPS: dict[str, Op] = {
    "Conv": Op(_read, write_product, (2, 3), 1, _CONV),
    "ConvTranspose": same(*_CONV, "output_padding", "output_shape", inputs=(2, 3)),
    "Gemm": Op(_read, write_product, (2, 3), 1, frozenset({"alpha", "beta", "transA", "transB"})),
    "MatMul": Op(_read, write_product, (2, 2), 1, frozenset()),
}
