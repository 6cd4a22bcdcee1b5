"""What changed weights do to a graph's outputs, and biases that make up for some of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.layerwise.bias_correction import corrected_bias
from qcore.arrays.params.input_stats import InputStats
from qcore.estimators.graphs.batches import batches_of
from qcore.estimators.graphs.matrices import bias_name
from qcore.graph.graph import BaseGraph

__all__ = ["corrected_biases", "graph_disagreement", "output_totals"]

#: Samples whose outputs are compared for the report.
JUDGES = 256


def corrected_biases(
    graph: BaseGraph,
    before: Mapping[str, NDArray[Any]],
    after: Mapping[str, Any],
    stats: Mapping[str, InputStats],
    names: Collection[str],
) -> dict[str, NDArray[np.float32]]:
    """Return the biases, by their own names, that keep the mean outputs of the weights `names`."""
    found: dict[str, NDArray[np.float32]] = {}
    for name in names:
        bias = bias_name(graph, name) if name in stats else None
        if bias is None:
            continue
        old = graph.constants.get(bias)
        if old is not None and np.size(old) != len(before[name]):
            continue  # broadcast over outputs: it has no entry for each
        old = None if old is None else np.asarray(old, np.float32).reshape(-1)
        found[bias] = corrected_bias(before[name], after[name], old, stats[name])
    return found


def output_totals(before: BaseGraph, after: BaseGraph, X: Any) -> dict[str, Any]:
    """Return what the outputs lose on the first samples, as a share of their variance.

    Of classifiers also ``agreement``, the share of samples with the same label.
    """
    lost = spread = seen = same = 0.0
    labels = len(before.outputs) == 1
    for batch in batches_of(before, X):
        exact, found = before.run(batch), after.run(batch)
        for name, wanted in exact.items():
            if wanted.dtype.kind != "f" or not wanted.size:
                labels = False
                continue
            wide = wanted.astype(np.float64)
            lost += float(np.sum((found[name] - wide) ** 2))
            spread += float(np.sum((wide - wide.mean()) ** 2))
            labels = labels and wanted.ndim == 2 and wanted.shape[1] > 1
            if labels:
                seen += len(wanted)
                same += float(np.sum(wanted.argmax(axis=1) == found[name].argmax(axis=1)))
        if seen >= JUDGES:
            break
    totals: dict[str, Any] = {"output error": lost / spread if spread else float(lost > 0)}
    return totals | ({"agreement": same / seen} if labels and seen else {})


def graph_disagreement(totals: Mapping[str, Any]) -> str | None:
    """Return what is wrong where a compressed graph answers otherwise; None where it does not.

    More than one answer in a hundred is another one or, where there are no labels, the outputs are
    off by more than a tenth of their spread.
    """
    agreement = totals.get("agreement")
    if agreement is not None:
        if agreement >= 0.99:
            return None
        return f"the graph gives {100 * (1 - agreement):.1f} % of the samples another answer"
    error = float(totals.get("output error", 0.0))
    if error <= 0.01:
        return None
    return f"the outputs of the graph are off by {100 * error**0.5:.0f} % of their spread"
