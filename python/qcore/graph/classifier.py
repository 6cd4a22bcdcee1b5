"""Labels, probabilities and scores of a graph that classifies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.arrays import as_array
from qcore._arguments.validation import float_array

if TYPE_CHECKING:
    from qcore.graph.graph import BaseGraph
    from qcore.graph.node import Node

__all__ = [
    "chances", "classifies", "gives_labels", "labels_places", "outputs_for", "predict",
    "predict_proba", "score",
]  # fmt: skip

# Samples that run at once, where the graph leaves the batch open: the arena grows with them.
_BATCH = 128
# What may stand behind the probabilities and changes only their shape.
_SHAPES = ("Identity", "Reshape", "Flatten", "Squeeze", "Cast")
# What may stand behind one probability.
_OF_CHANCES = (*_SHAPES, "Gather", "ReduceMean", "Slice", "Unsqueeze")
# What ends an embedding: which of its numbers is the greatest says nothing.
_EMBEDS = frozenset({
    "Div", "LayerNormalization", "LpNormalization", "Mul", "RMSNormalization", "ReduceMean",
    "ReduceSum", "Tanh",
})  # fmt: skip


def _last(graph: BaseGraph) -> Node | None:
    """Return the node that makes what a graph of one output gives, but for its shape."""
    return _maker(graph) if len(graph.outputs) == len(graph.inputs) == 1 else None


def _maker(graph: BaseGraph) -> Node | None:
    node = graph.producers.get(graph.outputs[0].name)
    while node is not None and node.op in _SHAPES:
        node = graph.producers.get(node.input(0))
    return node


def _ending(graph: BaseGraph) -> str:
    """Return "softmax" or "sigmoid" where that makes the output, else ""."""
    node = _last(graph)
    if node is None:
        return ""
    name = str(node.get("activation", "")) or node.op
    return {"Softmax": "softmax", "Sigmoid": "sigmoid"}.get(name, name if name.islower() else "")


def classifies(graph: BaseGraph) -> bool:
    """Whether a graph's output stands for classes."""
    return graph.classes_ is not None or _ending(graph) in ("softmax", "sigmoid")


def chances(graph: BaseGraph) -> set[str]:
    """Return the outputs that are probabilities of one thing: a sigmoid, or a mean of some."""
    found = set()
    for value in graph.outputs:
        node = graph.producers.get(value.name)
        while node is not None and node.op in _OF_CHANCES:
            node = graph.producers.get(node.input(0))
        if node is not None and "sigmoid" in (node.op.lower(), node.get("activation")):
            found.add(value.name)
    return found


def gives_labels(graph: BaseGraph) -> bool:
    """Whether the greatest of a row of the one output is an answer: not so of an embedding."""
    if len(graph.outputs) != 1:
        return False
    node = _maker(graph)
    return classifies(graph) or node is None or node.op not in _EMBEDS


def labels_places(graph: BaseGraph) -> bool:
    """Whether the one output, (samples, places, classes), has a label for each place."""
    node = _maker(graph) if len(graph.outputs) == 1 else None
    return node is not None and node.op == "Softmax" and node.get("axis", -1) in (-1, 2)


def outputs_for(graph: BaseGraph, X: ArrayLike) -> NDArray[Any]:
    """Return the output for samples (n, ...), some at a time; a fixed batch is kept to."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ValueError(
            f"the graph has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; use run"
        )
    value = graph.inputs[0]
    samples = as_array(X, "X")
    if value.running_dtype == "float32" and samples.dtype.kind not in "iub":
        samples = float_array(samples, "X")
        if samples.dtype.name != value.dtype:
            samples = samples.astype(np.float16 if value.dtype == "float16" else np.float32)
    if not value.shape or samples.ndim == 0 or not len(samples):
        return graph(samples)
    first = value.shape[0]
    step = first if isinstance(first, int) else _BATCH
    if len(samples) <= step:
        return graph(samples)
    if isinstance(first, int) and (step == 0 or len(samples) % step):
        raise ValueError(f"X has {len(samples)} samples; the graph takes {step} at a time")
    return np.concatenate(
        [graph(samples[start : start + step]) for start in range(0, len(samples), step)]
    )


def predict_proba(graph: BaseGraph, X: ArrayLike) -> NDArray[np.float32]:
    """Return probabilities; see `Graph.predict_proba`."""
    if _ending(graph) not in ("softmax", "sigmoid"):
        raise ValueError(
            "the graph does not end in a softmax or a sigmoid; what it gives are no probabilities"
        )
    found = outputs_for(graph, X)
    return found.reshape(len(found), -1)


def predict(graph: BaseGraph, X: ArrayLike) -> NDArray[Any]:
    """Return labels or the output; see `Graph.predict`."""
    found = outputs_for(graph, X)
    if not classifies(graph):
        return found
    flat = found.reshape(len(found), -1)
    if flat.shape[1] == 1:
        threshold = 0.5 if _ending(graph) == "sigmoid" else 0.0
        codes = (flat[:, 0] > threshold).astype(np.intp)
    elif _ending(graph) == "sigmoid":
        return (flat > 0.5).astype(np.int8)
    else:
        codes = flat.argmax(axis=1)
    return codes if graph.classes_ is None else graph.classes_[codes]


def score(graph: BaseGraph, X: ArrayLike, y: ArrayLike) -> float:
    """Return accuracy or R²; see `Graph.score`."""
    found, wanted = predict(graph, X), np.asarray(y)
    if len(found) != len(wanted):
        raise ValueError(f"X gives {len(found)} rows, y has {len(wanted)}")
    if classifies(graph):
        if wanted.ndim == 2 and found.ndim == 1:
            wanted = wanted.argmax(axis=1)
        return float(np.mean(found == wanted))
    if wanted.size != found.size:
        raise ValueError(
            f"y has shape {wanted.shape} and the output {found.shape}; where the outputs stand for "
            "classes and there is no softmax, set classes_"
        )
    wanted = wanted.reshape(found.shape).astype(np.float64)
    rest = float(np.sum((wanted - found) ** 2))
    total = float(np.sum((wanted - wanted.mean(axis=0)) ** 2))
    return 1.0 - rest / total if total else float(rest == 0)
