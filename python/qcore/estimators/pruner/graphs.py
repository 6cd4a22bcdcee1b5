"""What `Pruner` and `compact` do with a graph: weights as matrices, channels along seams."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore._display.progress import EpochProgress, Progress
from qcore._display.table import Report
from qcore.arrays.layerwise.bias_correction import corrected_bias
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.products.activations import ACTIVATIONS
from qcore.arrays.pruning.obs import Surgeon
from qcore.arrays.pruning.patterns import Mask, Pattern
from qcore.estimators.graphs.batches import batches_of, first_samples
from qcore.estimators.graphs.matrices import bias_name, slots_by_name, with_matrices
from qcore.estimators.graphs.rows import has_rows
from qcore.estimators.graphs.statistics import FEATURES, input_stats
from qcore.estimators.graphs.walk import GraphWalk, TooLargeError
from qcore.estimators.pruner.sensitivity import FINE, GRID, shared_out
from qcore.graph.graph import BaseGraph
from qcore.graph.seams import Seam

__all__ = [
    "channel_masks", "compact_graph", "graph_stats", "judged", "operated", "sensitive_shares",
]  # fmt: skip

#: Samples on which damage is measured.
SAMPLES = 32

Floats = NDArray[np.float32]

# What gives 0 for 0, so that a channel of zeros stays one.
_ZERO_STAYS = {
    "Add", "AveragePool", "Conv", "Dropout", "Elu", "Erf", "Flatten", "Gelu", "GlobalAveragePool",
    "GlobalMaxPool", "HardSwish", "Identity", "LeakyRelu", "Max", "MaxPool", "Min", "Mul", "Neg",
    "ReduceMean", "Relu", "Silu", "Sqrt", "Sub", "Tanh",
}  # fmt: skip


def judged(graph: BaseGraph, names: Collection[str]) -> list[str]:
    """Return the weights among these that have statistics of what they are multiplied with.

    Weights whose outputs read different rows (convolutions in groups, recurrent ones), those that
    are not multiplied and those of more than `FEATURES` inputs have none.

    Raises
    ------
    ValueError
        If no weight has statistics.
    """
    slots = slots_by_name(graph)
    found = [n for n in names if has_rows(slots[n]) and slots[n].shape[1] <= FEATURES]
    if not found:
        raise ValueError(f"no weight has statistics of its inputs: {sorted(names)}")
    return found


def graph_stats(
    graph: BaseGraph, X: Any, names: Collection[str], progress: Progress
) -> dict[str, InputStats]:
    """Return the statistics of what the weights of these names are multiplied with.

    Raises
    ------
    ValueError
        If there are no samples.
    """
    if X is None:
        raise ValueError("X is None; this criterion needs samples")
    slots = [slot for slot in graph.slots if slot.name in names]
    return input_stats(graph, batches_of(graph, X), slots, progress)


def operated(
    graph: BaseGraph,
    matrices: Mapping[str, Floats],
    given: Mapping[str, InputStats] | None,
    shares: Mapping[str, tuple[Pattern, float]],
    X: Any,
    progress: Progress = False,
) -> tuple[dict[str, Floats], dict[str, Floats], dict[str, Mask]]:
    """Prune by SparseGPT; returns weights and biases that make up for it, and the masks.

    Weight after weight makes up for those before it, too, unless statistics are given; weights that
    several nodes share, and graphs whose values take too much memory, are pruned by the statistics
    of the graph in floats.
    """
    found = _Operated({}, {}, {})
    places = [slot.name for slot in graph.slots]
    shared = [name for name in shares if places.count(name) > 1]
    stats = dict(given or (graph_stats(graph, X, shared, progress) if shared else {}))
    walk = None if given else GraphWalk(graph, list(batches_of(graph, X)), {})
    todo = [slot for slot in graph.slots if slot.name in shares]
    with EpochProgress(progress, len(todo), "prune") as ticker:
        for done, slot in enumerate(todo):
            name = slot.name
            ticker.update(done, name)
            if walk is not None and name not in stats:
                try:
                    stats[name] = walk.stats(slot)
                except TooLargeError:
                    walk = None
                    stats |= graph_stats(graph, X, set(shares) - set(stats), progress)
            if name not in found.masks:
                _operate(graph, name, matrices[name], stats[name], shares[name], found)
                if walk is not None and name not in shared:
                    del stats[name]  # of the square of its inputs
            if walk is not None:
                bias = bias_name(graph, name)
                new = (bias, found.biases[bias]) if bias in found.biases else None
                walk.quantize(slot, found.weights[name], new)
    return found.weights, found.biases, found.masks


class _Operated(NamedTuple):
    """What `operated` returns, as it comes."""

    weights: dict[str, Floats]
    biases: dict[str, Floats]
    masks: dict[str, Mask]


def _operate(
    graph: BaseGraph, name: str, matrix: Floats, stats: InputStats,
    share: tuple[Pattern, float], found: _Operated,
) -> None:  # fmt: skip
    bias = bias_name(graph, name)
    old = graph.constants.get(bias) if bias is not None else None
    fits = old is not None and np.size(old) == len(matrix)
    pruned, found.masks[name] = Surgeon(matrix, stats, centred=fits).prune(*share)
    found.weights[name] = pruned.astype(np.float32)
    if bias is not None and fits:
        flat = np.asarray(old, np.float32).reshape(-1)
        found.biases[bias] = corrected_bias(matrix, pruned, flat, stats)


def sensitive_shares(
    graph: BaseGraph,
    X: Any,
    targets: Mapping[str, float],
    matrices: Mapping[str, Floats],
    trial: Callable[[str, float], tuple[Floats, dict[str, Floats]]],
    progress: Progress,
    curve: Callable[[str], Floats] | None = None,
) -> dict[str, float]:
    """Return a sparsity for each weight: by what pruning it alone does to the graph's outputs.

    Parameters
    ----------
    trial : callable
        From a weight's name and a sparsity to the matrix, and biases that go with it.
    curve : callable, optional
        From a weight's name to what it loses at each sparsity of `FINE`, in proportion; the outputs
        are then looked at once for each weight, at the sparsity that all are to have together.
    """
    batches = list(batches_of(graph, X))
    # Samples may be sorted: those in the middle stand for all.
    batch = first_samples(graph, batches[len(batches) // 2 :], SAMPLES)[0]
    before = graph.run(batch)
    floats = [name for name, value in before.items() if value.dtype.kind == "f"]
    sizes = {name: matrices[name].size for name in targets}
    asked = sum(targets[name] * sizes[name] for name in targets) / max(1, sum(sizes.values()))
    scales: dict[str, Floats] = {}

    def measured(name: str, sparsity: float) -> float:
        matrix, biases = trial(name, sparsity)
        after = with_matrices(graph, {name: matrix}, biases).run(batch, floats)
        return sum(
            float(np.mean((after[out].astype(np.float64) - before[out]) ** 2)) for out in floats
        )

    def damage(name: str, sparsity: float) -> float:
        if curve is None:
            return measured(name, sparsity)
        if name not in scales:
            found = curve(name)
            here = float(np.interp(asked, FINE, found))
            scales[name] = found * (measured(name, asked) / here if here > 0 else 0.0)
        return float(scales[name][FINE.index(sparsity)])

    grid = GRID if curve is None else FINE
    return shared_out(targets, sizes, damage, progress, grid)


def channel_masks(
    graph: BaseGraph, share_of: Mapping[str, float]
) -> tuple[dict[str, Mask], dict[str, Mask]]:
    """Return the masks of channel pruning: rows of the weights before seams, and their biases.

    A channel is judged by the norm of all that makes it; each seam keeps at least one.

    Parameters
    ----------
    graph : BaseGraph
    share_of : mapping of str to float
        The share of channels that go, by the first weight before the seam.
    """
    masks: dict[str, Mask] = {}
    biases: dict[str, Mask] = {}
    for seam in removable(graph):
        share = share_of.get(seam.producers[0].name, 0.0)
        count = min(seam.size - 1, round(share * seam.size))
        if count <= 0:
            continue
        norms = sum(
            np.square(slot.matrix(), dtype=np.float64).sum(axis=1) for slot in seam.producers
        )
        keep: Mask = np.ones(seam.size, bool)
        keep[np.argsort(norms, kind="stable")[:count]] = False
        for slot in seam.producers:
            masks[slot.name] = np.repeat(keep[:, None], slot.shape[1], axis=1)
        for slot in (*seam.producers, *seam.passed):
            if slot.bias:
                biases[slot.bias] = keep
    return masks, biases


def removable(graph: BaseGraph) -> list[Seam]:
    """Return the seams whose channels can go: what lies between leaves a 0 a 0."""
    names = [slot.name for slot in graph.slots]
    found = []
    for seam in graph.seams:
        slots = [*seam.producers, *seam.passed, *(reader.slot for reader in seam.readers)]
        nodes = (*seam.between, *(slot.node for slot in seam.producers))
        if (
            all(isinstance(slot.weight, np.ndarray) for slot in slots)
            and all(names.count(slot.name) == 1 for slot in slots)
            and all(slot.shape[0] == seam.size for slot in (*seam.producers, *seam.passed))
            and all(
                reader.slot.shape[1] % (seam.size * reader.repeat) == 0 for reader in seam.readers
            )
            and all(node.op in _ZERO_STAYS for node in seam.between)
            and all(ACTIVATIONS[str(node.get("activation", "linear"))].keeps_zero for node in nodes)
            and all(len(graph.readers.get(slot.bias, ())) <= 1 for slot in slots if slot.bias)
        ):
            found.append(seam)
    return found


def compact_graph(graph: BaseGraph) -> BaseGraph:
    """Return the graph without the channels of its seams that are zero, or that nobody reads."""
    rows: list[dict[str, Any]] = []
    while True:
        step = _compacted_once(graph, rows)
        if step is None:
            break
        graph = step
    removed = sum(row["removed channels"] for row in rows)
    graph.report_ = Report(
        "compact", rows, {"tensor": "all", "removed channels": removed, "bytes": graph.nbytes}
    )
    return graph


def _compacted_once(graph: BaseGraph, rows: list[dict[str, Any]]) -> BaseGraph | None:
    """Return the graph with one seam made smaller; None where none can be."""
    for seam in removable(graph):
        silent = np.ones(seam.size, bool)
        for slot in seam.producers:
            silent &= ~np.any(slot.matrix(), axis=1)
        for slot in (*seam.producers, *seam.passed):
            if slot.bias:
                bias = np.asarray(graph.constants[slot.bias]).reshape(-1)
                silent &= bias == 0 if bias.size == seam.size else False
        read = np.zeros(seam.size, bool)
        for reader in seam.readers:
            split = reader.slot.matrix().reshape(reader.slot.shape[0], -1, seam.size, reader.repeat)
            read |= np.any(split, axis=(0, 1, 3))
        keep = ~silent & read
        if not keep.any():
            keep[0] = True
        if keep.all():
            continue
        before = seam.size
        rows.append(
            {
                "tensor": seam.producers[0].name,
                "channels": before,
                "removed channels": before - int(keep.sum()),
            }
        )
        return _sliced(graph, seam, keep)
    return None


def _sliced(graph: BaseGraph, seam: Seam, keep: Mask) -> BaseGraph:
    """Return the graph with some channels of a seam only."""
    constants = dict(graph.constants)
    nodes = {id(node): node for node in graph.nodes}
    for slot in (*seam.producers, *seam.passed):
        axis = slot.out_axis
        assert axis is not None
        constants[slot.name] = np.compress(keep, np.asarray(slot.weight), axis=axis)
        if slot.bias:
            flat = np.asarray(constants[slot.bias])
            along = int(np.argmax(np.array(flat.shape) == seam.size))
            constants[slot.bias] = np.compress(keep, flat, axis=along)
    for slot in seam.passed:
        node = nodes[id(slot.node)]
        changed = {**node.attributes, "group": int(keep.sum())}
        nodes[id(slot.node)] = node.changed(attributes=changed)
    for reader in seam.readers:
        slot = reader.slot
        columns = np.repeat(keep, reader.repeat)
        constants[slot.name] = np.compress(columns, np.asarray(slot.weight), axis=slot.in_axis)
    return graph.changed(nodes=[nodes[id(node)] for node in graph.nodes], constants=constants)
