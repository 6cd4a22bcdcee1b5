"""Nodes that do nothing, or nothing that is wanted, taken out."""

from __future__ import annotations

from qcore.graph.graph import G
from qcore.graph.node import Body, Node

__all__ = ["renamed", "tidied"]

_IDLE = ("Identity", "Dropout")


def tidied(graph: G) -> G:
    """Return a graph without identities, and without nodes and constants that nothing needs."""
    outputs = {value.name for value in graph.outputs}
    fixed = outputs | set(graph.constants) | {value.name for value in graph.inputs}
    names: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        node = renamed(node, names)
        if node.op in _IDLE and len([name for name in node.outputs if name]) == 1:
            source, made = node.inputs[0], node.outputs[0]
            codes = graph.codes.get(made)
            same = codes == graph.codes.get(source)
            if made not in outputs and (same or codes is None):
                names[made] = source
                continue
            if same and source not in fixed and _takes_over(nodes, source, made):
                names[source] = made
                nodes = [_with_output(renamed(n, names), source, made) for n in nodes]
                fixed.add(made)
                continue
        nodes.append(node)
    nodes = [renamed(node, names) for node in nodes]
    return _needed(graph.changed(nodes=nodes))


def _takes_over(nodes: list[Node], source: str, made: str) -> bool:
    """Whether the node that makes `source` can make the output `made` instead."""
    return any(source in node.outputs for node in nodes)


def _with_output(node: Node, source: str, made: str) -> Node:
    if source not in node.outputs:
        return node
    return node.changed(outputs=tuple(made if name == source else name for name in node.outputs))


def renamed(node: Node, names: dict[str, str]) -> Node:
    """Return a node that reads other values, where names says so; in its branches too."""
    if not names or not any(name in names for name in node.read):
        return node
    attributes = {
        key: _renamed_body(value, names) if isinstance(value, Body) else value
        for key, value in node.attributes.items()
    }
    inputs = tuple(names.get(name, name) for name in node.inputs)
    return node.changed(inputs=inputs, attributes=attributes)


def _renamed_body(body: Body, names: dict[str, str]) -> Body:
    inner = {name for node in body.nodes for name in node.outputs}
    inner |= {*body.constants, *body.inputs}
    outer = {old: new for old, new in names.items() if old not in inner}
    nodes = tuple(renamed(node, outer) for node in body.nodes)
    outputs = tuple(outer.get(name, name) for name in body.outputs)
    return Body(nodes, outputs, body.constants, body.inputs)


def _needed(graph: G) -> G:
    wanted = {value.name for value in graph.outputs}
    nodes = []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            nodes.append(node)
            wanted.update(node.read)
    constants = {name: value for name, value in graph.constants.items() if name in wanted}
    codes = {name: params for name, params in graph.codes.items() if name in wanted}
    return graph.changed(nodes=nodes[::-1], constants=constants, codes=codes)
