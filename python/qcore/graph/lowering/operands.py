"""Products whose weights are laid out for a kernel of their own when the graph is compiled.

So are the weights of recurrent cells. Each is named by its node and the attribute that holds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore._core import PackedWeights
from qcore.arrays.products.weights import packed_weights
from qcore.arrays.tensor.tensor import QTensor
from qcore.graph.lowering.recurrent import coded_cells
from qcore.graph.node import Node

if TYPE_CHECKING:
    from qcore.graph.graph import BaseGraph
    from qcore.graph.slots import WeightSlot

__all__ = ["DYNAMIC", "floats_laid_out", "is_product", "laid_out", "with_coded_rows"]

#: The attribute of a product that says that its input becomes int8 row by row while it runs.
DYNAMIC = "dynamic"
#: The attribute of a product that holds its weights as they are laid out.
OPERAND = "operand"
#: The node that has weights laid out, and the attribute that holds them.
Place = tuple[str, str]
_ACTIVATION = ("activation", "activation_min", "activation_max", "activation_alpha")
_ATTRIBUTES = (*_ACTIVATION, "activation_beta")


def laid_out(graph: BaseGraph) -> tuple[tuple[Node, ...], dict[Place, PackedWeights]]:
    """Return the nodes that run, and the weights of those that have them laid out, by name.

    A product with the attribute `DYNAMIC` becomes a Linear, if there is an integer kernel for its
    weight: int8 by output, 4 bits by group, and both with the zeros of pruning left out.
    """
    if not any(node.get(DYNAMIC) for node in graph.nodes):
        return graph.nodes, {}
    slots = {slot.node.name: slot for slot in graph.slots if slot.index == 1}
    packed: dict[Place, PackedWeights] = {}
    cells = coded_cells(graph, DYNAMIC)
    nodes = []
    for node in graph.nodes:
        if node.name in cells:
            packed |= {(node.name, part): found for part, found in cells[node.name].items()}
            nodes.append(node.changed(inputs=(node.inputs[0], "", "", *node.inputs[3:])))
            continue
        slot = slots.get(node.name)
        weights = _weights(graph, slot) if node.get(DYNAMIC) and slot is not None else None
        if weights is None:
            nodes.append(node)
            continue
        packed[node.name, OPERAND] = weights
        nodes.append(_linear(node))
    return tuple(nodes), packed


def floats_laid_out(
    graph: BaseGraph, nodes: tuple[Node, ...]
) -> tuple[tuple[Node, ...], dict[Place, PackedWeights]]:
    """Return nodes of which the products of floats have their weights laid out, and these."""
    slots = {slot.node.name: slot for slot in graph.slots if slot.index == 1}
    packed: dict[Place, PackedWeights] = {}
    found = []
    for node in nodes:
        slot = slots.get(node.name)
        if node.op in ("Gemm", "MatMul") and slot is not None and _is_float(graph, slot):
            packed[node.name, OPERAND] = PackedWeights.float(np.ascontiguousarray(slot.matrix()))
            node = _linear(node)
        found.append(node)
    return tuple(found), packed


def _is_float(graph: BaseGraph, slot: WeightSlot) -> bool:
    weight = slot.weight
    whole = isinstance(weight, np.ndarray) and weight.ndim == 2 and weight.dtype == np.float32
    return whole and slot.shape[1] > 0 and is_product(graph, slot.node) and _fits(graph, slot)


def _linear(node: Node) -> Node:
    """Return a product as rows times weights that are laid out."""
    inputs = (node.inputs[0], node.input(2), node.input(3))
    kept = {key: node.attributes[key] for key in _ATTRIBUTES if key in node.attributes}
    return node.changed(op="Linear", inputs=inputs, attributes=kept)


def with_coded_rows(
    graph: BaseGraph, nodes: tuple[Node, ...]
) -> tuple[tuple[Node, ...], dict[str, NDArray[Any]]]:
    """Return nodes of which those that pick rows of codes decode them then, and what they read.

    Embeddings stay as small as their file: int8 with a scale for each row, 4 bits with one for each
    row or group.
    """
    found: dict[str, NDArray[Any]] = {}
    changed = []
    for node in nodes:
        table = graph.constants.get(node.inputs[0]) if node.op == "Gather" else None
        if not isinstance(table, QTensor) or node.get("axis", 0) != 0 or not _has_rows(table):
            changed.append(node)
            continue
        rows, columns = table.shape
        codes, scales = f"{node.inputs[0]}:codes", f"{node.inputs[0]}:scales"
        if codes not in found:
            found[codes] = np.ascontiguousarray(table.packed.reshape(rows, -1)).view(np.uint8)
            scale = np.asarray(table.scale, np.float32).reshape(-1)
            per_row = scale.size // rows if scale.size > 1 else 1
            found[scales] = np.broadcast_to(scale.reshape(-1, per_row), (rows, per_row)).copy()
        attributes = {
            "bits": table.bits, "columns": columns,
            "group": columns if table.group_size is None else min(table.group_size, columns),
        }  # fmt: skip
        inputs = (codes, node.inputs[1], scales)
        changed.append(node.changed(op="GatherCodes", inputs=inputs, attributes=attributes))
    return tuple(changed), found


def _has_rows(table: QTensor) -> bool:
    """Whether rows of codes can be decoded one by one."""
    whole = table.ndim == 2 and table.size > 0 and table.scheme == "affine" and table.signed
    if not whole or table.bits not in (4, 8) or table.zero_point.any():
        return False
    if table.row_bits is not None or table.float_rows is not None:
        return False
    if table.group_size is None:
        return table.axis in (0, None)
    return table.bits == 8 or table.group_size % 2 == 0 or table.group_size >= table.shape[1]


def is_product(graph: BaseGraph, node: Node) -> bool:
    """Whether a node is rows times a constant matrix and nothing but what a Linear adds."""
    if node.op == "Gemm":
        plain = (node.get("alpha", 1.0), node.get("beta", 1.0)) == (1.0, 1.0)
        if not plain or node.get("transA", 0):
            return False
    elif node.op != "MatMul":
        return False
    bias = node.input(2)
    return not bias or bias in graph.constants


def _weights(graph: BaseGraph, slot: WeightSlot) -> PackedWeights | None:
    """Return the weights of a slot as an integer kernel reads them; None where there is none."""
    weight: Any = slot.weight
    if not isinstance(weight, QTensor) or weight.ndim != 2 or not is_product(graph, slot.node):
        return None
    matrix = weight if slot.is_matrix else weight.T
    if not _fits(graph, slot):
        return None
    found = packed_weights(matrix, DYNAMIC)
    return found if found.is_integer else None


def _fits(graph: BaseGraph, slot: WeightSlot) -> bool:
    """Whether the bias of a product, if there is one, has one value for each output."""
    bias: Any = graph.constants.get(slot.node.input(2))
    outputs = slot.shape[0]
    return bias is None or (np.shape(bias)[-1:] == (outputs,) and np.size(bias) == outputs)
