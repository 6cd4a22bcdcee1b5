"""LSTM, GRU and RNN, and ONNX Runtime's LSTM on integers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.tensor import QTensor
from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, Writer, as_steps, same, write_plain
from qcore.graph.lowering.operands import DYNAMIC
from qcore.graph.node import Node

__all__ = ["OPS"]

_CELL = (
    "activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size",
    "layout",
)  # fmt: skip

#: Where the weights of a DynamicQuantizeLSTM are, and the scale of each; its zero point follows.
_CODED = {1: 8, 2: 10}


def _read_coded(node: SourceNode, reader: Reader) -> None:
    """Read a DynamicQuantizeLSTM: an LSTM on codes, whose inputs and states become int8."""
    inputs = [node.input(at) for at in range(8)]
    for at, scale_at in _CODED.items():
        parts = [
            reader.constant_value(node.input(place)) if node.input(place) else None
            for place in (at, scale_at, scale_at + 1)
        ]
        if parts[0] is None or parts[1] is None:
            reader.miss("DynamicQuantizeLSTM by weights that are computed", node.name)
            return
        inputs[at] = reader.fresh(f"{node.input(at)}:codes")
        reader.constants[inputs[at]] = _codes(node, at, parts[0], parts[1], parts[2])
    while inputs and not inputs[-1]:
        inputs.pop()
    reader.add("LSTM", inputs, node.outputs, **node.attributes, **{DYNAMIC: 1})


def _codes(
    node: SourceNode, at: int, values: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any] | None
) -> Any:
    """Return weights (directions, inputs, outputs) as LSTM has them, a scale for each output."""
    ways, inner, wide = values.shape if values.ndim == 3 else (0, 0, 0)
    zero = np.zeros(1, values.dtype) if zero is None else zero
    for part, what in ((scale, "scales"), (zero, "zero points")):
        if ways == 0 or inner == 0 or part.size not in (1, ways, ways * wide):
            found = f"weights {values.shape} and {part.size} {what}"
            raise ValueError(f"node {node.name!r} (DynamicQuantizeLSTM) has at input {at} {found}")

    def by_row(part: NDArray[Any], dtype: Any) -> NDArray[Any]:
        last = part.size // ways if part.size > 1 else 1
        rows = np.broadcast_to(part.reshape(-1, last), (ways, wide)).astype(dtype)
        return rows[0] if ways == 1 else rows[:, :, None]

    # Outputs along two axes: each is one group.
    layout = {"axis": 1} if ways == 1 else {"axis": None, "group_size": inner}
    return QTensor.from_parts(
        np.ascontiguousarray(values.transpose(0, 2, 1)), by_row(scale, np.float32),
        by_row(zero, np.int32), bits=8, signed=values.dtype == np.int8, **layout,
    )  # fmt: skip


def _write(node: Node, writer: Writer) -> None:
    """Write a cell; ONNX has no word for one whose inputs and states become int8."""
    kept = {name: value for name, value in node.attributes.items() if name != DYNAMIC}
    write_plain(node.changed(attributes=kept), writer)


OPS: dict[str, Op] = {
    "com.microsoft::DynamicQuantizeLSTM": as_steps(_read_coded, (3, 12), 3, *_CELL, "input_forget"),
    "GRU": replace(same(*_CELL, "linear_before_reset", inputs=(3, 6), outputs=2), write=_write),
    "LSTM": replace(same(*_CELL, "input_forget", inputs=(3, 8), outputs=3), write=_write),
    "RNN": same(*_CELL, inputs=(3, 6), outputs=2),
}
