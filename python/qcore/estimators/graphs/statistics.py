"""What flows into the weights of a graph: ranges of values, second moments of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._display.progress import EpochProgress, Progress
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.params.observer import Observer
from qcore.estimators.graphs.rows import kept_tokens, rows_of, without_padding
from qcore.graph.graph import BaseGraph
from qcore.graph.slots import WeightSlot

__all__ = ["FEATURES", "input_stats", "observe"]

Batch = Mapping[str, NDArray[Any]]

#: Inputs of a matrix past which its second moments take too long to gather and to use.
FEATURES = 4608

#: Bytes of second moments that are gathered in one pass over the samples.
AT_ONCE = 1 << 29


def observe(
    graph: BaseGraph,
    batches: Iterable[Batch],
    observers: Mapping[str, Observer],
    progress: Progress = False,
) -> None:
    """Show each value's observer what the graph makes of samples."""
    with EpochProgress(progress, _count(batches), "calibrate") as ticker:
        for done, batch in enumerate(batches):
            ticker.update(done, "")
            kept = kept_tokens(graph, batch)
            for name, value in graph.run(batch, observers).items():
                rows = without_padding(_finite(name, value), kept)
                _see(observers[name], rows)


def _count(batches: Iterable[Batch]) -> int:
    """Return how many batches there are, as far as that is known."""
    return len(batches) if isinstance(batches, Sized) else int(getattr(batches, "count", 1))


def _see(observer: Observer, value: NDArray[np.float32]) -> None:
    if observer.method == "entropy":
        # What a ReLU cut off is a 0 in any codes. Counted, it is most of the distribution, and the
        # threshold that keeps this one bin apart from its neighbours is all but 0.
        value = value[value != 0]
    if value.size:
        observer.update(value.reshape(len(value) or 1, -1))


def input_stats(
    graph: BaseGraph,
    batches: Iterable[Batch],
    slots: Iterable[WeightSlot],
    progress: Progress = False,
    changed: Callable[[str, NDArray[Any]], NDArray[Any]] | None = None,
) -> dict[str, InputStats]:
    """Return the statistics of the rows that weights take, by the weights' names.

    Parameters
    ----------
    graph : BaseGraph
    batches : iterable of mappings
        From the inputs' names to arrays.
    slots : iterable of WeightSlot
        Those that `has_rows`. A weight at several places gets the rows of all of them.
    progress
    changed : callable, optional
        From the name of a value and the value to what its codes decode to.
    """
    found: dict[str, InputStats] = {}
    for part in _parts(slots):
        names = dict.fromkeys(slot.node.inputs[0] for slot in part)
        with EpochProgress(progress, _count(batches), "statistics") as ticker:
            for done, batch in enumerate(batches):
                ticker.update(done, part[0].name)
                values, kept = graph.run(batch, names), kept_tokens(graph, batch)
                for slot in part:
                    value = _finite(slot.node.inputs[0], values[slot.node.inputs[0]])
                    if changed is not None:
                        value = changed(slot.node.inputs[0], value)
                    stats = found.setdefault(slot.name, InputStats())
                    if value.size:
                        stats.update(rows_of(slot, value, kept))
    return found


def _parts(slots: Iterable[WeightSlot]) -> list[list[WeightSlot]]:
    """Return the slots in groups whose second moments fit into `AT_ONCE`; one weight, one group."""
    by_name: dict[str, list[WeightSlot]] = {}
    for slot in slots:
        by_name.setdefault(slot.name, []).append(slot)
    parts: list[list[WeightSlot]] = []
    room = 0
    for same in by_name.values():
        nbytes = 8 * same[0].shape[1] ** 2
        if not parts or nbytes > room:
            parts.append([])
            room = AT_ONCE
        parts[-1] += same
        room -= nbytes
    return parts


def _finite(name: str, value: NDArray[Any]) -> NDArray[np.float32]:
    if not np.isfinite(value).all():
        raise ValueError(f"the value {name!r} of the graph is not finite on the samples")
    return np.ascontiguousarray(value, np.float32)
