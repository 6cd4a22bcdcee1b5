"""The one float reference: every value of a graph for given inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import ArrayLike, NDArray

from qcore.graph.graph import BaseGraph
from qcore.graph.running.inputs import check_inputs

__all__ = ["evaluate"]


def evaluate(
    graph: BaseGraph, X: ArrayLike | Mapping[str, ArrayLike]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield every value that depends on the inputs, in the order of the nodes: name and array.

    It serves calibration, sensitivity, drift, hints and reports alike, on the products that run.

    Parameters
    ----------
    graph : Graph
    X : array_like, or mapping of str to array_like
        An array for a graph of one input.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> from qcore.graph.node import Node
    >>> from qcore.graph.value import Value
    >>> net = qc.Graph(
    ...     [Node("r", "Relu", ("x",), ("y",)), Node("n", "Neg", ("y",), ("z",))],
    ...     inputs=[Value("x", "float32", ("n",))], outputs=[Value("z", "float32")], constants={},
    ... )
    >>> [name for name, _ in evaluate(net, np.float32([-1, 2]))]
    ['x', 'y', 'z']
    """
    if not isinstance(X, Mapping):
        if len(graph.inputs) != 1:
            known = ", ".join(repr(value.name) for value in graph.inputs)
            raise ValueError(f"X is an array and the graph has the inputs {known}; give a dict")
        X = {graph.inputs[0].name: X}
    arrays = check_inputs(graph.inputs, X)
    yield from arrays.items()
    names = [name for node in graph.nodes for name in node.outputs if name]
    found = graph.run(X, names)
    for name in names:
        yield name, found[name]
