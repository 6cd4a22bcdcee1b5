"""Loops whose trips are known, written out: each step's nodes, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qcore.errors import UnsupportedError
from qcore.graph.graph import BaseGraph, G
from qcore.graph.lowering.lower import run_nodes
from qcore.graph.node import Body, Node
from qcore.graph.passes.branches import apart
from qcore.graph.passes.fold import fold_constants, known_shapes
from qcore.graph.passes.tidy import renamed, tidied
from qcore.graph.value import Value

__all__ = ["refuse_loops", "unroll_loops"]

#: The most nodes that loops may become.
_MOST = 20_000
_LOOPS = ("Loop", "Scan")


def unroll_loops(graph: G) -> G:
    """Return a graph without the loops whose trips are known, their steps written out.

    The constants of a step are those of the graph, which all trips share.
    """
    work = _Unrolled(graph)
    for node in graph.nodes:
        if node.op not in _LOOPS or not work.takes(node):
            work.nodes.append(node)
    if not work.found:
        return graph
    return graph.changed(nodes=work.nodes, constants=work.constants)


def refuse_loops(graph: BaseGraph) -> None:
    """Refuse a graph in which loops are left.

    Raises
    ------
    UnsupportedError
        Names the op and the first node.
    """
    left = [node for node in _every(graph.nodes) if node.op in _LOOPS]
    if left:
        counts: dict[str, list[str]] = {}
        for node in left:
            counts.setdefault(node.op, []).append(node.name)
        raise UnsupportedError.of(
            [(op, len(names), names[0]) for op, names in counts.items()],
            "; loops run where their trips follow from constants and fixed sizes, up to "
            f"{_MOST:,} nodes: export the model with fixed sizes, or without the loop",
        )


def _every(nodes: Sequence[Node]) -> list[Node]:
    """Return nodes and those of their branches."""
    found = list(nodes)
    for node in nodes:
        for value in node.attributes.values():
            if isinstance(value, Body):
                found += _every(value.nodes)
    return found


@dataclass
class _Unrolled:
    """The nodes and constants of a graph while its loops are written out."""

    graph: BaseGraph
    nodes: list[Node] = field(default_factory=list)
    found: bool = False

    def __post_init__(self) -> None:
        self.constants: dict[str, Any] = dict(self.graph.constants)
        self.taken = set(self.constants) | {value.name for value in self.graph.inputs}
        self.taken |= set(self.graph.producers)

    def takes(self, node: Node) -> bool:
        """Write a loop out, if that can be done."""
        before = list(self.nodes), dict(self.constants), set(self.taken)
        body = node.get("body")
        if isinstance(body, Body) and (
            self._loop(node, body) if node.op == "Loop" else self._scan(node, body)
        ):
            self.found = True
            return True
        self.nodes, self.constants, self.taken = before
        return False

    # parts -------------------------------------------------------------------------------------
    def constant(self, stem: str, value: Any) -> str:
        """Add a constant; return its name."""
        name, number = stem, 1
        while name in self.taken:
            number += 1
            name = f"{stem}#{number}"
        self.taken.add(name)
        self.constants[name] = value
        return name

    def add(self, name: str, op: str, inputs: Sequence[str], made: str, **more: Any) -> str:
        """Add a node; return what it makes."""
        self.nodes.append(Node(name, op, tuple(inputs), (made,), more))
        self.taken.add(made)
        return made

    def shared(self, node: Node, body: Body) -> Body:
        """Return a step whose constants have become those of the graph."""
        names = {
            name: self.constant(f"{node.name}/{name}", value)
            for name, value in body.constants.items()
        }
        nodes = tuple(renamed(inner, names) for inner in body.nodes)
        outputs = tuple(names.get(name, name) for name in body.outputs)
        return Body(nodes, outputs, {}, body.inputs)

    def step(self, node: Node, body: Body, given: Sequence[str]) -> tuple[str, ...] | None:
        """Add the nodes of a step for these inputs; return its outputs; None if they are many."""
        if len(self.nodes) + len(body.nodes) > _MOST:
            return None
        here = dict(zip(body.inputs, given, strict=True))
        one = apart(node, Body(body.nodes, body.outputs, {}), self.taken)
        self.taken |= {name for inner in one.nodes for name in inner.outputs}
        self.nodes += [renamed(inner, here) for inner in one.nodes]
        return tuple(here.get(name, name) for name in one.outputs)

    def finish(self, node: Node, states: Sequence[str]) -> None:
        """Name the states of a loop as they are at last."""
        for place, (output, name) in enumerate(zip(node.outputs, states, strict=False)):
            if output:
                self.add(f"{node.name}.{place}", "Identity", [name], output)

    def collect(
        self, node: Node, parts: Sequence[Sequence[str]], first: int, axes: Sequence[int]
    ) -> bool:
        """Put what each step gave side by side; whether that can be done."""
        for place, axis in enumerate(axes):
            output = node.outputs[first + place] if first + place < len(node.outputs) else ""
            if not output:
                continue
            if not parts:
                return False  # what has no trip has no shape
            rows = []
            at = self.constant(f"{node.name}.axis", np.array([axis], np.int64))
            for trip, part in enumerate(parts):
                stem = f"{output}:{trip}"
                rows.append(self.add(stem, "Unsqueeze", [part[place], at], stem))
            self.add(f"{node.name}.{first + place}", "Concat", rows, output, axis=axis)
        return True

    def known(self, name: str) -> Any:
        """Return a value that follows from constants and fixed sizes; None if it does not."""
        if name in self.constants:
            return self.constants[name]
        made = {output: node for node in self.nodes for output in node.outputs if output}
        todo, needed = [name], {}
        while todo:
            wanted = todo.pop()
            node = made.get(wanted)
            if node is None and wanted not in self.constants:
                break
            if node is not None and id(node) not in needed:
                needed[id(node)] = node
                todo += node.read
        else:
            nodes = [node for node in self.nodes if id(node) in needed]
            try:
                return run_nodes(nodes, self.constants, [name])[name]
            except (UnsupportedError, ValueError, TypeError):
                return None
        return self._by_sizes(name)

    def _by_sizes(self, name: str) -> Any:
        graph = self._before([name])
        if graph is None:
            return None
        graph = tidied(fold_constants(known_shapes(graph)))
        node = graph.producers.get(name)
        source = node.inputs[0] if node is not None and node.op == "Identity" else name
        return graph.constants.get(source)

    def _before(self, names: Sequence[str]) -> BaseGraph | None:
        """Return the graph of what is there so far, up to some values."""
        outputs = [Value(name, "float32") for name in names]
        try:
            graph = BaseGraph(
                self.nodes, inputs=self.graph.inputs, outputs=outputs, constants=self.constants
            )
        except (ValueError, TypeError):
            return None
        return tidied(graph)

    # loops -------------------------------------------------------------------------------------
    def _loop(self, node: Node, body: Body) -> bool:
        most = None
        if node.input(0):
            most = self.known(node.inputs[0])
            if most is None or np.size(most) != 1:
                return False
            most = int(np.reshape(most, ()))
        going = node.input(1) or self.constant(f"{node.name}.going", np.array(True))
        states = list(node.inputs[2:])
        if len(body.inputs) != 2 + len(states) or len(body.outputs) < 1 + len(states):
            return False
        body = self.shared(node, body)
        parts: list[Sequence[str]] = []
        trip = 0
        while most is None or trip < most:
            goes = self.known(going)
            if goes is None or np.size(goes) != 1:
                return False
            if not bool(np.reshape(goes, ())):
                break
            count = self.constant(f"{node.name}.trip", np.array(trip, np.int64))
            made = self.step(node, body, [count, going, *states])
            if made is None:
                return False
            going, trip = made[0], trip + 1
            states = list(made[1 : 1 + len(states)])
            parts.append(made[1 + len(states) :])
        axes = [0] * (len(body.outputs) - 1 - len(states))
        if not self.collect(node, parts, len(states), axes):
            return False
        self.finish(node, states)
        return True

    def _scan(self, node: Node, body: Body) -> bool:
        count = int(node.get("num_scan_inputs", 0))
        states, taken = list(node.inputs[: len(node.inputs) - count]), node.inputs[-count:]
        collected = len(body.outputs) - len(states)
        if count < 1 or len(body.inputs) != len(node.inputs) or collected < 0:
            return False

        def each(name: str, number: int) -> list[int]:
            found = list(node.get(name, ()))
            return found if found else [0] * number

        axes, back = each("scan_input_axes", count), each("scan_input_directions", count)
        out_axes = each("scan_output_axes", collected)
        out_back = each("scan_output_directions", collected)
        if not len(axes) == len(back) == count or not len(out_axes) == len(out_back) == collected:
            return False
        graph = self._before(taken)
        trips = None if graph is None else _length(graph.values, taken, axes)
        if trips is None:
            return False
        body = self.shared(node, body)
        parts: list[Sequence[str]] = []
        for trip in range(trips):
            given = list(states)
            for name, axis, reverse in zip(taken, axes, back, strict=True):
                at = trips - 1 - trip if reverse else trip
                place = self.constant(f"{node.name}.place", np.array(at, np.int64))
                stem = f"{node.name}:{name}:{trip}"
                given.append(self.add(stem, "Gather", [name, place], stem, axis=axis))
            made = self.step(node, body, given)
            if made is None:
                return False
            states = list(made[: len(states)])
            parts.append(made[len(states) :])
        turned = [
            [parts[trips - 1 - trip if back else trip][place]
             for place, back in enumerate(out_back)]
            for trip in range(trips)
        ]  # fmt: skip
        if not self.collect(node, turned, len(states), out_axes):
            return False
        self.finish(node, states)
        return True


def _length(values: Mapping[str, Value], names: Sequence[str], axes: Sequence[int]) -> int | None:
    """Return the one size of the axes along which values are taken; None if it is not known."""
    found = set()
    for name, axis in zip(names, axes, strict=True):
        shape = values[name].shape
        if shape is None or not -len(shape) <= axis < len(shape):
            return None
        found.add(shape[axis])
    length = next(iter(found)) if len(found) == 1 else None
    return length if isinstance(length, int) else None
