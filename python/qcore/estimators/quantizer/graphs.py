"""What `Quantizer` does with a graph: one pass over samples, then every weight by itself.

Statistics are those of the float graph: unlike in a chain, weights do not make up for the errors of
those before them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore._table import Report
from qcore.arrays.layerwise.algorithms import EQUALIZERS
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.params.observer import Observer
from qcore.arrays.params.qparams import QParams
from qcore.arrays.tensor.functions import fake_quantize
from qcore.estimators.equalization.rotated_graph import rotated_graph
from qcore.estimators.equalization.seams import scaled_graph, seam_scales
from qcore.estimators.graphs.batches import batches_of
from qcore.estimators.graphs.coded import CodedGroup, coded_groups
from qcore.estimators.graphs.corrections import corrected_biases, output_totals
from qcore.estimators.graphs.matrices import (
    can_hold_codes,
    has_groups,
    slots_by_name,
    with_matrices,
)
from qcore.estimators.graphs.rows import has_rows
from qcore.estimators.graphs.statistics import FEATURES, input_stats, observe
from qcore.estimators.quantizer import choice
from qcore.estimators.quantizer.report import graph_rows, scores, totals_of, weight_losses
from qcore.graph.graph import BaseGraph

if TYPE_CHECKING:
    from qcore.estimators.quantizer.quantizer import Quantizer

__all__ = ["GraphCodes", "graph_matrices", "ungrouped"]

# Ops that run on integers where their input and their weight are codes.
_ON_INTEGERS = ("Conv", "Gemm", "MatMul")


def graph_matrices(graph: BaseGraph) -> dict[str, NDArray[np.float32]]:
    """Return the float weights that can become codes, as matrices by the constants' names."""
    return {
        name: slot.matrix()
        for name, slot in slots_by_name(graph).items()
        if isinstance(slot.weight, np.ndarray) and can_hold_codes(slot)
    }


