"""Samples for a graph, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.arrays import as_array
from qcore.graph.graph import BaseGraph

__all__ = ["Batches", "batches_of", "first_samples"]

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
        the first dim of all its inputs open, or fixes it to a part of the samples; what an
        iterable gives is a batch as it comes.

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


def first_samples(graph: BaseGraph, X: Any, count: int) -> list[Batch]:
    """Return the first `count` samples, in one batch or several; more where they hang together."""
    axes = _sample_axes(graph)
    found: list[Batch] = []
    left = count
    for batch in batches_of(graph, X):
        part = {
            name: _part(array, axes[name], 0, left) if _has(axes, name, array) else array
            for name, array in batch.items()
        }
        found.append(part)
        sizes = [part[name].shape[axis] for name, axis in axes.items() if name in part]
        sizes = sizes or [len(array) for array in part.values() if array.ndim] or [1]
        left -= max(1, sizes[0])
        if left <= 0:
            break
    return found


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
    """Return a batch in smaller ones, along the dim that counts samples."""
    fixed = _fixed_size(graph, batch)
    if fixed:
        count = len(next(iter(batch.values())))
        return [
            {name: array[start : start + fixed] for name, array in batch.items()}
            for start in range(0, count, fixed)
        ]
    axes = _sample_axes(graph)
    by_sample = [name for name, array in batch.items() if _has(axes, name, array)]
    counts = {batch[name].shape[axes[name]] for name in by_sample}
    if len(counts) != 1 or set(by_sample) != set(axes) or len(batch) != len(graph.inputs):
        sizes = {array.shape[0] for array in batch.values() if array.ndim}
        return [batch] if not sizes or next(iter(sizes)) else []
    return [
        {
            name: _part(array, axes[name], start, start + SIZE) if name in axes else array
            for name, array in batch.items()
        }
        for start in range(0, counts.pop(), SIZE)
    ]


def _fixed_size(graph: BaseGraph, batch: Batch) -> int:
    """Return the batch that a graph was exported for, if the samples are a multiple of it."""
    firsts = {value.shape[0] if value.shape else None for value in graph.inputs}
    counts = {array.shape[0] if array.ndim else 0 for array in batch.values()}
    if len(firsts) != 1 or len(counts) != 1 or len(batch) != len(graph.inputs):
        return 0
    size, count = firsts.pop(), counts.pop()
    return size if isinstance(size, int) and size > 0 and count and count % size == 0 else 0


def _has(axes: Mapping[str, int], name: str, array: NDArray[Any]) -> bool:
    return name in axes and array.ndim > axes[name]


def _part(array: NDArray[Any], axis: int, start: int, stop: int) -> NDArray[Any]:
    return array[(slice(None),) * axis + (slice(start, stop),)]


def _sample_axes(graph: BaseGraph) -> dict[str, int]:
    """Return which axis of each input counts samples: the one that has the first dim's name.

    A state has it behind its layers. Inputs whose dims are all fixed are the same for all samples;
    where one has open dims of other names, nobody knows which of them counts.
    """
    first = graph.inputs[0].shape if graph.inputs else None
    dim = first[0] if first else None
    if not isinstance(dim, str):
        return {}
    found = {}
    for value in graph.inputs:
        shape = value.shape
        if shape is None or (dim not in shape and not all(isinstance(d, int) for d in shape)):
            return {}
        if dim in shape:
            found[value.name] = shape.index(dim)
    return found
