"""Scales that move along the seams of a graph, as `equalization` has them for chains.

What the weights before a seam are divided by, those behind it are multiplied by; between them is
only what lets a positive factor of a channel through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.params.input_stats import InputStats
from qcore.estimators.equalization.awq import activation_aware_scale
from qcore.estimators.equalization.cross_layer_equalization import cross_layer_scale
from qcore.estimators.equalization.norms import norm_seams
from qcore.estimators.equalization.smoothquant import smoothing_scale
from qcore.estimators.graphs.matrices import with_matrices
from qcore.estimators.graphs.rows import has_rows
from qcore.estimators.graphs.statistics import FEATURES, input_stats
from qcore.graph.graph import BaseGraph
from qcore.graph.seams import Seam
from qcore.graph.slots import WeightSlot

__all__ = ["scaled_graph", "seam_scales"]

Floats = NDArray[np.float32]

#: From the name of a weight to how it will be quantized, as in `qcore.quantize`.
OptionsOf = Callable[[str], Mapping[str, Any]]


def seam_scales(
    graph: BaseGraph, method: str, batches: Any, options_of: OptionsOf
) -> dict[str, Floats]:
    """Return what the channels of each seam are to be divided by, powers of two.

    By the name of the first weight before the seam. Seams that pass no factor, whose weights are
    codes or shared, or behind which are several weights of which a method knows none, have none.
    """
    if method != "cross_layer_equalization" and batches is None:
        raise ValueError(f"{method} needs samples: give X, or use cross_layer_equalization")
    seams = [seam for seam in graph.seams if _is_movable(graph, seam)]
    stats: dict[str, InputStats] = {}
    if batches is not None and method != "cross_layer_equalization":
        slots = [reader.slot for seam in seams for reader in seam.readers]
        slots += [slot for norm in norm_seams(graph) for slot in norm.readers]
        slots = [slot for slot in slots if has_rows(slot) and slot.shape[1] <= FEATURES]
        stats = input_stats(graph, batches, slots) if slots else {}
    scales: dict[str, Floats] = {}
    for norm in norm_seams(graph) if stats else ():
        found = [
            _scale_of(method, slot, stats[slot.name], options_of)
            for slot in norm.readers if slot.name in stats
        ]  # fmt: skip
        if found:
            scales[norm.constants[0]] = _power_of_two(found)
    for seam in seams:
        found = []
        for reader in seam.readers:
            weight = _by_channel(reader.slot.matrix(), seam.size, reader.repeat)
            if method == "cross_layer_equalization":
                before = np.concatenate([slot.matrix() for slot in seam.producers], axis=1)
                found.append(cross_layer_scale(before, weight))
            elif reader.slot.name in stats and reader.slot.shape[1] == seam.size:
                seen = stats[reader.slot.name]
                found.append(_scale_of(method, reader.slot, seen, options_of))
        if found:
            scales[seam.producers[0].name] = _power_of_two(found)
    return scales


def _scale_of(
    method: str, slot: WeightSlot, seen: InputStats, options_of: OptionsOf
) -> NDArray[Any]:
    """Return what one weight would have its inputs divided by."""
    if method == "smoothquant":
        return smoothing_scale(slot.matrix(), seen)
    return activation_aware_scale(slot.matrix(), seen, powers_of_two=True, **options_of(slot.name))


def _power_of_two(found: Sequence[NDArray[Any]]) -> Floats:
    """Return the geometric mean of scales as powers of two, so that not a bit is lost."""
    scale = np.exp(np.mean(np.log(np.stack(found)), axis=0))
    powers: Floats = np.exp2(np.rint(np.log2(scale))).astype(np.float32)
    return powers


def scaled_graph(graph: BaseGraph, scales: Mapping[str, Floats]) -> BaseGraph:
    """Return a graph that computes the same, with the channels of its seams divided by scales."""
    if not scales:
        return graph
    matrices: dict[str, Floats] = {}
    biases: dict[str, Floats] = {}
    for seam in graph.seams:
        scale = scales.get(seam.producers[0].name)
        if scale is None:
            continue
        for slot in seam.producers:
            matrices[slot.name] = matrices.get(slot.name, slot.matrix()) / scale[:, None]
        for slot in (*seam.producers, *seam.passed):
            if slot.bias:
                biases[slot.bias] = np.asarray(graph.constants[slot.bias], np.float32) / scale
        for reader in seam.readers:
            name = reader.slot.name
            matrix = matrices.get(name, reader.slot.matrix())
            matrices[name] = matrix * _columns(scale, matrix.shape[1], reader.repeat)
    for norm in norm_seams(graph):
        scale = scales.get(norm.constants[0])
        if scale is None:
            continue
        biases |= norm.divided(graph.constants, scale)
        for slot in norm.readers:
            matrices[slot.name] = matrices.get(slot.name, slot.matrix()) * scale
    return with_matrices(graph, matrices, biases)


def _columns(scale: Floats, columns: int, repeat: int) -> Floats:
    """Return the scale of each column: channels side by side within a tap, or spread by Flatten."""
    spread = np.repeat(scale, repeat)
    return np.tile(spread, columns // len(spread))


def _by_channel(matrix: Floats, size: int, repeat: int) -> Floats:
    """Return a matrix (rows, channels) with all that reads a channel in its column."""
    taps = matrix.shape[1] // (size * repeat)
    split = matrix.reshape(len(matrix), taps, size, repeat)
    return np.ascontiguousarray(split.transpose(0, 1, 3, 2).reshape(-1, size))


def _is_movable(graph: BaseGraph, seam: Seam) -> bool:
    slots = [*seam.producers, *seam.passed, *(reader.slot for reader in seam.readers)]
    names = [slot.name for slot in graph.slots]
    return (
        seam.scales
        and all(isinstance(slot.weight, np.ndarray) for slot in slots)
        and all(names.count(slot.name) == 1 for slot in slots)
        and all(reader.slot.shape[1] % (seam.size * reader.repeat) == 0 for reader in seam.readers)
        and all(slot.shape[0] == seam.size for slot in seam.producers)
        and all(len(graph.readers.get(slot.bias, ())) <= 1 for slot in slots if slot.bias)
    )
