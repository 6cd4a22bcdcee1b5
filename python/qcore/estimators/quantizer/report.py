"""What quantization cost, tensor by tensor."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.tensor import QTensor
from qcore.estimators.graphs.batches import first_samples
from qcore.estimators.graphs.corrections import output_error
from qcore.estimators.graphs.matrices import slots_by_name, with_matrices
from qcore.graph.graph import BaseGraph

if TYPE_CHECKING:
    from qcore.chain.chain import Chain

__all__ = [
    "graph_rows", "output_columns", "scores", "tensor_row", "tensor_rows", "totals_of",
    "weight_losses",
]  # fmt: skip

#: Samples on which each weight of a graph is judged alone.
GRAPH_JUDGES = 16

Row = dict[str, Any]


def tensor_rows(
    before: Mapping[str, Any], after: Mapping[str, Any], added: Collection[str] = ()
) -> list[Row]:
    """Return a row for each tensor of a model; those that were `added` had no bytes before."""
    rows = [tensor_row(name, before.get(name, value), value) for name, value in after.items()]
    for row in rows:
        if row["tensor"] in added:
            row["float bytes"] = 0
    return rows


def tensor_row(name: str, before: Any, after: Any) -> Row:
    """Return what there is to say of one tensor.

    ``clipped`` is the share of the values that saturated; ``dead channels`` are outputs that were
    not all zero and now are.
    """
    row: Row = {"tensor": name, "shape": "x".join(map(str, before.shape))}
    row["float bytes"] = int(np.prod(before.shape)) * 4
    row["bytes"] = int(after.nbytes)
    if not isinstance(after, QTensor):
        return row
    mean = after.bits if after.row_bits is None else float(after.row_bits.mean())
    row |= {"scheme": after.scheme, "bits": mean}
    row["clipped"] = after.clipped / max(1, after.size)
    if not isinstance(before, QTensor):
        error = after.error(before)
        row |= {"SQNR dB": error.sqnr_db, "cosine": error.cosine, "max error": error.max_abs}
        if after.ndim >= 2:
            row["dead channels"] = _dead_channels(before, after)
    return row


def output_columns(
    before: Chain, after: Chain, samples: NDArray[np.float32], y: Any = None
) -> tuple[dict[str, Row], Row]:
    """Return what the network's answers lose on samples: by layer alone, and altogether.

    Returns
    -------
    layers : dict of str to dict
        By the name of each quantized weight: ``output error``, the squared error of the logits as
        a share of their variance when that layer alone is quantized, its input and bias included.
    totals : dict
        The same of the whole network; of classifiers ``agreement``, the share of samples with the
        same label; with labels `y` ``float score`` and ``score``.
    """
    exact = before.predict_logits(samples)

    def error(net: Chain) -> float:
        off = net.predict_logits(samples).astype(np.float64) - exact
        spread = float(exact.var(dtype=np.float64))
        return float(np.mean(off**2)) / spread if spread else float(np.any(off))

    layers: dict[str, Row] = {}
    for index, layer in enumerate(after.layers):
        if isinstance(layer.weight, QTensor) and layer.weight is not before.layers[index].weight:
            tried = [one.copy() for one in before.layers]
            tried[index] = layer.copy()
            layers[f"{layer.name}.weight"] = {"output error": error(before.with_layers(tried))}
    totals: Row = {"output error": error(after)}
    if before.layers[-1].activation in ("softmax", "sigmoid"):
        same = before.predict(samples) == after.predict(samples)
        totals["agreement"] = float(np.mean(same))
    if y is not None and len(y) == len(samples):
        totals |= {"float score": before.score(samples, y), "score": after.score(samples, y)}
    return layers, totals


def graph_rows(given: BaseGraph, before: BaseGraph, after: BaseGraph) -> list[Row]:
    """Return a row for each constant of a graph, and one for all that say shapes and places.

    `before` computes what `given` does, with scales moved and rotations added.
    """
    old = dict(before.constants)
    kept = {
        name: value for name, value in after.constants.items() if name in old or _is_float(value)
    }
    slots = slots_by_name(before)
    for name, value in kept.items():
        if name in old and tuple(value.shape) != tuple(old[name].shape):
            old[name] = slots[name].matrix()
    weights = {name: value for name, value in kept.items() if _is_float(value)}
    rows = tensor_rows(old, weights, set(weights) - set(given.constants))
    whole = [value for name, value in kept.items() if name not in weights]
    if whole:
        size = sum(value.nbytes for value in whole)
        rows.append({
            "tensor": f"{len(whole)} of shapes and places", "float bytes": size, "bytes": size,
        })  # fmt: skip
    return rows


def weight_losses(
    graph: BaseGraph,
    tensors: Mapping[str, QTensor],
    biases: Mapping[str, NDArray[np.float32]],
    codes: Mapping[str, Any],
    X: Any,
) -> dict[str, Row]:
    """Return what a graph's outputs lose on a few samples when one weight alone is quantized.

    By the name of the weight: ``output error``, as a share of the variance of the outputs; its
    input and its bias are included.
    """
    batches = first_samples(graph, X, GRAPH_JUDGES)
    exact = [graph.run(batch) for batch in batches]
    slots = slots_by_name(graph)
    found: dict[str, Row] = {}
    for name, tensor in tensors.items():
        slot = slots[name]
        bias = {slot.bias or f"{name}.bias"} & set(biases)
        alone = with_matrices(graph, {name: tensor}, {one: biases[one] for one in bias})
        source = slot.node.inputs[0]
        alone = alone.changed(codes={source: codes[source]} if source in codes else {})
        found[name] = {"output error": output_error(alone, batches, exact)}
    return found


def scores(before: BaseGraph, after: BaseGraph, X: Any, y: Any) -> Row:
    """Return ``float score`` and ``score`` of a graph, where there are labels for an array X."""
    if y is None or not hasattr(X, "dtype") or len(y) != len(X):
        return {}
    return {"float score": before.score(X, y), "score": after.score(X, y)}


def _is_float(value: Any) -> bool:
    return not isinstance(value, np.ndarray) or value.dtype.kind == "f"


def totals_of(rows: Iterable[Row]) -> Row:
    """Return the last row of a report."""
    rows = list(rows)
    return {
        "tensor": "all",
        "float bytes": sum(row["float bytes"] for row in rows),
        "bytes": sum(row["bytes"] for row in rows),
    }


def _dead_channels(before: Any, after: QTensor) -> int:
    others = tuple(range(1, after.ndim))
    gone = ~np.any(after.dequantize(), axis=others) & np.any(np.asarray(before), axis=others)
    return int(np.count_nonzero(gone))
