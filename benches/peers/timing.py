"""Fair timing: the peers take turns in one process, and each keeps its best."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

Call = Callable[[], object]


def best_times(calls: dict[str, Call], seconds: float = 0.6) -> dict[str, float]:
    """Return the best time of each call, in seconds.

    The calls take turns in short bursts, so that a disturbance, a change of the clock or a warm
    cache of another's meets all of them alike.
    """
    best = {}
    for name, call in calls.items():
        call()
        start = perf_counter()
        call()
        best[name] = perf_counter() - start
    bursts = {name: max(1, min(1000, int(2e-3 / max(time, 1e-8)))) for name, time in best.items()}
    end = perf_counter() + seconds * len(calls)
    rounds = 0
    while rounds < 5 or perf_counter() < end:
        for name, call in calls.items():
            call()  # brings the operands back into the cache
            for _ in range(bursts[name]):
                start = perf_counter()
                call()
                best[name] = min(best[name], perf_counter() - start)
        rounds += 1
    return best
