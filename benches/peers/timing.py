"""Fair timing: the peers take turns in one process, and each keeps its best."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from time import perf_counter

Call = Callable[[], object]


def best_times(
    calls: dict[str, Call],
    seconds: float = 0.6,
    clock: Callable[[], float] = perf_counter,
    *,
    warm: bool = False,
) -> dict[str, float]:
    """Return the best time of each call, in seconds.

    The calls take turns, one at a time: a disturbance or a change of the clock meets all of them
    alike, and nobody finds the caches as it left them. `warm`: each takes its turn in a short
    burst, after a call that brings its operands back into the caches.

    `clock`: `time.thread_time` for calls on one thread, of which other programs then take nothing.
    """
    best = dict.fromkeys(calls, float("inf"))
    shuffle = Random(0)  # noqa: S311
    end = perf_counter() + seconds * len(calls)
    rounds = 0
    while rounds < 5 or perf_counter() < end:
        # In another order each time: who comes after whom decides what is left in the caches.
        for name, call in shuffle.sample(list(calls.items()), len(calls)):
            turns = 1
            if warm:
                call()
                turns = max(1, min(1000, int(2e-3 / max(best[name], 1e-8))))
            for _ in range(turns):
                start = clock()
                call()
                best[name] = min(best[name], clock() - start)
        rounds += 1
    return best
