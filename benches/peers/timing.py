"""Fair timing: the peers take turns in one process, and each keeps its best."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

Call = Callable[[], object]


def best_times(calls: dict[str, Call], seconds: float = 0.6) -> dict[str, float]:
    """Return the best time of each call, in seconds.

    The calls take turns, one at a time: a disturbance or a change of the clock meets all of them
    alike, and nobody finds the caches as it left them.
    """
    best = dict.fromkeys(calls, float("inf"))
    end = perf_counter() + seconds * len(calls)
    rounds = 0
    while rounds < 5 or perf_counter() < end:
        for name, call in calls.items():
            start = perf_counter()
            call()
            best[name] = min(best[name], perf_counter() - start)
        rounds += 1
    return best
