"""Seams: an axis of channels, the weights that produce it and those that read it.

Methods that scale, drop or join channels (equalization, SmoothQuant, AWQ, pruning of neurons, low
rank) act on a seam and know nothing of ops: what is done to the rows of its producers is undone in
the columns of its readers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qcore.arrays.products.activations import ACTIVATIONS
from qcore.graph.node import Node
from qcore.graph.slots import WeightSlot

if TYPE_CHECKING:
    from qcore.graph.graph import BaseGraph

__all__ = ["Reader", "Seam", "seams_of"]

# What passes channels on one by one, and lets a positive factor of a channel through.
_SCALED = {
    "AveragePool", "Dropout", "GlobalAveragePool", "GlobalMaxPool", "Identity", "LeakyRelu",
    "MaxPool", "Neg", "ReduceMean", "Relu",
}  # fmt: skip
# What passes channels on one by one, and no factor.
_KEPT = {
    "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Log", "Sigmoid", "Silu",
    "Softplus", "Sqrt", "Tanh",
}  # fmt: skip
# Sums and products of several values, whose channels are then one axis.
_JOINED = {"Add": True, "Sub": True, "Mul": False, "Div": False, "Max": True, "Min": True}
_CHANNELS_FIRST = ("Conv", "ConvTranspose")


@dataclass(frozen=True, eq=False)
class Reader:
    """A weight that reads an axis.

    Attributes
    ----------
    slot : WeightSlot
    repeat : int
        How many neighbouring columns of a weight behind a Flatten belong to a channel; 1 elsewhere.
    """

    slot: WeightSlot
    repeat: int


@dataclass(frozen=True, eq=False)
class Seam:
    """An axis between weights.

    Attributes
    ----------
    producers : tuple of WeightSlot
        Whose outputs the axis is; more than one where a sum joins them.
    readers : tuple of Reader
        Whose inputs it is.
    passed : tuple of WeightSlot
        Depthwise weights between them, with a row for each channel.
    between : tuple of Node
        All nodes between, the depthwise ones among them.
    size : int
        How many channels there are.
    scales : bool
        Whether a positive factor of a channel comes through what is between unchanged.
    """

    producers: tuple[WeightSlot, ...]
    readers: tuple[Reader, ...]
    passed: tuple[WeightSlot, ...]
    between: tuple[Node, ...]
    size: int
    scales: bool


class _Axis:
    """Channels on their way, joined with others by sums."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.parent = self
        self.producers: list[WeightSlot] = []
        self.readers: list[Reader] = []
        self.passed: list[WeightSlot] = []
        self.between: dict[str, Node] = {}
        self.scales = True
        self.closed = True  # whether nothing but what is listed reads or makes it

    def root(self) -> _Axis:
        axis = self
        while axis.parent is not axis:
            axis = axis.parent
        return axis

    def join(self, other: _Axis) -> _Axis:
        one, two = self.root(), other.root()
        if one is two:
            return one
        two.parent = one
        one.producers += two.producers
        one.readers += two.readers
        one.passed += two.passed
        one.between |= two.between
        one.scales &= two.scales
        one.closed &= two.closed
        return one


@dataclass(frozen=True)
class _Place:
    """Where the channels of a value are."""

    axis: _Axis
    first: bool  # at dim 1, as images have them; else at the last
    repeat: int = 1


