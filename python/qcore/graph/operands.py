"""Products whose weights are laid out for a kernel of their own when the graph is compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qcore._core import PackedWeights
from qcore.arrays.products.weights import packed_weights
from qcore.arrays.tensor.tensor import QTensor
from qcore.graph.node import Node

if TYPE_CHECKING:
    from qcore.graph.graph import BaseGraph
    from qcore.graph.slots import WeightSlot

__all__ = ["DYNAMIC", "is_product", "laid_out"]

#: The attribute of a product that says that its input becomes int8 row by row while it runs.
DYNAMIC = "dynamic"
_ACTIVATION = ("activation", "activation_min", "activation_max", "activation_alpha")
_ATTRIBUTES = (*_ACTIVATION, "activation_beta")


def laid_out(graph: BaseGraph) -> tuple[tuple[Node, ...], dict[str, PackedWeights]]:
    """Return the nodes that run, and the weights of those that have them laid out, by name.

    A product with the attribute `DYNAMIC` becomes a Linear, if there is an integer kernel for its
    weight: int8 by output, 4 bits by group, and both with the zeros of pruning left out.
    """
    if not any(node.get(DYNAMIC) for node in graph.nodes):
        return graph.nodes, {}
    slots = {slot.node.name: slot for slot in graph.slots if slot.index == 1}
    packed: dict[str, PackedWeights] = {}
    nodes = []
    for node in graph.nodes:
        slot = slots.get(node.name)
        weights = _weights(graph, slot) if node.get(DYNAMIC) and slot is not None else None
        if weights is None:
            nodes.append(node)
            continue
        packed[node.name] = weights
        inputs = (node.inputs[0], node.input(2), node.input(3))
        kept = {key: node.attributes[key] for key in _ATTRIBUTES if key in node.attributes}
        nodes.append(node.changed(op="Linear", inputs=inputs, attributes=kept))
    return tuple(nodes), packed


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
    bias: Any = graph.constants.get(slot.node.input(2))
    if bias is not None and np.shape(bias)[-1:] != (slot.shape[0],):
        return None
    if bias is not None and np.size(bias) != slot.shape[0]:
        return None
    found = packed_weights(matrix, DYNAMIC)
    return found if found.is_integer else None
