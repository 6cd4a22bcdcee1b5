"""Normalizations."""

from __future__ import annotations

import numpy as np

from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, Writer, same, write_plain
from qcore.graph.node import Node

__all__ = ["OPS"]


def _read_batch(node: SourceNode, reader: Reader) -> None:
    """Statistics of the batch are training's; the outputs beside the first are of these."""
    if node.get("training_mode", 0) or any(node.outputs[1:]):
        reader.miss("BatchNormalization in training", node.name)
        return
    epsilon = float(node.get("epsilon", 1e-5))
    reader.add("BatchNormalization", node.inputs, node.outputs[:1], epsilon=epsilon)


def _read_layer(node: SourceNode, reader: Reader) -> None:
    attributes = {key: value for key, value in node.attributes.items() if key != "stash_type"}
    reader.add("LayerNormalization", node.inputs, node.outputs, **attributes)


def _read_group(node: SourceNode, reader: Reader) -> None:
    """Before opset 21 scale and shift were those of groups, with which nothing was exported."""
    attributes = {key: value for key, value in node.attributes.items() if key != "stash_type"}
    reader.add("GroupNormalization", node.inputs, node.outputs, **attributes)


def _read_rms(node: SourceNode, reader: Reader) -> None:
    attributes = {key: value for key, value in node.attributes.items() if key != "stash_type"}
    reader.add("RMSNormalization", node.inputs, node.outputs, **attributes)


def write_rms(node: Node, writer: Writer) -> None:
    """Write RMSNormalization, which opset 23 brought, in steps of opset 21."""
    x, gain = node.inputs[:2]
    axis = int(node.get("axis", -1))
    if axis < 0:
        axes = list(range(axis, 0))
    else:
        shape = writer.graph.values[x].shape
        axes = list(range(axis, len(shape))) if shape is not None else [axis]
    square = writer.add("Mul", [x, x])
    mean = writer.add("ReduceMean", [square, writer.constant(np.array(axes, np.int64))], keepdims=1)
    epsilon = writer.constant(np.float32(node.get("epsilon", 1e-5)))
    root = writer.add("Sqrt", [writer.add("Add", [mean, epsilon])])
    writer.add("Mul", [writer.add("Div", [x, root]), gain], node.outputs)


OPS: dict[str, Op] = {
    "BatchNormalization": Op(
        _read_batch, write_plain, (5, 5), 5,
        frozenset({"epsilon", "momentum", "training_mode", "spatial"}),
    ),
    "GroupNormalization": Op(
        _read_group, write_plain, (3, 3), 3, frozenset({"epsilon", "num_groups", "stash_type"})
    ),
    "InstanceNormalization": same("epsilon", inputs=3),
    "LayerNormalization": Op(
        _read_layer, write_plain, (2, 3), 3, frozenset({"axis", "epsilon", "stash_type"})
    ),
    "RMSNormalization": Op(
        _read_rms, write_rms, (2, 2), 1, frozenset({"axis", "epsilon", "stash_type"})
    ),
}  # fmt: skip
