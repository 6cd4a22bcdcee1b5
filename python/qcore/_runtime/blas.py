"""The threads of NumPy's BLAS, which runs the products of float networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_info, threadpool_limits

from qcore import _core

__all__ = ["blas_thread_count", "blas_threads", "threads_that_pay"]

#: Multiply-adds of one product from which more than one thread pays: below, threads that wait for
#: each other cost more than they save, many times more on a machine that has other things to do.
_PAYS = 1 << 26


def threads_that_pay(work: int) -> int:
    """Return how many threads products of so many multiply-adds should have."""
    return _core.num_threads() if work >= _PAYS else 1


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Let BLAS have so many threads within a block, and as many as before afterwards."""
    with threadpool_limits(count, user_api="blas"):
        yield


def blas_thread_count() -> int | None:
    """Return how many threads BLAS may use; None where that cannot be known."""
    counts = [int(one["num_threads"]) for one in threadpool_info() if one["user_api"] == "blas"]
    return max(counts, default=None)