class _Walk:
    """Follows the channels through a graph, node by node."""

    def __init__(self, graph: BaseGraph) -> None:
        self.graph = graph
        self.places: dict[str, _Place] = {}
        self.axes: list[_Axis] = []
        self.slots = {(slot.node.name, slot.index): slot for slot in graph.slots}

    def seams(self) -> tuple[Seam, ...]:
        for node in self.graph.nodes:
            self.take(node)
        for value in self.graph.outputs:
            self.block(value.name)
        order = {node.name: place for place, node in enumerate(self.graph.nodes)}
        found = []
        for axis in self.axes:
            if axis.root() is axis and axis.closed and axis.producers and axis.readers:
                found.append(
                    Seam(
                        tuple(sorted(axis.producers, key=lambda slot: order[slot.node.name])),
                        tuple(axis.readers),
                        tuple(axis.passed),
                        tuple(axis.between.values()),
                        axis.size,
                        axis.scales,
                    )
                )
        return tuple(found)

    def block(self, name: str) -> None:
        """Note that something reads a value that does not let channels be changed."""
        place = self.places.get(name)
        if place is not None:
            place.axis.root().closed = False

    def take(self, node: Node) -> None:
        slot = self.slots.get((node.name, 1))
        if node.op in ("Conv", "ConvTranspose", "Gemm", "MatMul") and slot is not None:
            self.product(node, slot)
        elif node.op in _SCALED or node.op in _KEPT:
            self.unary(node, node.op in _SCALED)
        elif node.op in _JOINED:
            self.join(node, _JOINED[node.op])
        elif node.op == "Flatten" or node.op == "Reshape":
            self.flatten(node)
        else:
            for name in node.read:
                self.block(name)

    def product(self, node: Node, slot: WeightSlot) -> None:
        first = node.op in _CHANNELS_FIRST
        source = node.inputs[0]
        place = self.places.get(source)
        groups = int(node.get("group", 1))
        depthwise = node.op == "Conv" and groups > 1 and groups == slot.shape[0]
        scales = ACTIVATIONS[str(node.get("activation", "linear"))].scales
        if depthwise and place is not None and place.first and place.repeat == 1:
            axis = place.axis.root()
            axis.passed.append(slot)
            axis.between[node.name] = node
        else:
            if place is not None and self._fits(node, slot, place, groups):
                place.axis.root().readers.append(Reader(slot, place.repeat))
            else:
                self.block(source)
            axis = self._new(slot.shape[0])
            axis.producers.append(slot)
            axis.closed = groups == 1
        axis.scales &= scales
        residual = node.input(3)
        found = _Place(axis, first)
        if residual:
            found = self._joined(found, residual)
        self.places[node.outputs[0]] = found

    def _fits(self, node: Node, slot: WeightSlot, place: _Place, groups: int) -> bool:
        if node.op in _CHANNELS_FIRST:
            return place.first and groups == 1 and place.repeat == 1
        return not place.first and slot.shape[1] == place.axis.root().size * place.repeat

    def unary(self, node: Node, scaled: bool) -> None:
        place = self.places.get(node.inputs[0])
        if place is None or (node.op == "ReduceMean" and not place.first):
            for name in node.read:
                self.block(name)
            return
        axis = place.axis.root()
        axis.between[node.name] = node
        axis.scales &= scaled
        self.places[node.outputs[0]] = place
        for name in node.inputs[1:]:
            self.block(name)

    def join(self, node: Node, scaled: bool) -> None:
        known = [name for name in node.inputs if name in self.places]
        others = [name for name in node.inputs if name not in self.places]
        if not known or any(not self._is_number(name) for name in others):
            for name in known:
                self.block(name)
            return
        place = self.places[known[0]]
        for name in known[1:]:
            place = self._joined(place, name)
        axis = place.axis.root()
        axis.between[node.name] = node
        axis.scales &= scaled and not others
        self.places[node.outputs[0]] = place

    def _is_number(self, name: str) -> bool:
        """Whether a constant is one number, which is the same for every channel."""
        constant = self.graph.constants.get(name)
        return constant is not None and int(np.prod(constant.shape, dtype=np.int64)) == 1

    def _joined(self, place: _Place, name: str) -> _Place:
        other = self.places.get(name)
        same = other is not None and (other.first, other.repeat) == (place.first, place.repeat)
        if other is None or not same or other.axis.root().size != place.axis.root().size:
            self.block(name)
            place.axis.root().closed = False
            return place
        return _Place(place.axis.join(other.axis), place.first, place.repeat)

    def flatten(self, node: Node) -> None:
        place = self.places.get(node.inputs[0])
        for name in node.inputs[1:]:
            self.block(name)
        if place is None:
            return
        shape = self.graph.values[node.inputs[0]].shape
        made = self.graph.values[node.outputs[0]].shape
        whole = (
            shape is not None and made is not None and len(made) == 2
            and all(isinstance(dim, int) for dim in shape[1:])
        )  # fmt: skip
        if not whole or not place.first or shape is None or made is None:
            self.block(node.inputs[0])
            return
        channels = place.axis.root().size
        repeat = int(np.prod(shape[2:], dtype=np.int64))  # type: ignore[arg-type]
        if made[1] != channels * repeat:
            self.block(node.inputs[0])
            return
        place.axis.root().between[node.name] = node
        self.places[node.outputs[0]] = _Place(place.axis, False, repeat)

    def _new(self, size: int) -> _Axis:
        axis = _Axis(size)
        self.axes.append(axis)
        return axis


def seams_of(graph: BaseGraph) -> tuple[Seam, ...]:
    """Return the seams of a graph, in the order of the weights that produce them."""
    return _Walk(graph).seams()
