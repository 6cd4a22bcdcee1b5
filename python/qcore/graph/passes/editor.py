"""A graph while it is rewritten: who makes a value, who reads it, and one piece for another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore.errors import UnsupportedError
from qcore.graph.graph import BaseGraph, G
from qcore.graph.node import Node
from qcore.graph.passes.sides import Sides
from qcore.graph.value import Shape

__all__ = ["Editor", "Pattern", "rewritten"]

#: Looks whether a node ends a pattern; rewrites it and returns True, or returns False.
Pattern: TypeAlias = "Callable[[Node, Editor], bool]"


class Editor:
    """The nodes and constants of a graph, to be changed.

    Attributes
    ----------
    constants : dict of str to array, QTensor or sparse matrix
    """

    def __init__(self, graph: BaseGraph) -> None:
        self.graph = graph
        self.constants: dict[str, Any] = dict(graph.constants)
        self._outputs = {value.name for value in graph.outputs}
        if graph.exact is not None:
            # Each value with codes is rounded there, so it stays.
            self._outputs |= set(graph.codes)
        self._nodes: dict[int, Node] = dict(enumerate(graph.nodes))
        self._next = len(graph.nodes)
        self._maker = {name: key for key, n in self._nodes.items() for name in n.outputs if name}
        self._readers: dict[str, set[int]] = {}
        for key, node in self._nodes.items():
            for name in node.read:
                self._readers.setdefault(name, set()).add(key)
        self._shapes: dict[str, Shape | None] | None = None
        self._inputs = {value.name for value in graph.inputs}

    # looking -----------------------------------------------------------------------------------
    def nodes(self) -> list[Node]:
        """Return the nodes as they are now."""
        return list(self._nodes.values())

    def holds(self, node: Node) -> bool:
        """Whether a node is still there."""
        key = next((self._maker.get(name) for name in node.outputs if name), None)
        return key is not None and self._nodes.get(key) is node

    def maker(self, name: str, *ops: str) -> Node | None:
        """Return the node that makes a value, if it is of one of these ops (of any, for none)."""
        key = self._maker.get(name)
        if key is None:
            return None
        node = self._nodes[key]
        return node if not ops or node.op in ops else None

    def inner(self, name: str, *ops: str) -> Node | None:
        """As `maker`, for a value that only one node reads and that is no output."""
        return self.maker(name, *ops) if self.is_inner(name) else None

    def is_inner(self, name: str) -> bool:
        """Whether one node reads a value, once, and nothing else wants it."""
        readers = self._readers.get(name, set())
        if len(readers) != 1 or name in self._outputs:
            return False
        return self._nodes[next(iter(readers))].inputs.count(name) == 1

    def readers(self, name: str) -> list[Node]:
        """Return the nodes that read a value."""
        return [self._nodes[key] for key in sorted(self._readers.get(name, ()))]

    def only_reader(self, name: str, *ops: str) -> Node | None:
        """Return the one node that reads a value, if it is of one of these ops."""
        if not self.is_inner(name):
            return None
        node = self.readers(name)[0]
        return node if node.op in ops else None

    def array(self, name: str) -> NDArray[Any] | None:
        """Return a constant that is a plain array."""
        found = self.constants.get(name)
        return found if isinstance(found, np.ndarray) else None

    def scalar(self, name: str) -> float | None:
        """Return a constant of one number."""
        array = self.array(name)
        if array is None or array.size != 1 or array.dtype.kind not in "fiu":
            return None
        return float(array.reshape(()))

    def shape(self, name: str) -> Shape | None:
        """Return what inference knows of a value's shape."""
        if self._shapes is None:
            try:
                self._shapes = {key: value.shape for key, value in self.graph.values.items()}
            except (UnsupportedError, ValueError, TypeError):
                self._shapes = {}
        found = self.constants.get(name)
        return tuple(found.shape) if found is not None else self._shapes.get(name)

    def note_shape(self, name: str, like: str) -> None:
        """Note that a new value has the shape of another."""
        shape = self.shape(like)
        if self._shapes is not None:
            self._shapes[name] = shape

    def same_shape(self, one: str, two: str) -> bool:
        """Whether two values are known to have one shape."""
        first, second = self.shape(one), self.shape(two)
        if first is None or second is None or first[:2] != second[:2] or len(first) != len(second):
            return False
        if None not in first and None not in second:
            return first == second
        if first[1:2] != second[1:2] or not isinstance(first[1], int):
            return False  # images of unknown sizes: what their channels are is known
        sides = Sides(self.shape, self.maker)
        terms = sides.of(one)
        # Of images whose sizes come from one value, there are as many.
        open_sides = terms is not None and any(not isinstance(side, int) for side in terms)
        return open_sides and terms == sides.of(two)

    # changing ----------------------------------------------------------------------------------
    def constant(self, stem: str, value: ArrayLike) -> str:
        """Add a constant; return its name."""
        name, number = stem, 1
        while name in self.constants or name in self._maker or name in self._inputs:
            number += 1
            name = f"{stem}#{number}"
        array = np.ascontiguousarray(value)
        array = array.reshape(np.shape(value))
        self.constants[name] = array.astype(np.float32) if array.dtype == np.float64 else array
        return name

    def replace(self, old: Iterable[Node], new: Sequence[Node]) -> bool:
        """Put nodes in the place of others; return True."""
        for node in {id(node): node for node in old}.values():
            key = self._maker[next(name for name in node.outputs if name)]
            del self._nodes[key]
            for name in node.outputs:
                self._maker.pop(name, None)
            for name in node.read:
                self._readers[name].discard(key)
        for node in new:
            key, self._next = self._next, self._next + 1
            self._nodes[key] = node
            for name in node.outputs:
                if name:
                    self._maker[name] = key
            for name in node.read:
                self._readers.setdefault(name, set()).add(key)
        return True


def rewritten(graph: G, patterns: Iterable[Pattern]) -> G:
    """Return a graph with patterns rewritten, one after another, each wherever it is found."""
    editor = Editor(graph)
    for pattern in patterns:
        again = True
        while again:
            again = False
            for node in editor.nodes():
                if editor.holds(node) and pattern(node, editor):
                    again = True
    return graph.changed(nodes=editor.nodes(), constants=editor.constants)
