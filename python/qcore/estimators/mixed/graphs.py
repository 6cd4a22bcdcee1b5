"""What widths cost the outputs of a graph's weights.

There are no derivatives of a graph. How much the outputs of a weight count is measured instead: the
weight is rounded coarsely, alone, and what the graph's outputs lose by that is divided by what the
rows of the weight were off by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.layerwise.layerwise import row_errors
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.params.observer import Observer
from qcore.arrays.params.qparams import QParams
from qcore.arrays.tensor.functions import quantize
from qcore.estimators.graphs.matrices import slots_by_name, with_matrices
from qcore.estimators.graphs.rows import has_rows
from qcore.estimators.graphs.statistics import FEATURES, input_stats
from qcore.estimators.mixed.mixed import Choices, Part, fastest_ns, float_errors
from qcore.graph.graph import BaseGraph
from qcore.graph.slots import WeightSlot, layout_nodes
from qcore.graph.value import Value

__all__ = ["coded_steps", "measure_graph", "plain_stats"]

Batch = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float32]

#: Width to which weights are rounded to see how much their outputs count.
PROBE = 4

#: Samples on which that is seen.
SAMPLES = 64


def measure_graph(
    graph: BaseGraph,
    batches: Iterable[Batch],
    names: Sequence[str],
    widths: list[int],
    *,
    steps: tuple[str, ...],
    by_layer: bool,
) -> Choices:
    """Measure what each width costs each output of the weights `names`."""
    slots = slots_by_name(graph)
    seen = [slots[name] for name in names if _has_stats(slots[name])]
    stats = input_stats(graph, batches, seen) if seen else {}
    few = _first(batches)
    wanted = [graph.run(batch) for batch in few]
    values = graph.run(few[0], dict.fromkeys(slots[name].node.inputs[0] for name in names))
    parts = []
    for name in names:
        slot = slots[name]
        weight = slot.matrix()
        known = stats.get(name)
        taken = plain_stats(weight.shape[1]) if known is None else known
        codes = [bits for bits in widths if bits <= 8]
        lost = row_errors(weight, taken, codes, steps if known is not None else coded_steps(steps))
        real = float_errors(weight, taken.gram / taken.count, widths[len(codes) :])
        counts = _importance(graph, few, wanted, name, weight, taken)
        errors = np.stack([*lost.T, *real], axis=1) * counts
        timer, extra = _Timer(slot, graph, values), _extra_bytes(slot)
        parts.append(Part(name, weight.shape[1], errors, timer, extra))
    return Choices(widths, by_layer, parts)


def plain_stats(columns: int) -> InputStats:
    """Return the statistics of inputs that nothing is known of: alike, and not correlated."""
    rows = np.eye(columns, dtype=np.float32) * np.float32(np.sqrt(columns))
    return InputStats().update(rows)


def coded_steps(steps: tuple[str, ...]) -> tuple[str, ...]:
    """Return the steps that need no means of inputs."""
    return tuple(step for step in steps if step != "bias_correction")


def _has_stats(slot: WeightSlot) -> bool:
    return has_rows(slot) and slot.shape[1] <= FEATURES


def _first(batches: Iterable[Batch]) -> list[Batch]:
    """Return as many batches as hold about `SAMPLES` samples."""
    found: list[Batch] = []
    count = 0
    for batch in batches:
        found.append(batch)
        count += max((len(array) for array in batch.values() if array.ndim), default=1)
        if count >= SAMPLES:
            break
    return found


def _importance(
    graph: BaseGraph,
    batches: Sequence[Batch],
    wanted: Sequence[Mapping[str, NDArray[Any]]],
    name: str,
    weight: Floats,
    stats: InputStats,
) -> float:
    """Return the squared error of the graph's outputs for each unit of a weight's own."""
    rough = quantize(weight, bits=PROBE, axis=0).dequantize()
    off = (weight - rough).astype(np.float64)
    own = float(np.einsum("ij,ij->", off @ (stats.gram / stats.count), off))
    if own == 0:
        return 0.0
    changed = with_matrices(graph, {name: rough}, {})
    lost, count = 0.0, 0
    for batch, exact in zip(batches, wanted, strict=True):
        for output, value in changed.run(batch).items():
            if value.dtype.kind == "f" and value.size:
                lost += float(np.sum((value.astype(np.float64) - exact[output]) ** 2))
                count = count + (len(value) if value.ndim else 1)
    return lost / max(1, count) / own


def _extra_bytes(slot: WeightSlot) -> int:
    """Return the most that rows of several widths add: a bias, and shapes to lay them out."""
    _, shapes = layout_nodes(slot, slot.name)
    bias = 0 if slot.bias else 4 * slot.shape[0]
    return bias + sum(shape.nbytes for shape in shapes.values())


class _Timer:
    """Tells how long one sample takes in the node of a weight, all of it at a width."""

    def __init__(
        self, slot: WeightSlot, graph: BaseGraph, values: Mapping[str, NDArray[Any]]
    ) -> None:
        self._slot = slot
        self._graph = graph
        value = values[slot.node.inputs[0]]
        self._x = np.ascontiguousarray(value[:1] if value.ndim > 1 else value, np.float32)
        self._known: dict[bool, int] = {}

    def __call__(self, bits: int) -> int:
        # Codes of 8 bits may run as integers; all else as the floats that it stands for.
        whole = bits == 8
        if whole not in self._known:
            self._known[whole] = self._measured(whole=whole)
        return self._known[whole]

    def _measured(self, *, whole: bool) -> int:
        slot, graph = self._slot, self._graph
        node = slot.node
        source = node.inputs[0]
        inputs = list(node.inputs)
        constants = {name: graph.constants[name] for name in inputs if name in graph.constants}
        if any(name and name != source and name not in constants for name in inputs):
            inputs = inputs[:3]  # a residual costs the same at every width
        single = BaseGraph(
            [node.changed(inputs=tuple(inputs))],
            inputs=[Value(source, "float32", self._x.shape)],
            outputs=[Value(name, "float32") for name in node.outputs if name],
            constants=constants,
        )
        if whole:
            codes = quantize(slot.matrix(), axis=0)
            single = with_matrices(single, {slot.name: codes}, {})
            single = single.changed(codes={source: _range_of(self._x)})
        return fastest_ns(lambda: single.run({source: self._x}))


def _range_of(x: Floats) -> QParams:
    return Observer().update(x.reshape(1, -1)).qparams(signed=False, symmetric=False)
