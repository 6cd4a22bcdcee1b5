"""Branches whose condition is known, put in the place of their node."""

from __future__ import annotations

from typing import Any

import numpy as np

from qcore.graph.graph import G
from qcore.graph.node import Body, Node
from qcore.graph.passes.tidy import renamed

__all__ = ["apart", "inline_branches"]


def inline_branches(graph: G) -> G:
    """Return a graph without the ``If`` nodes whose condition is a constant.

    The nodes of the branch that it chooses take their place, and so do its constants, which are
    weights like all others then.
    """
    taken = set(graph.constants) | {value.name for value in graph.inputs} | set(graph.producers)
    constants: dict[str, Any] = dict(graph.constants)
    nodes: list[Node] = []
    found = False
    for node in graph.nodes:
        chosen = _chosen(node, constants)
        if chosen is None:
            nodes.append(node)
            continue
        found = True
        body = apart(node, chosen, taken)
        taken |= set(body.constants) | {name for inner in body.nodes for name in inner.outputs}
        constants |= body.constants
        nodes += body.nodes
        for place, (made, name) in enumerate(zip(node.outputs, body.outputs, strict=True)):
            if made:
                nodes.append(Node(f"{node.name}.{place}", "Identity", (name,), (made,)))
    return graph.changed(nodes=nodes, constants=constants) if found else graph


def _chosen(node: Node, constants: dict[str, Any]) -> Body | None:
    """Return the branch that a node takes, where that is known."""
    if node.op != "If" or node.inputs[0] not in constants:
        return None
    condition = np.asarray(constants[node.inputs[0]])
    if condition.size != 1:
        return None
    body = node.get("then_branch" if condition.reshape(-1)[0] else "else_branch")
    return body if isinstance(body, Body) else None


def apart(node: Node, body: Body, taken: set[str]) -> Body:
    """Return a branch with names that nothing around it has."""
    made = [name for inner in body.nodes for name in inner.outputs if name]
    names: dict[str, str] = {}
    for name in (*body.constants, *made):
        new, number = name, 1
        while new in taken or new in names.values():
            number += 1
            new = f"{node.name}/{name}#{number}"
        names[name] = new
    changed = {old: new for old, new in names.items() if old != new}
    nodes = [
        renamed(inner, changed).changed(
            outputs=tuple(names.get(name, name) for name in inner.outputs)
        )
        for inner in body.nodes
    ]
    constants = {names[name]: constant for name, constant in body.constants.items()}
    return Body(tuple(nodes), tuple(names.get(name, name) for name in body.outputs), constants)
