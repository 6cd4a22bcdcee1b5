"""Hadamard rotation in a graph: the channels that a weight reads are rotated by a node before it.

See `qcore.estimators.equalization.hadamard`. A convolution's channels are rotated pixel by pixel,
by a convolution of one tap: zeros around an image stay zeros.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qcore.arrays.tensor.tensor import QTensor
from qcore.estimators.equalization.hadamard import largest_order, rotate, rotation
from qcore.estimators.graphs.matrices import slots_by_name, with_matrices
from qcore.estimators.graphs.rows import has_rows
from qcore.graph.graph import BaseGraph
from qcore.graph.node import Node
from qcore.graph.slots import WeightSlot

__all__ = ["can_be_rotated", "rotated_graph"]

#: Channels of a block below which a rotation spreads nothing.
LEAST = 4


def can_be_rotated(graph: BaseGraph, slot: WeightSlot) -> bool:
    """Whether the inputs of a weight can be rotated: all its outputs read the same channels."""
    node = slot.node
    names = [one.name for one in graph.slots]
    return (
        node.op in ("Conv", "Gemm", "MatMul")
        and slot.index == 1
        and has_rows(slot)
        and names.count(slot.name) == 1
        and node.inputs[slot.index] == slot.name
        and not isinstance(slot.weight, QTensor)
        and not node.get("transA", 0)
        and largest_order(_channels(slot)) >= LEAST
    )


def rotated_graph(graph: BaseGraph, names: Iterable[str]) -> BaseGraph:
    """Return a graph that computes the same, in which these weights read rotated channels.

    Before the node of a weight ``w`` comes a new one, whose weight ``w.rotation`` takes 1 or 2 bits
    each. Weights that cannot be rotated stay as they are.
    """
    slots = slots_by_name(graph)
    chosen = [slots[name] for name in names if can_be_rotated(graph, slots[name])]
    matrices: dict[str, Any] = {}
    for slot in chosen:
        matrix, channels = slot.matrix(), _channels(slot)
        matrices[slot.name] = rotate(matrix.reshape(-1, channels)).reshape(matrix.shape)
    turned = with_matrices(graph, matrices, {})
    nodes, constants = list(turned.nodes), dict(turned.constants)
    for slot in chosen:
        at = next(place for place, node in enumerate(nodes) if node.name == slot.node.name)
        node = nodes[at]
        weight, made = f"{slot.name}.rotation", f"{node.name}.rotated"
        op = "Conv" if node.op == "Conv" else "MatMul"
        constants[weight] = _turn(slot, op)
        turn = Node(f"{node.name}.rotation", op, (node.inputs[0], weight), (made,))
        nodes[at : at + 1] = [turn, node.changed(inputs=(made, *node.inputs[1:]))]
    return turned.changed(nodes=nodes, constants=constants)


def _channels(slot: WeightSlot) -> int:
    return int(slot.weight.shape[1]) if slot.node.op == "Conv" else slot.shape[1]


def _turn(slot: WeightSlot, op: str) -> QTensor:
    """Return the rotation in the layout of the op that applies it."""
    q = rotation(_channels(slot))
    if op != "Conv":
        return q.T
    shape = (*q.shape, *(1 for _ in slot.weight.shape[2:]))
    return QTensor.from_parts(
        q.values.reshape(shape), q.scale, axis=0, bits=q.bits, scheme=q.scheme,
        narrow_range=q.narrow_range,
    )  # fmt: skip
