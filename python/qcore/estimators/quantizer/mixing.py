"""Mixtures: measure what widths cost, choose, and let a quantizer take what was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from qcore._arguments.validation import check_one_of, single_samples
from qcore.arrays.layerwise.layerwise import ALGORITHMS
from qcore.estimators.calibration.calibration import layer_inputs
from qcore.estimators.graphs.batches import batches_of
from qcore.estimators.mixed.chains import measure
from qcore.estimators.mixed.graphs import measure_graph
from qcore.estimators.mixed.mixed import Mixture, check_choices
from qcore.estimators.mixed.mixture_target import TARGETS, mixture_for, the_target
from qcore.estimators.quantizer.graphs import GraphCodes, graph_matrices
from qcore.estimators.quantizer.walking import activation_qparams, quantize_layers
from qcore.graph.graph import BaseGraph

if TYPE_CHECKING:
    from qcore.arrays.params.qparams import QParams
    from qcore.chain.chain import Chain
    from qcore.estimators.quantizer.quantizer import Quantizer

__all__ = ["mix_chain", "mix_graph"]


def mix_chain(quantizer: Quantizer, net: Any, X: ArrayLike | None, y: Any) -> None:
    """Choose the widths of a mixture for a chain of dense layers."""
    target = _target(quantizer)
    if isinstance(net, Mapping) or X is None:
        raise ValueError("a mixture needs a network and samples X, to see what widths cost")
    by_layer = _by_layer(quantizer)
    samples = single_samples(X, net.layers[0].in_features)
    sources: dict[str, QParams | str | None] = {}
    for layer, value in layer_inputs(net, samples):
        name = f"{layer.name}.weight"
        mode = quantizer._mode(name, True) if name in quantizer.bits_ else None
        seen = quantizer._observer(layer.name).update(value) if mode == "static" else None
        sources[layer.name] = mode if seen is None else activation_qparams(seen)
    assert isinstance(quantizer.bits, tuple)
    choices = measure(
        net, samples, list(quantizer.bits_), sources, check_choices(quantizer.bits),
        steps=ALGORITHMS, by_layer=by_layer,
    )  # fmt: skip

    def quantized(mixture: Mixture) -> Chain:
        other = type(quantizer)(8, activations=quantizer.activations, progress=False)
        other.begin(net)
        other.take_mixture(mixture)
        modes = {name: other._mode(name, True) for name in other.bits_}
        quantize_layers(other, net, samples, modes)
        small: Chain = other.transform(net)
        return small

    quantizer.take_mixture(mixture_for(target, choices, net, samples, y, quantized))
    quantizer.curve_ = choices.curve()


def mix_graph(quantizer: Quantizer, graph: BaseGraph, X: Any, y: Any) -> None:
    """Choose the widths of a mixture for the weights of a graph."""
    target = _target(quantizer)
    if X is None:
        raise ValueError("a mixture needs samples X, to see what widths cost")
    assert isinstance(quantizer.bits, tuple)
    batches = batches_of(graph, X)
    choices = measure_graph(
        graph, batches, list(quantizer.bits_), check_choices(quantizer.bits), steps=ALGORITHMS,
        by_layer=_by_layer(quantizer),
    )  # fmt: skip

    def quantized(mixture: Mixture) -> BaseGraph:
        other = type(quantizer)(8, activations=quantizer.activations, progress=False)
        other._on_graph = True
        other.begin(graph_matrices(graph))
        _take(other, mixture)
        return GraphCodes(other, graph, X).apply(graph)[0]

    if target[0] == "min_score" and (isinstance(X, Mapping) or not hasattr(X, "dtype")):
        raise ValueError("min_score is given; a graph is scored on an array of samples X")
    _take(quantizer, mixture_for(target, choices, graph, X, y, quantized))
    quantizer.curve_ = choices.curve()


def _take(quantizer: Quantizer, mixture: Mixture) -> None:
    """Let a mixture hold, weights of one width as if it had been asked for by name."""
    quantizer.take_mixture(mixture)
    quantizer._whole = {
        name
        for name, rows in quantizer.mixture_.items()
        if not isinstance(rows, str) and np.unique(rows).size == 1 and rows[0] <= 8
    }


def _target(quantizer: Quantizer) -> tuple[str, float]:
    return the_target({name: getattr(quantizer, name) for name in TARGETS})


def _by_layer(quantizer: Quantizer) -> bool:
    check_one_of(quantizer.granularity, "granularity", ("channel", "layer"))
    return quantizer.granularity == "layer"
