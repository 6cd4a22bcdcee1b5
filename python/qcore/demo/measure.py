"""Where time goes: the phases of the experiment, and what one prediction takes."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BATCH", "Clock", "Latency", "measure_latency"]

#: Rows of the large batch.
BATCH = 1024
_ROUNDS = 5
_SINGLE_CALLS = 300
_BATCH_CALLS = 8
_WARM_UP = 20

Predict = Callable[[NDArray[np.float32]], Any]


class Clock:
    """Adds up seconds by phase.

    Examples
    --------
    >>> clock = Clock()
    >>> with clock.phase("train"):
    ...     pass
    >>> clock.seconds["train"] >= 0
    True
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of the block to a phase."""
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - start

    def total(self) -> float:
        """Return the seconds since the clock was made."""
        return perf_counter() - self._start


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
    predictors: Mapping[str, Predict], X: NDArray[np.float32]
) -> dict[str, Latency]:
    """Time every predictor on single samples and on batches.

    The predictors take turns, so that a disturbance of the machine meets all of them, and a ratio
    between two compares like with like. The garbage collector is off meanwhile.

    Parameters
    ----------
    predictors : mapping of str to callable
        Each takes samples (n, inputs).
    X : ndarray of float32, (m, inputs)
        Samples, repeated where there are too few.

    Returns
    -------
    dict of str to Latency
    """
    singles = [np.ascontiguousarray(X[i % len(X)][None]) for i in range(_SINGLE_CALLS)]
    batch = np.resize(X, (BATCH, X.shape[1]))
    found = {name: Latency() for name in predictors}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(_ROUNDS):
            for name, predict in predictors.items():
                _time_calls(predict, singles[:_WARM_UP])
                found[name].single += _time_calls(predict, singles)
            for name, predict in predictors.items():
                predict(batch)
                found[name].batch += _time_calls(predict, [batch] * _BATCH_CALLS)
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
