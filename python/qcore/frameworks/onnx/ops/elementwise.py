"""One value in, one out: activations and functions, element by element."""

from __future__ import annotations

import numpy as np

from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, Writer, same, write_plain
from qcore.graph.node import Node

__all__ = ["OPS"]


def _read_softmax(node: SourceNode, reader: Reader) -> None:
    """Before opset 13 the axes from `axis` on were one, and 1 the default."""
    if node.opset >= 13:
        reader.add(node.op, node.inputs, node.outputs, axis=node.get("axis", -1))
        return
    axis = int(node.get("axis", 1))
    rank = reader.rank(node.inputs[0])
    if axis == -1 or (rank is not None and axis == rank - 1):
        reader.add(node.op, node.inputs, node.outputs, axis=-1)
        return
    shape = reader.add("Shape", node.inputs)
    flat = reader.add("Flatten", node.inputs, axis=axis)
    found = reader.add(node.op, [flat], axis=-1)
    reader.add("Reshape", [found, shape], node.outputs)


def _read_dropout(node: SourceNode, reader: Reader) -> None:
    training = reader.constant_value(node.input(2)) if node.input(2) else np.False_
    if training is None or bool(np.any(training)):
        reader.miss("Dropout in training", node.name)
    reader.add("Identity", node.inputs[:1], node.outputs[:1])
    if len(node.outputs) > 1 and node.outputs[1]:  # the mask: everything is kept
        shape = reader.add("Shape", node.inputs[:1])
        reader.add("ConstantOfShape", [shape], node.outputs[1:], value=np.array([True]))


def _read_swish(node: SourceNode, reader: Reader) -> None:
    alpha = float(node.get("alpha", 1.0))
    if alpha == 1:
        reader.add("Silu", node.inputs, node.outputs)
        return
    x = node.inputs[0]
    scaled = reader.add("Mul", [x, reader.constant(np.float32(alpha))])
    reader.add("Mul", [x, reader.add("Sigmoid", [scaled])], node.outputs)


def write_silu(node: Node, writer: Writer) -> None:
    """Write x times its sigmoid."""
    gate = writer.add("Sigmoid", node.inputs)
    writer.add("Mul", [node.inputs[0], gate], node.outputs)


def _read_clip(node: SourceNode, reader: Reader) -> None:
    reader.add("Clip", node.inputs, node.outputs)


def _read_hard_sigmoid(node: SourceNode, reader: Reader) -> None:
    alpha, beta = float(node.get("alpha", 0.2)), float(node.get("beta", 0.5))
    reader.add("HardSigmoid", node.inputs, node.outputs, alpha=alpha, beta=beta)


_SAME = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Erf", "Exp",
    "Floor", "HardSwish", "Identity", "Log", "Neg", "Not", "Reciprocal", "Relu", "Round", "Sigmoid",
    "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh",
)  # fmt: skip

OPS: dict[str, Op] = {name: same() for name in _SAME} | {
    "Clip": Op(_read_clip, write_plain, (1, 3), 1, frozenset()),
    "Dropout": Op(_read_dropout, write_plain, (1, 3), 2, frozenset({"ratio", "seed"})),
    "Elu": same("alpha"),
    "Gelu": same("approximate"),
    "HardSigmoid": Op(_read_hard_sigmoid, write_plain, (1, 1), 1, frozenset({"alpha", "beta"})),
    "LeakyRelu": same("alpha"),
    "LogSoftmax": Op(_read_softmax, write_plain, (1, 1), 1, frozenset({"axis"})),
    "PRelu": same(inputs=2),
    "Selu": same("alpha", "gamma"),
    "Softmax": Op(_read_softmax, write_plain, (1, 1), 1, frozenset({"axis"})),
    "Swish": Op(_read_swish, write_plain, (1, 1), 1, frozenset({"alpha"})),
}
