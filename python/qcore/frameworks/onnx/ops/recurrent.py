"""LSTM and GRU."""

from __future__ import annotations

from dataclasses import replace

from qcore.frameworks.onnx.op import Op, Writer, same, write_plain
from qcore.graph.node import Node
from qcore.graph.operands import DYNAMIC

__all__ = ["OPS"]

_CELL = (
    "activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size",
    "layout",
)  # fmt: skip


def _write(node: Node, writer: Writer) -> None:
    """Write a cell; ONNX has no word for one whose inputs and states become int8."""
    kept = {name: value for name, value in node.attributes.items() if name != DYNAMIC}
    write_plain(node.changed(attributes=kept), writer)


OPS: dict[str, Op] = {
    "GRU": replace(same(*_CELL, "linear_before_reset", inputs=(3, 6), outputs=2), write=_write),
    "LSTM": replace(same(*_CELL, "input_forget", inputs=(3, 8), outputs=3), write=_write),
}
