"""Integers between floats as values that are codes: what QuantizeLinear nodes say of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from qcore.arrays.params.qparams import QParams
from qcore.graph.graph import BaseGraph, G
from qcore.graph.node import Node
from qcore.graph.passes.tidy import renamed, tidied

__all__ = ["read_codes"]


def read_codes(graph: G) -> G:
    """Return a graph whose values are codes where its nodes quantize them.

    A value that is quantized one way, and by nothing read otherwise, is codes of these parameters;
    what decodes them is the value itself. Nodes stay where they meet integers of another kind:
    inputs and outputs of the graph, and integers that something else reads.
    """
    steps = {node: _parameters(graph, node) for node in graph.nodes if node.op in _BOTH}
    codes = dict(graph.codes)
    outputs = {value.name for value in graph.outputs}
    given = {value.name: value for value in graph.inputs}
    for name in [*given, *graph.producers]:
        readers = graph.readers.get(name, ())
        found = [steps.get(node) for node in readers if node.op == "QuantizeLinear"]
        first = found[0] if found else None
        alike = len(found) == len(readers) and all(one == first for one in found)
        floats = name not in given or given[name].dtype == "float32"
        if first is not None and alike and name not in outputs and floats and name not in codes:
            codes[name] = first
    names: dict[str, str] = {}
    # What reads a value knows it by the name of what decodes it.
    called: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        node = renamed(node, names)
        if node.op == "DequantizeLinear" and steps.get(_same(graph, node)) is not None:
            made, params = node.outputs[0], steps[_same(graph, node)]
            source = graph.producers.get(node.inputs[0])
            if source is not None and source.op == "QuantizeLinear" and made not in outputs:
                real = names.get(source.inputs[0], source.inputs[0])
                if steps.get(source) == params and codes.get(real) == params:
                    names[made] = real
                    if real not in given:
                        called.setdefault(real, made)
                    continue
            codes.setdefault(made, params)
        nodes.append(node)
    nodes = [renamed(renamed(node, names), called) for node in nodes]
    nodes = [
        node.changed(outputs=tuple(called.get(name, name) for name in node.outputs))
        for node in nodes
    ]
    codes = {called.get(name, name): params for name, params in codes.items()}
    return tidied(graph.changed(nodes=nodes, codes=codes))


_BOTH = ("DequantizeLinear", "QuantizeLinear")


def _same(graph: BaseGraph, node: Node) -> Node:
    """Return the node of the graph that makes what a renamed one makes."""
    return graph.producers[node.outputs[0]]


def _parameters(graph: BaseGraph, node: Node) -> QParams | None:
    """Return what the integers of a node stand for, where they have one scale."""
    scale, zero = (_array(graph, node.input(at)) for at in (1, 2))
    if scale is None or scale.size != 1 or (node.input(2) and zero is None):
        return None
    kind = np.dtype(np.uint8) if zero is None else zero.dtype
    if zero is not None and zero.size != 1:
        return None
    if (
        kind not in (np.uint8, np.int8)
        or not np.isfinite(scale).all()
        or float(scale.reshape(())) <= 0
    ):
        return None
    middle = np.int32(0) if zero is None else zero.astype(np.int32).reshape(())
    return QParams(scale.astype(np.float32).reshape(()), np.asarray(middle), signed=kind == np.int8)


def _array(graph: BaseGraph, name: str) -> Any:
    found = graph.constants.get(name)
    return found if isinstance(found, np.ndarray) else None
