"""Two graphs on the same samples: what their outputs lose, by weight and altogether, and time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore.estimators.graphs.batches import batches_of
from qcore.estimators.mixed.mixed import fastest_ns
from qcore.graph.classifier import classifies
from qcore.graph.graph import BaseGraph
from qcore.report.compare.tensors import Outputs
from qcore.report.compare.variants import Variant

__all__ = ["compare_graph_outputs", "graph_losses", "graph_variants"]

Batch = Mapping[str, NDArray[Any]]

# Turns, of which the fastest counts.
_TURNS = 5


def compare_graph_outputs(
    before: BaseGraph, after: BaseGraph, X: Any, y: ArrayLike | None = None
) -> Outputs:
    """Run two graphs on the same samples; see `compare_outputs`."""
    signal = noise = worst = 0.0
    count = same = labelled = 0
    labels = classifies(before)
    for batch in batches_of(before, X):
        count += _samples_in(batch)
        exact, found = before.run(batch), after.run(batch)
        for name, value in exact.items():
            if value.shape != found[name].shape:
                raise ValueError(f"before gives outputs {value.shape}, after {found[name].shape}")
            wide = value.astype(np.float64)
            off = np.abs(found[name] - wide)
            signal += float(np.sum(wide**2))
            noise += float(np.sum(off**2))
            worst = max(worst, float(off.max(initial=0.0)))
            if labels and value.ndim > 1:
                labelled += len(value)
                one, other = (each.reshape(len(value), -1) for each in (value, found[name]))
                same += int(np.sum(one.argmax(axis=1) == other.argmax(axis=1)))
    scored = y is not None and hasattr(X, "dtype")
    return Outputs(
        samples=count,
        sqnr_db=_decibel(signal, noise),
        max_abs=worst,
        agreement=same / labelled if labelled else None,
        score_name="accuracy" if labels else "R²",
        before=before.score(X, y) if scored and y is not None else None,
        after=after.score(X, y) if scored and y is not None else None,
    )


def graph_losses(before: BaseGraph, after: BaseGraph, X: Any) -> list[dict[str, Any]]:
    """Return what the outputs lose when one weight alone is that of the small graph.

    See `qcore.report.page.layers.layer_losses`; ``changed`` is None where outputs are no labels.
    """
    batch = batches_of(before, X).first
    exact = before.run(batch)
    signal = _power(exact.values())
    weights, slots = after.named_weights(), {slot.name: slot for slot in after.slots}
    rows = []
    for slot in before.slots:
        weight = weights.get(slot.name)
        if weight is None or slot.name not in slots or weight is slot.weight:
            continue
        matrix = slots[slot.name].matrix()
        if matrix.shape != slot.shape or np.array_equal(matrix, slot.matrix()):
            continue
        found = before.with_weights({slot.name: slot.weight_of(matrix)}).run(batch)
        noise = _power(found[name] - exact[name].astype(np.float64) for name in exact)
        changed = None
        if classifies(before):
            [one], [other] = exact.values(), found.values()
            axes = tuple(each.reshape(len(each), -1).argmax(axis=1) for each in (one, other))
            changed = float(np.mean(axes[0] != axes[1]))
        sqnr = 10 * math.log10(signal / noise) if noise > 0 < signal else None
        rows.append({"tensor": slot.name, "sqnr": sqnr, "changed": changed})
    return rows


def graph_variants(
    graphs: Mapping[str, BaseGraph], sizes: Sequence[int], X: Any, y: ArrayLike | None
) -> list[Variant]:
    """Time graphs on one sample, in turns, and score them where there are labels."""
    first = next(iter(graphs.values()))
    batch = {
        name: array[:1] if _is_open(first, name) else array
        for name, array in batches_of(first, X).first.items()
    }
    best = dict.fromkeys(graphs, math.inf)
    for _ in range(_TURNS):
        for name, graph in graphs.items():
            best[name] = min(best[name], fastest_ns(lambda: graph.run(batch), 2) / 1000)  # noqa: B023
    scored = y is not None and hasattr(X, "dtype")
    return [
        Variant(name, size, graph.score(X, y) if scored and y is not None else None, best[name])
        for (name, graph), size in zip(graphs.items(), sizes, strict=True)
    ]


def _power(values: Any) -> float:
    return sum(float(np.sum(value.astype(np.float64) ** 2)) for value in values)


def _samples_in(batch: Batch) -> int:
    return max((len(array) for array in batch.values() if array.ndim), default=1)


def _is_open(graph: BaseGraph, name: str) -> bool:
    shape = next(value.shape for value in graph.inputs if value.name == name)
    return shape is not None and isinstance(next(iter(shape), None), str)


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf
