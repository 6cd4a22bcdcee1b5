"""Sums, means and extremes over axes, which older opsets have as an attribute."""

from __future__ import annotations

from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, same, write_plain

__all__ = ["OPS", "axes_input"]


def axes_input(node: SourceNode, reader: Reader) -> list[str]:
    """Return the inputs with the axes among them, wherever the opset has them."""
    axes = node.get("axes")
    if axes is None:
        return list(node.inputs)
    return [node.inputs[0], reader.ints(axes)]


def _read(node: SourceNode, reader: Reader) -> None:
    reader.add(
        node.op, axes_input(node, reader), node.outputs,
        keepdims=int(node.get("keepdims", 1)),
        noop_with_empty_axes=int(node.get("noop_with_empty_axes", 0)),
    )  # fmt: skip


_REDUCED = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
_ATTRIBUTES = frozenset({"axes", "keepdims", "noop_with_empty_axes"})

OPS: dict[str, Op] = {name: Op(_read, write_plain, (1, 2), 1, _ATTRIBUTES) for name in _REDUCED} | {
    "ArgMax": same("axis", "keepdims", "select_last_index"),
    "ArgMin": same("axis", "keepdims", "select_last_index"),
    "CumProd": same("exclusive", "reverse", inputs=2),
    "CumSum": same("exclusive", "reverse", inputs=2),
    "TopK": same("axis", "largest", "sorted", inputs=2, outputs=2),
}
