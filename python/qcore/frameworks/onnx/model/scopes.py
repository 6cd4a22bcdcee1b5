"""Names in an ONNX graph and in the graphs inside its nodes: what is constant, and who reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Constant", "Scope", "Use", "graphs_of", "scan", "tensors_in", "tensors_in_nodes"]

_GRAPH, _GRAPHS = 5, 10  # AttributeProto's types


@dataclass(frozen=True)
class Use:
    """One reader of a value.

    Attributes
    ----------
    node : NodeProto or None
        None: a graph has the value as an output.
    place : int
        Which input it is.
    scope : Scope
        Where the node stands.
    """

    node: Any
    place: int
    scope: Scope


@dataclass
class Constant:
    """A constant of a graph: an initializer, or what a Constant node gives.

    Attributes
    ----------
    key : str
        Its name; where several graphs have one of that name, with the path to its graph.
    name : str
        In its graph.
    scope : Scope
    tensor : TensorProto
    node : NodeProto or None
        The Constant node.
    uses : list of Use
    """

    key: str
    name: str
    scope: Scope
    tensor: Any
    node: Any
    uses: list[Use] = field(default_factory=list)


@dataclass
class Scope:
    """A graph, and where it stands.

    Attributes
    ----------
    graph : GraphProto
    parent : Scope or None
    path : str
        From the outermost graph: node and attribute.
    constants : dict of str to Constant
    readers : dict of str to list of Use
        Of the values that are defined here, by nodes or as inputs.
    """

    graph: Any
    parent: Scope | None = None
    path: str = ""
    constants: dict[str, Constant] = field(default_factory=dict)
    readers: dict[str, list[Use]] = field(default_factory=dict)

    def home_of(self, name: str) -> Scope | None:
        """Return the innermost scope from here outwards that defines a name."""
        scope: Scope | None = self
        while scope is not None and name not in scope.constants and name not in scope.readers:
            scope = scope.parent
        return scope

    def constant(self, name: str) -> Constant | None:
        """Return the constant that a name stands for here."""
        home = self.home_of(name)
        return None if home is None else home.constants.get(name)


def graphs_of(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the graphs inside a node, with the names of their attributes."""
    for attribute in node.attribute:
        if attribute.type == _GRAPH:
            yield attribute.name, attribute.g
        elif attribute.type == _GRAPHS:
            yield from ((attribute.name, graph) for graph in attribute.graphs)


def tensors_in(graph: Any) -> Iterator[Any]:
    """Yield every tensor of a graph and of those inside it: initializers and attributes."""
    yield from graph.initializer
    yield from tensors_in_nodes(graph)


def tensors_in_nodes(graph: Any) -> Iterator[Any]:
    """Yield the tensors of a graph that are not its own initializers."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for _, inner in graphs_of(node):
            yield from tensors_in(inner)


def scan(graph: Any) -> list[Scope]:
    """Return the scopes of a graph, outermost first, with every use of what they define."""
    scopes = list(_scopes(graph, None, ""))
    for scope in scopes:
        for node in scope.graph.node:
            for place, name in enumerate(node.input):
                _note(scope, name, Use(node, place, scope))
        for value in scope.graph.output:
            _note(scope, value.name, Use(None, 0, scope))
    found = [constant for scope in scopes for constant in scope.constants.values()]
    count = Counter(constant.name for constant in found)
    for constant in found:
        if count[constant.name] > 1 and constant.scope.path:
            constant.key = f"{constant.scope.path}/{constant.name}"
    return scopes


def _note(scope: Scope, name: str, use: Use) -> None:
    home = scope.home_of(name) if name else None
    if home is None:
        return
    if name in home.constants:
        home.constants[name].uses.append(use)
    else:
        home.readers[name].append(use)


def _scopes(graph: Any, parent: Scope | None, path: str) -> Iterator[Scope]:
    scope = Scope(graph, parent, path)
    for tensor in graph.initializer:
        scope.constants[tensor.name] = Constant(tensor.name, tensor.name, scope, tensor, None)
    for value in graph.input:
        if value.name not in scope.constants:
            scope.readers[value.name] = []
    for node in graph.node:
        tensor = _value_of(node)
        if tensor is not None:
            name = node.output[0]
            scope.constants[name] = Constant(name, name, scope, tensor, node)
            continue
        for name in node.output:
            if name:
                scope.readers[name] = []
    yield scope
    for index, node in enumerate(graph.node):
        for name, inner in graphs_of(node):
            here = f"{node.name or f'{node.op_type} {index}'}.{name}"
            yield from _scopes(inner, scope, f"{path}/{here}" if path else here)


def _value_of(node: Any) -> Any:
    """Return the tensor of a Constant node; None of other nodes, and of texts and the like."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.HasField("t") and len(node.output) == 1:
            return attribute.t
    return None
