"""Recurrent cells whose weights are integers: laid out by direction for their kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore._core import PackedWeights
from qcore.arrays.products.weights import packed_weights
from qcore.arrays.tensor.tensor import QTensor

if TYPE_CHECKING:
    from qcore.graph.graph import BaseGraph
    from qcore.graph.slots import WeightSlot

__all__ = ["CELLS", "coded_cells"]

#: How many gates the weights of a cell have.
CELLS = {"LSTM": 4, "GRU": 3}


def coded_cells(graph: BaseGraph, mark: str) -> dict[str, dict[str, PackedWeights]]:
    """Return the weights of the cells that have the attribute `mark`, by node and attribute.

    Those of a node are "input0" and "state0" of its first direction, and so on. Of a GRU, "state0"
    are the update and reset gates, "fresh0" is the rest: what a state is multiplied with after it
    has passed the reset gate. A cell is left out if no integer kernel can read all of its weights.
    """
    found = {}
    slots = {(slot.node.name, slot.index): slot for slot in graph.slots}
    for node in graph.nodes:
        if node.op not in CELLS or not node.get(mark):
            continue
        weights = [slots.get((node.name, index)) for index in (1, 2)]
        of_input, of_state = (None if slot is None else _matrix(slot) for slot in weights)
        if of_input is None or of_state is None:
            continue
        parts: dict[str, QTensor] = {}
        wide = CELLS[node.op] * int(node.get("hidden_size"))
        for direction in range(of_input.shape[0] // wide):
            first, end = direction * wide, (direction + 1) * wide
            parts[f"input{direction}"] = _rows(of_input, first, end)
            third = end if node.op == "LSTM" else first + wide // 3 * 2
            parts[f"state{direction}"] = _rows(of_state, first, third)
            if node.op == "GRU":
                parts[f"fresh{direction}"] = _rows(of_state, third, end)
        packed = {part: packed_weights(matrix, "dynamic") for part, matrix in parts.items()}
        if all(one.is_integer for one in packed.values()):
            found[node.name] = packed
    return found


def _matrix(slot: WeightSlot) -> QTensor | None:
    """Return codes as a matrix (out, in) with a scale for each output; None if they are none."""
    weight, shape = slot.weight, slot.shape
    if not isinstance(weight, QTensor) or weight.scheme != "affine" or weight.row_bits is not None:
        return None
    if weight.float_rows is not None or not weight.size:
        return None
    grouped = weight.group_size is not None and weight.group_size < shape[1]
    scale, zero = weight.scale, weight.zero_point
    if grouped or (weight.axis not in (None, 0, 1)) or scale.size not in (1, shape[0]):
        return None
    if weight.axis == 0 and scale.size != shape[0]:
        return None

    def by_row(part: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(np.broadcast_to(part.reshape(-1), (shape[0],)))

    return QTensor.from_parts(
        np.ascontiguousarray(weight.values.reshape(shape)), by_row(scale), by_row(zero), axis=0,
        bits=weight.bits, signed=weight.signed, narrow_range=weight.narrow_range,
    )  # fmt: skip


def _rows(matrix: QTensor, first: int, end: int) -> QTensor:
    """Return some rows of codes that have a scale for each."""
    return QTensor.from_parts(
        np.ascontiguousarray(matrix.values[first:end]), matrix.scale[first:end],
        matrix.zero_point[first:end], axis=0, bits=matrix.bits, signed=matrix.signed,
        narrow_range=matrix.narrow_range,
    )  # fmt: skip
