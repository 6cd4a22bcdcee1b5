"""Which values of a graph become codes, and which of them have to have the same.

A value is quantized where a product takes it, and wherever codes can go on from a product to the
next: through pools, additions, concatenations, tables, and what only moves elements. What passes
through unchanged keeps the codes of its input; what is joined shares those of the result; what a
clamp reads has those of its result, which saturate where it does. Where codes would only be moved
about and become floats again, they would lose something and save nothing: there are none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore.graph.graph import BaseGraph
from qcore.graph.node import Node

__all__ = ["CodedGroup", "coded_groups"]

# What moves, repeats or chooses elements of its first input.
_MOVES = frozenset({
    "DepthToSpace", "Dropout", "Expand", "Flatten", "GlobalMaxPool", "Identity", "MaxPool",
    "ReduceMax", "ReduceMin", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile",
    "Transpose", "Unsqueeze",
})  # fmt: skip
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_CLAMPS = frozenset({"Clip", "Relu"})
# What computes codes from codes, with parameters of their own.
_COMPUTES = frozenset({
    "Abs", "Add", "AveragePool", "Elu", "Erf", "Gelu", "GlobalAveragePool", "HardSigmoid",
    "HardSwish", "LeakyRelu", "Mul", "ReduceMean", "Sigmoid", "Silu", "Softplus", "Sub", "Tanh",
})  # fmt: skip
# What reads more than it makes, so that codes are worth their loss where floats follow, too.
_REDUCES = frozenset({
    "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceMax", "ReduceMean",
    "ReduceMin", "Resize",
})  # fmt: skip


class CodedGroup(NamedTuple):
    """Values with the same parameters.

    Attributes
    ----------
    values : tuple of str
    observed : tuple of str
        Those whose range all of them are to cover.
    weight : str
        The weight whose options say how the range is found.
    """

    values: tuple[str, ...]
    observed: tuple[str, ...]
    weight: str


def coded_groups(graph: BaseGraph, products: Collection[Node]) -> list[CodedGroup]:
    """Return the values that become codes where these products run on integers.

    Parameters
    ----------
    graph : BaseGraph
    products : collection of Node
        Each a Conv, ConvTranspose, Gemm or MatMul whose weight, the second input, becomes codes.
    """
    return _Placement(graph, products).groups()


class _Placement:
    def __init__(self, graph: BaseGraph, products: Collection[Node]) -> None:
        self.graph = graph
        self.products = [node for node in products if node.op in _PRODUCTS]
        self.integer = {id(node) for node in self.products}
        self.inner = {name for name, value in graph.values.items() if value.dtype == "float32"}
        self.inner -= set(graph.constants)
        self.outputs = {value.name for value in graph.outputs}

    def groups(self) -> list[CodedGroup]:
        """Return the groups, in the order of their first values."""
        coded = self._coded()
        parents = {name: name for name in coded}

        def root(name: str) -> str:
            while parents[name] != name:
                name = parents[name]
            return name

        unseen: set[str] = set()  # what is covered by another value of its group
        for node in self.graph.nodes:
            joined = [name for name in self._shared(node) if name in coded]
            for name in joined[1:]:
                parents[root(name)] = root(joined[0])
            if len(joined) > 1 and node.op not in _CLAMPS:
                unseen |= {name for name in node.outputs if name in coded}
        for node in reversed(self.graph.nodes):
            # What a clamp cuts off is not to be covered, however it comes to the clamp.
            made = node.outputs[0]
            if made in coded and (node.op in _CLAMPS or made in self._cut):
                self._cut |= {
                    name for name in self._data(node)
                    if name in coded and root(name) == root(made)
                    and self._only_reader(name, node)
                }  # fmt: skip
        members: dict[str, list[str]] = {}
        for name in coded:
            members.setdefault(root(name), []).append(name)
        found = []
        for names in members.values():
            seen = [name for name in names if name not in unseen and name not in self._cut]
            ends = [name for name in names if self._ends_clamp(name)]
            seen += [name for name in ends if name not in seen]
            found.append(CodedGroup(tuple(names), tuple(seen or names), self._weight(names)))
        return found

    # which values ------------------------------------------------------------------------------
    def _coded(self) -> dict[str, None]:
        self._cut: set[str] = set()
        must = {node.inputs[0] for node in self.products} & self.inner
        can = {name for name in self.inner - self.outputs if self._goes_on(name)} | must
        # Only what hangs together with a product.
        reached = set(must)
        reached |= {name for node in self.products for name in node.outputs if name in can}
        nodes = [node for node in self.graph.nodes if self._computes(node)]
        grown = -1
        while grown != len(reached):
            grown = len(reached)
            for node in (*nodes, *reversed(nodes)):
                around = {*self._data(node), *node.outputs} & can
                if around & reached:
                    reached |= around
        reached &= must | self._useful(reached)
        order = [value.name for value in self.graph.inputs]
        order += [name for node in self.graph.nodes for name in node.outputs]
        return dict.fromkeys(name for name in order if name in reached)

    def _useful(self, coded: Collection[str]) -> set[str]:
        """Return those of the values with codes that something takes as integers in the end."""
        useful: set[str] = set()
        for node in reversed(self.graph.nodes):
            if id(node) in self.integer:
                useful |= {name for name in (node.inputs[0], node.input(3)) if name in coded}
            elif self._computes(node) and (
                node.op in _REDUCES or useful.intersection(node.outputs)
            ):
                useful |= {name for name in self._data(node) if name in coded}
        return useful

    def _goes_on(self, name: str) -> bool:
        maker = self.graph.producers.get(name)
        readers = self.graph.readers.get(name, ())
        made = maker is None or id(maker) in self.integer or self._computes(maker)
        return made and bool(readers) and all(self._takes(node, name) for node in readers)

    def _takes(self, node: Node, name: str) -> bool:
        if id(node) in self.integer:
            return name in (node.inputs[0], node.input(3)) and name not in node.inputs[1:3]
        return self._computes(node) and name in self._data(node)

    def _computes(self, node: Node) -> bool:
        """Whether a node that is no product gives codes for codes."""
        op = node.op
        if op in _MOVES:
            return len([name for name in node.outputs if name]) == 1 or op == "Split"
        if op in ("Clip", "Relu"):
            return all(self._is_scalar(name) for name in node.inputs[1:] if name)
        if op == "Pad":
            filled = self._constant(node.input(2), 0.0)
            return filled is not None and not np.count_nonzero(filled)
        if op == "Resize":
            crops = "tf_crop_and_resize"
            return str(node.get("coordinate_transformation_mode", "half_pixel")) != crops
        if op == "Gather":
            return node.inputs[0] in self.inner
        return op == "Concat" or op in _COMPUTES

    def _is_scalar(self, name: str) -> bool:
        found = self._constant(name, None)
        return found is not None and found.size == 1

    def _constant(self, name: str, absent: float | None) -> NDArray[Any] | None:
        if not name:
            return None if absent is None else np.asarray(absent)
        found = self.graph.constants.get(name)
        return found if isinstance(found, np.ndarray) else None

    def _data(self, node: Node) -> tuple[str, ...]:
        if node.op in ("Concat", *_COMPUTES):
            return tuple(name for name in node.inputs if name in self.inner)
        return node.inputs[:1]

    # which share -------------------------------------------------------------------------------
    def _shared(self, node: Node) -> Iterator[str]:
        """Yield the values around a node that have the same parameters, the input first."""
        if not self._computes(node) or node.op in _COMPUTES:
            return
        if node.op in _CLAMPS and not self._only_reader(node.inputs[0], node):
            return
        yield from self._data(node)
        yield from (name for name in node.outputs if name)

    def _only_reader(self, name: str, node: Node) -> bool:
        return self.graph.readers.get(name) == (node,)

    def _ends_clamp(self, name: str) -> bool:
        maker = self.graph.producers.get(name)
        return maker is not None and maker.op in _CLAMPS and name not in self._cut

    def _weight(self, names: Iterable[str]) -> str:
        """Return the weight of a product that reads one of these values, else makes one."""
        wanted = set(names)
        for node in self.products:
            if wanted & {node.inputs[0], node.input(3)}:
                return node.inputs[1]
        for node in self.products:
            if wanted & set(node.outputs):
                return node.inputs[1]
        return self.products[0].inputs[1]
