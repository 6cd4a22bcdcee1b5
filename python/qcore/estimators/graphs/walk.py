"""Samples on their way through a graph and its quantized twin, node by node, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.params.qparams import QParams
from qcore.arrays.tensor.functions import fake_quantize
from qcore.estimators.graphs.rows import kept_tokens, rows_of
from qcore.graph.graph import BaseGraph
from qcore.graph.node import Node
from qcore.graph.running.inputs import check_inputs
from qcore.graph.slots import WeightSlot
from qcore.graph.value import Value

__all__ = ["GraphWalk", "TooLargeError"]

Live = dict[str, NDArray[Any]]

#: Bytes of the values that are kept of all samples between two nodes.
MOST = 1 << 30


class TooLargeError(Exception):
    """The values between two nodes take too much memory."""


class GraphWalk:
    """Gives the rows that each weight takes when those before it are quantized.

    Parameters
    ----------
    graph : BaseGraph
        In floats.
    batches : sequence of mappings
        From the inputs' names to arrays.
    codes : mapping of str to QParams
        Values that become integers.
    """

    def __init__(
        self,
        graph: BaseGraph,
        batches: Sequence[Mapping[str, NDArray[Any]]],
        codes: Mapping[str, QParams],
    ) -> None:
        self._graph = graph
        self._codes = codes
        self._place = {node.name: place for place, node in enumerate(graph.nodes)}
        self._last = {name: place for place, node in enumerate(graph.nodes) for name in node.read}
        self._nodes = list(graph.nodes)
        self._constants = dict(graph.constants)
        self._done = 0
        self._exact: list[Live] = [check_inputs(graph.inputs, batch) for batch in batches]
        self._found: list[Live] = [self._coded(live) for live in self._exact]
        self._kept = [kept_tokens(graph, live) for live in self._exact]

    def stats(self, slot: WeightSlot) -> InputStats:
        """Go on to the node of a weight, and return the statistics of the rows that it takes.

        Raises
        ------
        TooLargeError
            If the values there take more than `MOST` bytes.
        """
        self._advance(self._place[slot.node.name])
        source = slot.node.inputs[0]
        stats = InputStats()
        for exact, found, kept in zip(self._exact, self._found, self._kept, strict=True):
            if source in self._constants:  # too large to have been folded
                exact = found = {source: np.asarray(self._constants[source])}
            if not np.isfinite(exact[source]).all():
                raise ValueError(f"the value {source!r} of the graph is not finite on the samples")
            rows = [rows_of(slot, live[source], kept) for live in (found, exact)]
            stats.update(*rows)
        return stats

    def shift(self, slot: WeightSlot, matrix: NDArray[Any]) -> NDArray[np.float64]:
        """Return by how much the mean outputs of a convolution fall with this matrix, (out,).

        For weights whose outputs read different rows, so that one matrix of statistics says nothing
        of them: the node runs on what both graphs have of its input.
        """
        self._advance(self._place[slot.node.name])
        node, source = slot.node, slot.node.inputs[0]
        kept = {
            key: value for key, value in node.attributes.items() if not key.startswith("activation")
        }
        alone = Node(node.name, node.op, (source, "weight"), ("out",), kept)
        means = []
        weights = (np.asarray(slot.weight), slot.weight_of(np.asarray(matrix, np.float32)))
        for lives, weight in zip((self._exact, self._found), weights, strict=True):
            shape = lives[0][source].shape
            part = BaseGraph(
                [alone],
                inputs=[Value(source, "float32", (None, *shape[1:]))],
                outputs=[Value("out", "float32")],
                constants={"weight": np.ascontiguousarray(weight, np.float32)},
            )
            count, total = 0, np.zeros(slot.shape[0])
            for live in lives:
                out = part.run({source: live[source]})["out"]
                count += out.size // slot.shape[0]
                total += out.sum(axis=(0, *range(2, out.ndim)), dtype=np.float64)
            means.append(total / max(count, 1))
        return np.asarray(means[0] - means[1])

    def quantize(
        self, slot: WeightSlot, matrix: NDArray[Any], bias: tuple[str, Any] | None
    ) -> None:
        """Let the twin have this matrix in the place of a weight, and this bias by its name."""
        place = self._place[slot.node.name]
        node, name = self._nodes[place], f"{slot.name}:quantized"
        inputs = list(node.inputs)
        inputs[slot.index] = name
        self._constants[name] = slot.weight_of(np.asarray(matrix, np.float32))
        if bias is not None:
            old = self._graph.constants.get(bias[0])
            shape = np.shape(bias[1]) if old is None else np.shape(old)
            self._constants[f"{bias[0]}:quantized"] = np.reshape(bias[1], shape)
            inputs[2:3] = [f"{bias[0]}:quantized"]
        self._nodes[place] = node.changed(inputs=tuple(inputs))

    def _coded(self, live: Live) -> Live:
        return {
            name: fake_quantize(value, self._codes[name]) if name in self._codes else value
            for name, value in live.items()
        }

    def _advance(self, place: int) -> None:
        if place <= self._done:
            return
        exact, found = self._graph.nodes[self._done : place], self._nodes[self._done : place]
        wanted = [
            name for node in exact for name in node.outputs if self._last.get(name, -1) >= place
        ]
        self._exact = self._through(exact, self._exact, wanted, place)
        self._found = self._through(found, self._found, wanted, place)
        self._found = [
            live | self._coded({name: live[name] for name in wanted}) for live in self._found
        ]
        self._done = place
        lives = (*self._exact, *self._found)
        if sum(value.nbytes for live in lives for value in live.values()) > MOST:
            raise TooLargeError

    def _through(
        self, nodes: Sequence[Node], lives: list[Live], wanted: list[str], place: int
    ) -> list[Live]:
        """Return what nodes from `place` on need, after these nodes."""
        made = {name for node in nodes for name in node.outputs}
        read = {name for node in nodes for name in node.read} - made
        part = None
        if wanted:
            part = BaseGraph(
                nodes,
                inputs=[
                    _value_of(name, [live[name] for live in lives])
                    for name in sorted(read & set(lives[0]))
                ],
                outputs=[Value(name, self._graph.values[name].dtype) for name in wanted],
                constants={n: c for n, c in self._constants.items() if n in read},
            )
        after = []
        for live in lives:
            new = {}
            if part is not None:
                new = part.run({value.name: live[value.name] for value in part.inputs})
            kept = {name: v for name, v in live.items() if self._last.get(name, -1) >= place}
            after.append(kept | new)
        return after


def _value_of(name: str, values: Sequence[NDArray[Any]]) -> Value:
    """Return what a value is in all batches: dims are open where they differ, and the first."""
    sizes = zip(*(value.shape for value in values), strict=True)
    shape = [size[0] if axis and len(set(size)) == 1 else None for axis, size in enumerate(sizes)]
    return Value(name, values[0].dtype.name, tuple(shape))
