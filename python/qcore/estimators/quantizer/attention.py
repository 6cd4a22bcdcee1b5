"""Which attentions of a graph multiply int8: those that lose little by it, as measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.estimators.graphs.batches import first_samples
from qcore.graph.graph import BaseGraph
from qcore.graph.lowering.attention import attentions
from qcore.graph.lowering.lower import run_nodes
from qcore.graph.lowering.operands import DYNAMIC
from qcore.graph.node import Node

__all__ = ["LOSS", "attention_losses", "integer_products"]

#: Samples on which attentions are judged.
SAMPLES = 8
#: What int8 products may take from an attention's output: the length of the error, of the output's.
LOSS = 0.03


def attention_losses(graph: BaseGraph, X: Any) -> dict[tuple[str, str], float]:
    """Return what each attention of a graph loses by int8 products, by the names of these.

    The length of the error as a share of that of the output, on a few samples.

    Parameters
    ----------
    graph : BaseGraph
    X : samples as `batches_of` takes them
    """
    found = attentions(graph)
    error, size = np.zeros(len(found)), np.zeros(len(found))
    names = list(dict.fromkeys(name for nodes, _ in found for name in _read(nodes)))
    wanted = [name for name in names if name not in graph.constants]
    for batch in first_samples(graph, X, SAMPLES) if found else ():
        values = {**graph.constants, **batch, **graph.run(batch, wanted)}
        for place, (nodes, _) in enumerate(found):
            exact, coded = (_output(nodes, values, mark) for mark in ({}, {DYNAMIC: 1}))
            seen = np.isfinite(exact) & np.isfinite(coded)
            error[place] += np.sum(np.square(coded - exact, dtype=np.float64), where=seen)
            size[place] += np.sum(np.square(exact, dtype=np.float64), where=seen)
    lost = np.sqrt(error / np.maximum(size, np.finfo(np.float64).tiny))
    return {names: float(one) for (_, names), one in zip(found, lost, strict=True)}


def _read(nodes: tuple[Node, ...]) -> list[str]:
    """Return what the nodes of an attention read of the graph."""
    made = {name for node in nodes for name in node.outputs}
    return [name for node in nodes for name in node.read if name not in made]


def _output(
    nodes: tuple[Node, ...], values: dict[str, Any], mark: dict[str, int]
) -> NDArray[np.float32]:
    marked = [
        node.changed(attributes={**node.attributes, **mark}) if node.op == "Attention" else node
        for node in nodes
    ]
    given = {name: values[name] for name in _read(nodes)}
    name = nodes[-1].outputs[0]
    found: NDArray[np.float32] = run_nodes(marked, given, [name])[name]
    return found


def integer_products(graph: BaseGraph, X: Any, asked: str) -> set[str]:
    """Return the names of the products of attentions that are to take int8.

    `asked`: "int8" for all of them, "float32" for none, "auto" for those that lose at most `LOSS`;
    without samples none.
    """
    if asked == "float32":
        return set()
    if asked == "int8":
        return {name for _, names in attentions(graph) for name in names}
    if X is None:
        return set()
    lost = attention_losses(graph, X)
    return {name for names, loss in lost.items() if loss <= LOSS for name in names}
