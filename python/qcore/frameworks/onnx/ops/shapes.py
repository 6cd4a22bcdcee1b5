"""What moves elements and computes shapes, and computes nothing with the elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, same, write_plain
from qcore.frameworks.onnx.ops.reductions import axes_input

__all__ = ["OPS"]


def _read_constant(node: SourceNode, reader: Reader) -> None:
    value = node.get("value")
    if value is not None:
        array = reader.array_of(value, node.name)
    else:
        array = _plain_constant(node)
        if array is None:
            reader.miss("Constant of texts or sparse", node.name)
    if array is not None:
        reader.add_constant(node.outputs[0], array)


def _plain_constant(node: SourceNode) -> Any:
    kinds = {
        "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64,
        "value_ints": np.int64,
    }  # fmt: skip
    for name, dtype in kinds.items():
        if name in node.attributes:
            return np.asarray(node.attributes[name], dtype)
    return None


def _read_axes(node: SourceNode, reader: Reader) -> None:
    reader.add(node.op, axes_input(node, reader), node.outputs)


def _read_split(node: SourceNode, reader: Reader) -> None:
    axis = int(node.get("axis", 0))
    sizes = node.get("split")
    if sizes is not None:
        inputs = [node.inputs[0], reader.ints(sizes)]
        reader.add("Split", inputs, node.outputs, axis=axis)
    elif node.input(1):
        reader.add("Split", node.inputs, node.outputs, axis=axis)
    else:
        count = int(node.get("num_outputs", len(node.outputs)))
        if count != len(node.outputs):
            raise ValueError(f"node {node.name!r} (Split) has {len(node.outputs)} of {count} parts")
        reader.add("Split", node.inputs[:1], node.outputs, axis=axis, num_outputs=count)


def _read_fill(node: SourceNode, reader: Reader) -> None:
    value = node.get("value")
    array = np.zeros(1, np.float32) if value is None else reader.array_of(value, node.name)
    if array is not None:
        reader.add("ConstantOfShape", node.inputs, node.outputs, value=array)


def _read_if(node: SourceNode, reader: Reader) -> None:
    branches = {name: node.get(name) for name in ("then_branch", "else_branch")}
    if any(not hasattr(branch, "node") for branch in branches.values()):
        raise ValueError(f"node {node.name!r} (If) has no two branches")
    bodies = {name: reader.body(branch) for name, branch in branches.items()}
    reader.place = node
    reader.add("If", node.inputs, node.outputs, **bodies)


def _read_space_to_depth(node: SourceNode, reader: Reader) -> None:
    mode, size = node.get("mode", "DCR"), node.get("blocksize")
    if mode == "DCR":
        reader.add("SpaceToDepth", node.inputs, node.outputs, blocksize=size)
        return
    if mode != "CRD" or not isinstance(size, int) or size < 1:
        raise ValueError(f"node {node.name!r} (SpaceToDepth) has mode {mode!r}, blocksize {size}")
    # The same with channels before the places in a block.
    made = reader.add("SpaceToDepth", node.inputs, blocksize=size)
    shape = reader.add("Shape", [made])
    sides = reader.add("Slice", [shape, reader.ints(2), reader.ints(4)])
    parts = [reader.add("Shape", [made], start=0, end=1), reader.ints([size * size, -1]), sides]
    apart = reader.add("Reshape", [made, reader.add("Concat", parts, axis=0)])
    turned = reader.add("Transpose", [apart], perm=(0, 2, 1, 3, 4))
    reader.add("Reshape", [turned, shape], node.outputs)


def _read_range(node: SourceNode, reader: Reader) -> None:
    reader.add("Range", node.inputs, node.outputs)


_CONSTANT = frozenset({
    "sparse_value", "value", "value_float", "value_floats", "value_int", "value_ints",
    "value_string", "value_strings",
})  # fmt: skip

OPS: dict[str, Op] = {
    "Concat": same("axis", inputs=(1, None)),
    "Constant": Op(_read_constant, write_plain, (0, 0), 1, _CONSTANT),
    "ConstantOfShape": Op(_read_fill, write_plain, (1, 1), 1, frozenset({"value"})),
    "DepthToSpace": same("blocksize", "mode"),
    "Expand": same(inputs=2),
    "Flatten": same("axis"),
    "Gather": same("axis", inputs=2),
    "GatherElements": same("axis", inputs=2),
    "If": Op(_read_if, write_plain, (1, 1), None, frozenset({"then_branch", "else_branch"})),
    "Pad": same("mode", inputs=(2, 4)),
    "Range": Op(_read_range, write_plain, (3, 3), 1, frozenset()),
    "Reshape": same("allowzero", inputs=2),
    "ScatterElements": same("axis", "reduction", inputs=3),
    "ScatterND": same("reduction", inputs=3),
    "Shape": same("end", "start"),
    "Size": same(),
    "Slice": same(inputs=(3, 5)),
    "SpaceToDepth": Op(
        _read_space_to_depth, write_plain, (1, 1), 1, frozenset({"blocksize", "mode"})
    ),
    "Split": Op(
        _read_split, write_plain, (1, 2), None, frozenset({"axis", "num_outputs", "split"})
    ),
    "Squeeze": Op(_read_axes, write_plain, (1, 2), 1, frozenset({"axes"})),
    "Tile": same(inputs=2),
    "Transpose": same("perm"),
    "Unsqueeze": Op(_read_axes, write_plain, (1, 2), 1, frozenset({"axes"})),
}