class GraphCodes:
    """The codes that a quantizer has found for one graph.

    Parameters
    ----------
    quantizer : Quantizer
        Whose options say how; `bits_` names the weights.
    graph : BaseGraph
    X : samples as `batches_of` takes them, optional
    y : labels, optional
        For scores in the report.
    """

    def __init__(self, quantizer: Quantizer, graph: BaseGraph, X: Any, y: Any = None) -> None:
        self._names = list(quantizer.bits_)
        self.scales: dict[str, NDArray[np.float32]] = {}
        self._turned: list[str] = []
        self._curve = quantizer.curve_
        batches = None if X is None else batches_of(graph, X)
        self._judges = X if hasattr(X, "dtype") else batches, y
        graph = self._equalized(quantizer, graph, batches)
        self.codes = self._observed(quantizer, graph, batches)
        self.stats = self._statistics(quantizer, graph, batches)
        matrices = graph_matrices(graph)
        self.tensors: dict[str, Any] = {}
        for name in self._names:
            self.tensors[name] = quantizer.quantized(name, matrices[name], self.stats.get(name))
        corrects = {
            name
            for name in self._names
            if "bias_correction" in quantizer.algorithms_of(name, name in self.stats)
        }
        self.biases = corrected_biases(graph, matrices, self.tensors, self.stats, corrects)

    def apply(self, given: BaseGraph) -> tuple[BaseGraph, Report]:
        """Return a graph with the codes, and what there is to say of it."""
        graph = rotated_graph(scaled_graph(given, self.scales), self._turned)
        weights = graph_matrices(graph)
        missing = [name for name in self._names if name not in weights]
        if missing:
            raise ValueError(f"model has no weight {missing[0]!r}, which fit has seen")
        small = with_matrices(graph, self.tensors, self.biases)
        small = small.changed(codes={**small.codes, **self.codes})
        rows = graph_rows(given, graph, small)
        totals = totals_of(rows)
        X, y = self._judges
        if X is not None:
            lost = weight_losses(graph, self.tensors, self.biases, self.codes, X)
            rows = [row | lost.get(row["tensor"], {}) for row in rows]
            totals |= output_totals(given, small, X) | scores(given, small, X, y)
        return small, Report("quantized", rows, totals, self._curve)

    # the parts ---------------------------------------------------------------------------------
    def _equalized(self, quantizer: Quantizer, graph: BaseGraph, batches: Any) -> BaseGraph:
        """Return the graph after the scales that were asked for have moved between its weights."""
        asked = [
            choice.network_algorithms(quantizer._option("algorithm", name)) for name in self._names
        ]
        for method in dict.fromkeys(step for steps in asked for step in steps):
            if method not in EQUALIZERS:
                continue  # a rotation, which is of one weight
            if not all(method in steps for steps in asked):
                raise ValueError(f"algorithm has {method!r} for some weights; it is for all")
            found = seam_scales(graph, method, batches, quantizer.tensor_options)
            graph = scaled_graph(graph, found)
            for name, scale in found.items():
                self.scales[name] = self.scales.get(name, np.float32(1)) * scale
        self._turned = [
            name for name, steps in zip(self._names, asked, strict=True) if "hadamard" in steps
        ]
        return rotated_graph(graph, self._turned)

    def _observed(self, quantizer: Quantizer, graph: BaseGraph, batches: Any) -> dict[str, QParams]:
        """Return the parameters of the values that run as integers."""
        products = []
        for slot in graph.slots:
            if slot.name not in quantizer.bits_ or slot.node.op not in _ON_INTEGERS:
                continue
            mode = quantizer._mode(slot.name, batches is not None)
            if mode == "dynamic" and quantizer._option("activations", slot.name) == "dynamic":
                raise ValueError("activations is 'dynamic'; a graph's are static, or give None")
            fits = quantizer.bits_[slot.name] <= 8 and slot.index == 1
            if mode == "static" and fits and slot.node.inputs[0] not in graph.constants:
                products.append(slot.node)
        if not products or batches is None:
            return {}
        groups = coded_groups(graph, products)
        given = {value.name for value in graph.inputs}
        observers = [_value_observer(quantizer, group, given) for group in groups]
        of_value = {
            name: seen
            for group, seen in zip(groups, observers, strict=True)
            for name in group.observed
        }
        observe(graph, batches, of_value, quantizer.progress)
        return {
            name: seen.qparams(signed=False, symmetric=False)
            for group, seen in zip(groups, observers, strict=True)
            for name in group.values
        }

    def _statistics(
        self, quantizer: Quantizer, graph: BaseGraph, batches: Any
    ) -> dict[str, InputStats]:
        """Return the statistics of what weights are multiplied with.

        Weights whose outputs read different rows (convolutions in groups, recurrent ones) and
        those of more than `FEATURES` inputs have none.
        """
        if batches is None:
            return {}
        slots = [slot for slot in graph.slots if slot.name in quantizer.bits_]
        slots = [slot for slot in slots if quantizer.algorithms_of(slot.name, True)]
        without = {slot.name for slot in slots if not has_rows(slot) or slot.shape[1] > FEATURES}
        wanted = [slot for slot in slots if slot.name not in without]
        if not wanted:
            return {}

        def as_codes(name: str, value: NDArray[Any]) -> NDArray[Any]:
            return fake_quantize(value, self.codes[name]) if name in self.codes else value

        return input_stats(graph, batches, wanted, quantizer.progress, as_codes)


def _value_observer(quantizer: Quantizer, group: CodedGroup, given: set[str]) -> Observer:
    """Return what finds the range of some values: by itself, the least squared error.

    A few large values out of a convolution cost more as steps for all others than they are worth;
    ``benches/tiny`` prints what each method leaves.
    """
    method = quantizer._option("observer", group.weight)
    if method == "entropy" and given.intersection(group.values):
        # Pixels and features that were integers once lie on a grid. Of its empty bins the
        # divergence makes so much that the threshold is all but 0.
        method = "minmax"
    percentile = quantizer._option("percentile", group.weight)
    return Observer("mse" if method == "auto" else method, percentile=percentile)


def ungrouped(graph: BaseGraph) -> set[str]:
    """Return the weights whose codes cannot go by groups: their inputs do not lie together."""
    return {name for name, slot in slots_by_name(graph).items() if not has_groups(slot)}
