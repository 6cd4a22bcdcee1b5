"""What `Quantizer` does with a graph: ranges of values first, then weight by weight.

Weights make up for the errors of those before them, as in a chain: samples go through the float
graph and the quantized one side by side. Where the values between two nodes would take too much
memory, and for weights that several nodes share, statistics are those of the float graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore._display.progress import EpochProgress
from qcore._display.table import Report
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
    bias_name,
    can_hold_codes,
    has_groups,
    slots_by_name,
    with_matrices,
)
from qcore.estimators.graphs.rows import has_rows
from qcore.estimators.graphs.statistics import FEATURES, input_stats, observe
from qcore.estimators.graphs.walk import GraphWalk, TooLargeError
from qcore.estimators.quantizer import choice
from qcore.estimators.quantizer.attention import integer_products
from qcore.estimators.quantizer.modes import activation_errors, chosen_mode
from qcore.estimators.quantizer.report import graph_rows, scores, totals_of, weight_losses
from qcore.graph.graph import BaseGraph
from qcore.graph.lowering.operands import DYNAMIC, is_product
from qcore.graph.lowering.recurrent import CELLS
from qcore.graph.node import Node
from qcore.graph.slots import WeightSlot

if TYPE_CHECKING:
    from qcore.estimators.quantizer.quantizer import Quantizer

__all__ = [
    "GraphCodes", "by_rows", "graph_matrices", "tables", "told_of", "ungrouped", "without_codes",
]  # fmt: skip

# Ops that run on integers where their input and their weight are codes.
_ON_INTEGERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


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
        given = graph
        graph = self._equalized(quantizer, graph, batches)
        tried = quantizer._tried
        if tried is None or tried[0] is not given or tried[1] is not X:
            tried = given, X, activation_errors(quantizer, graph, batches)
            quantizer._tried = tried
        self._errors = tried[2]
        quantizer._auto = chosen_mode(self._errors)
        #: Names of the products and cells whose inputs become int8 while they run.
        self.dynamic: set[str]
        self.codes = self._observed(quantizer, graph, batches)
        if self.dynamic or self.codes:
            self.dynamic |= integer_products(graph, batches, quantizer.attention)
        self.stats: dict[str, InputStats] = {}
        self.tensors: dict[str, Any] = {}
        self.biases: dict[str, NDArray[np.float32]] = {}
        slots = self._with_stats(quantizer, graph) if batches is not None else []
        try:
            self._walk(quantizer, graph, slots, batches)
        except TooLargeError:
            self.stats = self._float_stats(quantizer, graph, slots, batches)
            for name in self._names:
                self._take(quantizer, graph, name)

    def apply(self, given: BaseGraph) -> tuple[BaseGraph, Report]:
        """Return a graph with the codes, and what there is to say of it."""
        graph = rotated_graph(scaled_graph(given, self.scales), self._turned)
        weights = graph_matrices(graph)
        missing = [name for name in self._names if name not in weights]
        if missing:
            raise ValueError(f"model has no weight {missing[0]!r}, which fit has seen")
        small = with_matrices(graph, self.tensors, self.biases)
        nodes = _marked(small, self.dynamic)
        small = small.changed(nodes=nodes, codes={**small.codes, **self.codes})
        taken = {slot.name: _activations(small, slot) for slot in small.slots if slot.index == 1}
        rows = [
            row | ({"activations": taken[row["tensor"]]} if row["tensor"] in taken else {})
            for row in graph_rows(given, graph, small)
        ]
        totals = totals_of(rows)
        X, y = self._judges
        if X is not None:
            lost = weight_losses(graph, self.tensors, self.biases, self.codes, X)
            rows = [row | lost.get(row["tensor"], {}) for row in rows]
            totals |= output_totals(given, small, X) | scores(given, small, X, y)
        totals |= {f"{mode} error": error for mode, error in self._errors.items()}
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
        modes = list(_modes(quantizer, graph, batches is not None))
        products = [slot.node for slot, mode in modes if mode == "static"]
        self.dynamic = _dynamic_names(graph, modes)
        self.dynamic |= _cell_names(quantizer, graph, samples=batches is not None)
        if quantizer._by_rows:
            self.dynamic |= _row_names(quantizer, graph, quantizer._wide)
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
            if name not in quantizer._wide
        }

    def _with_stats(self, quantizer: Quantizer, graph: BaseGraph) -> list[WeightSlot]:
        """Return the weights that an algorithm fits to what they are multiplied with.

        Weights whose outputs read different rows (convolutions in groups, recurrent ones) and
        those of more than `FEATURES` inputs have no such statistics.
        """
        slots = [slot for slot in graph.slots if slot.name in quantizer.bits_]
        pruned = () if quantizer._pruner is None else quantizer._pruner.targets_
        slots = [s for s in slots if s.name in pruned or quantizer.algorithms_of(s.name, True)]
        without = {slot.name for slot in slots if not has_rows(slot) or slot.shape[1] > FEATURES}
        return [slot for slot in slots if slot.name not in without]

    def _float_stats(
        self, quantizer: Quantizer, graph: BaseGraph, slots: list[WeightSlot], batches: Any
    ) -> dict[str, InputStats]:
        """Return statistics of the float graph, values that become codes rounded."""

        def as_codes(name: str, value: NDArray[Any]) -> NDArray[Any]:
            return fake_quantize(value, codes[name]) if name in codes else value

        if not slots:
            return {}
        codes = self._codes_before(quantizer)
        return input_stats(graph, batches, slots, quantizer.progress, as_codes)

    def _codes_before(self, quantizer: Quantizer) -> dict[str, QParams]:
        """Return the codes of values that weights make up for."""
        return {} if quantizer._apart else self.codes

    def _walk(
        self, quantizer: Quantizer, graph: BaseGraph, slots: list[WeightSlot], batches: Any
    ) -> None:
        """Quantize weight by weight, each on what those before it leave of the samples."""
        places = [slot.name for slot in graph.slots]
        shared = [slot for slot in slots if places.count(slot.name) > 1]
        self.stats = self._float_stats(quantizer, graph, shared, batches)
        fitted = {slot.name for slot in slots} - set(self.stats)
        walk = GraphWalk(graph, batches, self._codes_before(quantizer)) if fitted else None
        todo = [slot for slot in graph.slots if slot.name in self._names]
        with EpochProgress(quantizer.progress, len(todo), "quantize") as ticker:
            for done, slot in enumerate(todo):
                name = slot.name
                ticker.update(done, name)
                if walk is not None and name in fitted:
                    self.stats[name] = walk.stats(slot)
                if name not in self.tensors:
                    self._take(quantizer, graph, name)
                bias = bias_name(graph, name)
                if walk is not None and bias is not None and name not in self.stats:
                    self._shift(quantizer, graph, walk, slot, bias)
                if walk is not None:
                    new = (bias, self.biases[bias]) if bias in self.biases else None
                    walk.quantize(slot, self.tensors[name].dequantize(), new)

    def _shift(
        self, quantizer: Quantizer, graph: BaseGraph, walk: GraphWalk, slot: WeightSlot, bias: str
    ) -> None:
        """Correct the bias of a convolution in groups, of whose rows there are no statistics."""
        asked = "bias_correction" in quantizer.algorithms_of(slot.name, True)
        if not asked or slot.node.op != "Conv":
            return
        old = graph.constants.get(bias, np.zeros(slot.shape[0], np.float32))
        if np.size(old) == slot.shape[0]:
            off = walk.shift(slot, self.tensors[slot.name].dequantize())
            self.biases[bias] = (np.reshape(old, -1) + off).astype(np.float32)

    def _take(self, quantizer: Quantizer, graph: BaseGraph, name: str) -> None:
        """Find the codes of a weight, and the bias that goes with them."""
        matrix = slots_by_name(graph)[name].matrix()
        stats = self.stats.get(name)
        q = self.tensors[name] = quantizer.quantized(name, matrix, stats)
        if stats is not None and "bias_correction" in quantizer.algorithms_of(name, True):
            found = corrected_biases(graph, {name: matrix}, {name: q}, {name: stats}, [name])
            self.biases |= found


def _activations(graph: BaseGraph, slot: WeightSlot) -> str:
    """Return how a product takes its input."""
    if slot.node.get(DYNAMIC):
        return "dynamic"
    return "static" if slot.node.inputs[0] in graph.codes else "float32"


def without_codes(small: BaseGraph, names: Iterable[str], report: Report) -> BaseGraph:
    """Return a quantized graph with values as floats again, and say so in the report."""
    wide = set(names)
    codes = {name: params for name, params in small.codes.items() if name not in wide}
    return told_of(small.changed(codes=codes), report)


def by_rows(
    quantizer: Quantizer, small: BaseGraph, wide: Iterable[str], report: Report
) -> BaseGraph | None:
    """Return a quantized graph whose products take values that are wide as int8 row by row.

    None where there is no such product, or where another way was asked for.
    """
    names = _row_names(quantizer, small, wide)
    return told_of(small.changed(nodes=_marked(small, names)), report) if names else None


def told_of(small: BaseGraph, report: Report) -> BaseGraph:
    """Return the graph, of which the report says how its products take their inputs."""
    taken = {slot.name: _activations(small, slot) for slot in small.slots if slot.index == 1}
    for row in report.rows:
        if "activations" in row and row["tensor"] in taken:
            row["activations"] = taken[row["tensor"]]
    return small


def _modes(
    quantizer: Quantizer, graph: BaseGraph, samples: bool
) -> Iterator[tuple[WeightSlot, str | None]]:
    """Yield the weights of products that can run on integers, and how each takes its input."""
    for slot in graph.slots:
        if slot.name not in quantizer.bits_ or slot.node.op not in _ON_INTEGERS:
            continue
        mode = quantizer._mode(slot.name, samples)
        by_default = quantizer._option("activations", slot.name) == "auto"
        grouped = quantizer._option("group_size", slot.name) is not None
        if samples and mode == "dynamic" and by_default and not grouped:
            # A convolution has no rows: codes go on from one to the next.
            mode = "dynamic" if is_product(graph, slot.node) else "static"
        fits = quantizer.bits_[slot.name] <= 8 and slot.index == 1
        if fits and slot.node.inputs[0] not in graph.constants:
            yield slot, mode


def _dynamic_names(graph: BaseGraph, modes: Iterable[tuple[WeightSlot, str | None]]) -> set[str]:
    return {
        slot.node.name for slot, mode in modes if mode == "dynamic" and is_product(graph, slot.node)
    }


def _row_names(quantizer: Quantizer, graph: BaseGraph, wide: Iterable[str]) -> set[str]:
    """Return the products that may take values that are left wide as int8 row by row."""
    values = set(wide)
    return {
        slot.node.name
        for slot, mode in _modes(quantizer, graph, samples=True)
        if mode == "static" and slot.node.inputs[0] in values and is_product(graph, slot.node)
    }


def _cell_names(quantizer: Quantizer, graph: BaseGraph, *, samples: bool) -> set[str]:
    """Return the recurrent cells whose inputs and states become int8 while they run.

    A state has no range of its own that samples could show: "static" is "dynamic" for it.
    """
    coded: dict[str, list[bool]] = {}
    for slot in graph.slots:
        if slot.node.op in CELLS:
            fits = quantizer.bits_.get(slot.name, 16) <= 8
            integer = fits and quantizer._mode(slot.name, samples) is not None
            coded.setdefault(slot.node.name, []).append(integer)
    return {name for name, both in coded.items() if both == [True, True]}


def _marked(graph: BaseGraph, names: set[str]) -> list[Node]:
    """Return a graph's nodes, these as products whose inputs become int8 while they run."""
    return [
        node.changed(attributes={**node.attributes, DYNAMIC: 1}) if node.name in names else node
        for node in graph.nodes
    ]


def marked_dynamic(quantizer: Quantizer, graph: BaseGraph) -> list[Node]:
    """Return a graph's nodes as they are once its weights have the codes that no samples gave."""
    names = _dynamic_names(graph, _modes(quantizer, graph, samples=False))
    names |= _cell_names(quantizer, graph, samples=False)
    if names:
        names |= integer_products(graph, None, quantizer.attention)
    return _marked(graph, names)


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


def tables(graph: BaseGraph) -> set[str]:
    """Return the weights of which rows are gathered, and nothing else: embeddings."""
    read = {name: graph.readers.get(name, ()) for name in slots_by_name(graph)}
    return {
        name
        for name, nodes in read.items()
        if nodes and all(node.op == "Gather" and node.inputs[0] == name for node in nodes)
    }
