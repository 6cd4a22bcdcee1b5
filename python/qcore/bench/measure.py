"""Times, CPU seconds and, where the machine lets them be read, joules of a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from qcore import _core
from qcore.bench.cases import Case

__all__ = ["Result", "measure"]

#: Counters of microjoules, one for each package, on CPUs and kernels that have them.
ENERGY = sorted(Path("/sys/class/powercap").glob("intel-rapl:?/energy_uj"))


@dataclass(frozen=True)
class Result:
    """What a case showed; times are of one call.

    Attributes
    ----------
    name, size : str
    seconds, plain_seconds : float
        Best of many calls: qcore's, and float32 NumPy's.
    cpu_seconds : float
        CPU time of all threads, mean.
    joules : float or None
        Of all packages, mean; None where it cannot be read.
    nbytes : float
        Bytes moved, at least.
    rate : float
        Operations a second, or bytes a second where moving them is the work.
    peak : float
        The rate of the dot instruction on registers alone (times threads), or of a plain copy of as
        many bytes, in the same run.
    """

    name: str
    size: str
    seconds: float
    plain_seconds: float
    cpu_seconds: float
    joules: float | None
    nbytes: float
    rate: float
    peak: float


def measure(case: Case, seconds: float) -> Result:
    """Measure a case: qcore and NumPy take turns, so that a disturbance meets both."""
    bursts = {}
    for name, call in (("qcore", case.call), ("plain", case.plain)):
        call()
        start = perf_counter()
        call()
        bursts[name] = max(1, min(1000, int(2e-3 / max(perf_counter() - start, 1e-8))))
    best = {"qcore": float("inf"), "plain": float("inf")}
    peak, end, rounds = 0.0, perf_counter() + seconds, 0
    while rounds < 3 or perf_counter() < end:
        peak = max(peak, _peak(case))
        for name, call in (("qcore", case.call), ("plain", case.plain)):
            best[name] = min(best[name], _best(call, bursts[name]))
        rounds += 1
    cpu, joules = _cost(case.call, bursts["qcore"])
    work = case.operations or case.nbytes
    return Result(
        case.name, case.size, best["qcore"], best["plain"], cpu, joules, case.nbytes,
        work / best["qcore"], peak,
    )  # fmt: skip


def _best(call: Callable[[], object], count: int) -> float:
    best = float("inf")
    for _ in range(count):
        start = perf_counter()
        call()
        best = min(best, perf_counter() - start)
    return best


def _cost(call: Callable[[], object], count: int) -> tuple[float, float | None]:
    """Return CPU seconds and joules of a call, means over as many as the clocks can tell apart."""
    count = max(count, 20)
    energy, start = _energy(), process_time()
    for _ in range(count):
        call()
    cpu, after = (process_time() - start) / count, _energy()
    if energy is None or after is None or after < energy:
        return cpu, None
    return cpu, (after - energy) / 1e6 / count


def _energy() -> int | None:
    try:
        return sum(int(counter.read_text()) for counter in ENERGY) if ENERGY else None
    except (OSError, ValueError):
        return None


def _peak(case: Case) -> float:
    if case.operations:
        return _core.peak_rate() * _core.num_threads()
    source = np.ones(int(case.nbytes / 2), np.uint8)
    target = np.empty_like(source)
    return case.nbytes / _best(lambda: np.copyto(target, source), 3)
