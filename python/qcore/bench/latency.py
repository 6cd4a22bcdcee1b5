"""What one prediction takes: networks that take turns, sample by sample and batch by batch."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter_ns, process_time_ns
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._runtime.blas import blas_threads

__all__ = ["BATCH", "Latency", "measure_latency", "measure_runs"]

#: Rows of the large batch.
BATCH = 1024
_WARM_UP = 20
_LEAST_RUNS = 3
# The machine is busy where a thread that never waits gets less of a CPU than this tells.
_BUSY = 1.2
# Several threads pay where batches take less than this share of their time with one.
_PAYS = 0.9
# Below this share of the usual calls, one round must do.
_LITTLE = 0.05

Predict = Callable[[NDArray[np.float32]], Any]


class _Effort(NamedTuple):
    """How often predictors take turns, and how often each is called in its turn."""

    rounds: int = 5
    singles: int = 300
    batches: int = 8

    def within(self, nanoseconds: float, single: float, batch: float) -> _Effort:
        """Return as much of this as a time allows, where one of each call takes so long."""
        share = nanoseconds / (self.rounds * (self.singles * single + self.batches * batch))
        if share >= 1:
            return self
        rounds = self.rounds if share > _LITTLE else 1
        share *= self.rounds / rounds
        return _Effort(rounds, *(max(1, int(share * n)) for n in self[1:]))


@dataclass
class Latency:
    """Microseconds of each call that was timed.

    Attributes
    ----------
    single : list of float
        Calls with one sample.
    batch : list of float
        Calls with `BATCH` samples.
    """

    single: list[float] = field(default_factory=list)
    batch: list[float] = field(default_factory=list)

    def extend(self, other: Latency) -> None:
        """Add the calls of another measurement."""
        self.single += other.single
        self.batch += other.batch


def measure_latency(
    predictors: Mapping[str, Predict], X: NDArray[np.float32], *, seconds: float | None = None
) -> dict[str, Latency]:
    """Time every predictor on single samples and on batches.

    The predictors take turns, so that a disturbance of the machine meets all of them, and a ratio
    between two compares like with like. NumPy's BLAS and qcore have as many threads as each other:
    all of qcore's, or one, whichever is faster on batches for the sum of the predictors; one while
    something else has the CPUs. The garbage collector is off meanwhile.

    Parameters
    ----------
    predictors : mapping of str to callable
        Each takes samples (n, inputs).
    X : ndarray of float32, (m, inputs)
        Samples, repeated where there are too few.
    seconds : float, optional
        About how long it may take; calls are fewer then, but one of each at least. Default: until
        the 99th percentile of single samples says something.

    Returns
    -------
    dict of str to Latency
    """
    threads = _core.num_threads()
    try:
        one, several = _batch_times(predictors, X, threads)
        if several < _PAYS * one:
            with _threads(threads):
                found = _measure(predictors, X, seconds)
            # Threads that wait for a CPU that something else has meanwhile take many times as long.
            if sum(float(np.median(latency.batch)) for latency in found.values()) < one:
                return found
        with _threads(1):
            return _measure(predictors, X, seconds)
    finally:
        _core.set_num_threads(threads)


def measure_runs(runs: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Time calls that take turns, each three times at least; microseconds of each.

    Parameters
    ----------
    runs : mapping of str to callable
    seconds : float
        About how long it may take.

    Examples
    --------
    >>> sorted(measure_runs({"a": int, "b": float}, 0.01))
    ['a', 'b']
    """
    found: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()  # what is made once is not counted
    end = perf_counter_ns() + int(1e9 * seconds)
    while perf_counter_ns() < end or len(next(iter(found.values()))) < _LEAST_RUNS:
        for name, run in runs.items():
            start = perf_counter_ns()
            run()
            found[name].append((perf_counter_ns() - start) / 1000)
    return found


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Give qcore and NumPy's BLAS so many threads within a block."""
    _core.set_num_threads(count)
    with blas_threads(count):
        yield


def _batch_times(
    predictors: Mapping[str, Predict], X: NDArray[np.float32], threads: int
) -> tuple[float, float]:
    """Return what batches take with one thread and with several: medians, summed.

    Infinite for several where something else has the CPUs: BLAS's threads, which spin while they
    wait for one that has no CPU, would then be measured, not products.
    """
    if threads == 1:
        return 1.0, 1.0
    batch = np.resize(X, (BATCH, *X.shape[1:]))
    taken: dict[int, float] = {}
    for count in (1, threads):
        with _threads(count):
            start, begun = process_time_ns(), perf_counter_ns()
            times = [_time_calls(predict, [batch] * 3) for predict in predictors.values()]
            own, all_of_it = process_time_ns() - start, perf_counter_ns() - begun
        taken[count] = sum(float(np.median(one)) for one in times)
        if count == 1 and all_of_it > _BUSY * own:
            return taken[1], math.inf
    return taken[1], taken[threads]


def _measure(
    predictors: Mapping[str, Predict], X: NDArray[np.float32], seconds: float | None
) -> dict[str, Latency]:
    effort = _Effort()
    singles = [np.ascontiguousarray(X[i % len(X)][None]) for i in range(effort.singles)]
    batch = np.resize(X, (BATCH, X.shape[1]))
    if seconds is not None:
        single, whole = (
            sum(_time_calls(predict, inputs)[-1] for predict in predictors.values()) * 1000
            for inputs in (singles[:2], [batch])
        )
        effort = effort.within(1e9 * seconds, single, whole)
    found = {name: Latency() for name in predictors}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(effort.rounds):
            for name, predict in predictors.items():
                _time_calls(predict, singles[: min(_WARM_UP, effort.singles)])
                found[name].single += _time_calls(predict, singles[: effort.singles])
            for name, predict in predictors.items():
                _time_calls(predict, [batch] * (effort.batches > 1))
                found[name].batch += _time_calls(predict, [batch] * effort.batches)
    finally:
        if collecting:
            gc.enable()
    return found


def _time_calls(predict: Predict, inputs: list[NDArray[np.float32]]) -> list[float]:
    times = []
    for x in inputs:
        start = perf_counter_ns()
        predict(x)
        times.append((perf_counter_ns() - start) / 1000)
    return times
