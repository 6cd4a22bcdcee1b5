"""The weights of a graph as named matrices (out, in), and back again.

Estimators work on named matrices and know nothing of ops: `matrices_of` shows them a graph so, and
`with_matrices` puts what they made of them back into its layouts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qcore.arrays.tensor.tensor import QTensor
from qcore.graph.graph import BaseGraph
from qcore.graph.node import Node
from qcore.graph.slots import WeightSlot, layout_nodes

__all__ = [
    "bias_name",
    "can_hold_codes",
    "has_groups",
    "matrices_of",
    "slots_by_name",
    "stays_matrix",
    "with_matrices",
]

# Ops that take a bias as their third input.
_TAKES_BIAS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def slots_by_name(graph: BaseGraph) -> dict[str, WeightSlot]:
    """Return a slot for each weight; the first of those that share one."""
    found: dict[str, WeightSlot] = {}
    for slot in graph.slots:
        found.setdefault(slot.name, slot)
    return found


def can_hold_codes(slot: WeightSlot) -> bool:
    """Whether codes of a weight can have a scale for each output."""
    return slot.out_axis is not None or slot.is_matrix


def has_groups(slot: WeightSlot) -> bool:
    """Whether codes of a weight can go by groups of inputs.

    Those of a convolution would cut its taps apart: it has a scale for each output.
    """
    return slot.is_matrix or slot.node.op in ("Gemm", "MatMul")


def matrices_of(graph: BaseGraph) -> dict[str, Any]:
    """Return the float weights as matrices and the biases as they are, by the constants' names."""
    found: dict[str, Any] = {}
    for name, slot in slots_by_name(graph).items():
        if isinstance(slot.weight, np.ndarray):
            found[name] = slot.matrix()
    return found


def bias_name(graph: BaseGraph, name: str) -> str | None:
    """Return the bias of a weight; None where it cannot have one, or shares the weight."""
    slots = [slot for slot in graph.slots if slot.name == name]
    if len(slots) != 1 or slots[0].node.op not in _TAKES_BIAS:
        return None
    slot = slots[0]
    if slot.bias:
        readers = graph.readers.get(slot.bias, ())
        return slot.bias if len(readers) == 1 else None
    return f"{name}.bias" if not slot.node.input(2) else None


def with_matrices(graph: BaseGraph, new: Mapping[str, Any], biases: Mapping[str, Any]) -> BaseGraph:
    """Return the graph with matrices in place of weights, and with biases by their names.

    A bias that the graph did not have becomes an input of its node. Codes that the layout of a
    weight cannot have (groups or widths of rows where outputs are not its first axis and inputs
    its last) stay matrices, and nodes that run once lay them out.
    """
    slots = slots_by_name(graph)
    constants = dict(graph.constants)
    nodes = list(graph.nodes)
    for name, value in new.items():
        if stays_matrix(slots[name], value):
            constants[name] = value
            _lay_out(nodes, constants, slots[name])
        else:
            constants[name] = _laid_out(slots[name], value)
    for name, bias in biases.items():
        if name not in constants:
            weight = name.removesuffix(".bias")
            reader = slots[weight].node.name
            at = next(i for i, node in enumerate(nodes) if node.name == reader)
            inputs = list(nodes[at].inputs)
            inputs[2:3] = [name]
            nodes[at] = nodes[at].changed(inputs=tuple(inputs))
        constants[name] = np.asarray(bias, np.float32).reshape(np.shape(constants.get(name, bias)))
    return graph.changed(nodes=nodes, constants=constants)


def stays_matrix(slot: WeightSlot, value: Any) -> bool:
    """Whether a matrix of codes has no place in the layout of its weight."""
    if not isinstance(value, QTensor):
        return False
    as_it_lies = tuple(slot.weight.shape) == slot.shape and slot.is_matrix
    return (value.row_bits is not None and not as_it_lies) or (
        value.group_size is not None and not slot.is_matrix
    )


def _lay_out(nodes: list[Node], constants: dict[str, Any], slot: WeightSlot) -> None:
    """Let all nodes that read a weight read what is laid out of its matrix."""
    steps, shapes = layout_nodes(slot, slot.name)
    made = steps[-1].outputs[0]
    for place, node in enumerate(nodes):
        if slot.name in node.inputs:
            inputs = tuple(made if name == slot.name else name for name in node.inputs)
            nodes[place] = node.changed(inputs=inputs)
    nodes += steps
    constants |= shapes


def _laid_out(slot: WeightSlot, value: Any) -> Any:
    """Return a matrix in the layout of its weight, codes and their parameters too."""
    if not isinstance(value, QTensor):
        return slot.weight_of(np.asarray(value)).astype(np.float32)
    shape = tuple(slot.weight.shape)
    if value.shape == shape and slot.is_matrix:
        return value
    codes = slot.weight_of(value.values)
    axis, group_size = slot.out_axis, value.group_size
    scale, zero = value.scale, value.zero_point
    if value.axis is None and group_size is None:
        axis = None
    elif group_size is None and axis is None and slot.is_matrix:
        # Outputs along several axes: each is one group.
        group_size = slot.shape[1]
        scale, zero = (part.reshape((*shape[:-1], 1)) for part in (scale, zero))
    elif group_size is not None and slot.is_matrix:
        axis = None
        scale, zero = (part.reshape((*shape[:-1], part.shape[-1])) for part in (scale, zero))
    elif axis is None or value.axis != 0:
        kind = value.kind
        raise ValueError(f"{slot.name} of {slot.node.op} takes codes by output; these are {kind}")
    return QTensor.from_parts(
        codes, scale, zero, axis=axis, group_size=group_size, bits=value.bits,
        signed=value.signed,
        narrow_range=value.narrow_range, scheme=value.scheme, offset=value.offset,
        levels=value.levels, reconstruct=value.reconstruct, scale_dtype=value.scale_dtype,
        tensor_scale=value.tensor_scale,
        clipped=value.clipped,
    )  # fmt: skip
