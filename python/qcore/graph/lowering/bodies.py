"""Branches that are chosen at run time, seen as graphs of their own, and put back.

What a branch reads from outside are the inputs of that graph. So weights in branches are found,
coded and laid out by what does so everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from qcore.arrays.tensor.tensor import QTensor
from qcore.graph.graph import BaseGraph
from qcore.graph.lowering.operands import Place, laid_out, with_coded_rows
from qcore.graph.node import Body, Node
from qcore.graph.value import Value

__all__ = ["body_of", "branches_laid_out", "graph_of", "with_branches"]


def graph_of(body: Body, values: Mapping[str, Value] | None = None) -> BaseGraph:
    """Return a branch as a graph whose inputs are what it reads from outside.

    Parameters
    ----------
    body : Body
    values : mapping of str to Value, optional
        What is known of the values outside; without, all of them count as float32.
    """
    known = values or {}
    return BaseGraph(
        body.nodes,
        inputs=[
            Value(name, known[name].dtype, known[name].shape) if name in known
            else Value(name, "float32") for name in body.captured
        ],
        outputs=[Value(name, "float32") for name in dict.fromkeys(body.outputs)],
        constants=body.constants,
    )  # fmt: skip


def body_of(graph: BaseGraph, body: Body) -> Body:
    """Return a branch with the nodes and constants that its graph has now."""
    return Body(graph.nodes, body.outputs, graph.constants, body.inputs)


def with_branches(node: Node, change: Callable[[str, Body], Body]) -> Node:
    """Return a node with its branches, each by its attribute's name, changed."""
    bodies = {key: body for key, body in node.attributes.items() if isinstance(body, Body)}
    changed = {key: change(key, body) for key, body in bodies.items()}
    if all(changed[key] is body for key, body in bodies.items()):
        return node
    return node.changed(attributes={**node.attributes, **changed})


def branches_laid_out(nodes: tuple[Node, ...]) -> tuple[tuple[Node, ...], dict[Place, Any]]:
    """Return nodes in whose branches weights that are codes are laid out, and these weights.

    Nodes of such branches are renamed, so that a weight's node and attribute name it alone.
    """
    operands: dict[Place, Any] = {}

    def laid(node: Node, key: str, body: Body) -> Body:
        if not _has_codes(body):
            return body
        graph = graph_of(body)
        inner, found = laid_out(graph)
        inner, gathered = with_coded_rows(graph, inner)
        inner, deeper = branches_laid_out(inner)
        stem = f"{node.name}/{key}"
        operands.update(
            ((f"{stem}/{name}", attribute), weights)
            for (name, attribute), weights in {**found, **deeper}.items()
        )
        used = {name for one in inner for name in one.read} | set(body.outputs)
        constants = {**graph.constants, **gathered}
        return Body(
            tuple(_under(one, stem) for one in inner), body.outputs,
            {name: constant for name, constant in constants.items() if name in used}, body.inputs,
        )  # fmt: skip

    return tuple(with_branches(node, partial(laid, node)) for node in nodes), operands


def _under(node: Node, stem: str) -> Node:
    """Return a node of a branch by its full name; so are those of the branches in it."""
    renamed = node.changed(name=f"{stem}/{node.name}")

    def deeper(key: str, body: Body) -> Body:
        return Body(
            tuple(_under(one, stem) for one in body.nodes), body.outputs, body.constants,
            body.inputs,
        )  # fmt: skip

    return with_branches(renamed, deeper)


def _has_codes(body: Body) -> bool:
    """Whether a branch, or one in it, has weights that are codes."""
    if any(isinstance(constant, QTensor) for constant in body.constants.values()):
        return True
    inner = [value for node in body.nodes for value in node.attributes.values()]
    return any(isinstance(value, Body) and _has_codes(value) for value in inner)
