"""Samples for a graph, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arrays import as_array
from qcore.graph.graph import BaseGraph

__all__ = ["Batches", "batches_of"]

Batch = dict[str, NDArray[Any]]

#: Samples that go through a graph at once.
SIZE = 32


class Batches:
    """Samples that can be gone through as often as it takes, a batch at a time.

    What can be iterated once only is kept; anything else is asked for its samples anew, so that no
    more of them than a batch have to be in memory.
    """

    def __init__(self, graph: BaseGraph, given: Iterable[Any]) -> None:
        self._graph = graph
        self._given = list(given) if iter(given) is given else given
        #: How many batches there are, as far as that is known.
        self.count = 1
        if isinstance(self._given, (list, tuple)):
            self.count = sum(1 for _ in self)

    @property
    def first(self) -> Batch:
        """The first batch."""
        return next(iter(self))

    def __iter__(self) -> Iterator[Batch]:
        for one in self._given:
            yield from _cut(self._graph, _named(self._graph, one))


def batches_of(graph: BaseGraph, X: Any) -> Batches:
    """Return samples as batches, each a mapping from the inputs' names to arrays.

    Parameters
    ----------
    graph : BaseGraph
    X : array_like, mapping of str to array_like, or iterable of either
        An array is for a graph of one input. Arrays are cut into batches where the graph leaves
        the first dim of all its inputs open; what an iterable gives is a batch as it comes.

    Raises
    ------
    TypeError
        If X is none of these.
    ValueError
        If there are no samples.
    """
    if isinstance(X, Batches):
        return X
    given: Iterable[Any]
    if hasattr(X, "dtype") or isinstance(X, Mapping):
        given = [X]
    elif isinstance(X, (list, tuple)) and X and not _are_batches(X):
        given = [np.asarray(X)]
    elif isinstance(X, Iterable) and not isinstance(X, (str, bytes)):
        given = X
    else:
        kinds = "an array, a dict of arrays by input, or an iterable of either"
        raise TypeError(f"X is {type(X).__name__}; it must be {kinds}")
    batches = Batches(graph, given)
    if next(iter(batches), None) is None:
        raise ValueError("X has no samples")
    return batches


def _are_batches(X: Any) -> bool:
    return all(hasattr(one, "dtype") or isinstance(one, Mapping) for one in X)


def _named(graph: BaseGraph, one: Any) -> Batch:
    if isinstance(one, Mapping):
        return {name: as_array(value) for name, value in one.items()}
    if len(graph.inputs) != 1:
        names = ", ".join(repr(value.name) for value in graph.inputs)
        raise ValueError(f"X is an array and the graph has the inputs {names}; give a dict")
    return {graph.inputs[0].name: as_array(one)}


def _cut(graph: BaseGraph, batch: Batch) -> list[Batch]:
    """Return a batch in smaller ones, where every input goes by samples."""
    sizes = {array.shape[0] for array in batch.values() if array.ndim}
    open_dims = {value.shape[0] for value in graph.inputs if value.shape}
    # One name for all, or each input would be cut by a count of its own.
    by_sample = len(sizes) == 1 and len(open_dims) == 1 and isinstance(next(iter(open_dims)), str)
    count = next(iter(sizes), 0)
    if not by_sample or len(batch) != len(graph.inputs):
        return [batch] if count or not sizes else []
    return [
        {name: array[start : start + SIZE] for name, array in batch.items()}
        for start in range(0, count, SIZE)
    ]
