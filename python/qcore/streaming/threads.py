"""Jobs on threads of our own, in the order that they finish."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from qcore import _core

__all__ = ["run_jobs"]

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(
    work: Callable[[Job], Result], jobs: Sequence[Job], threads: int
) -> Iterator[tuple[int, Result]]:
    """Call ``work(job)`` for each job, and yield its index and what it returned.

    Jobs are started in their order. After an error, or when the caller leaves, no further job is
    started, what goes on is stopped, and the threads are waited for.
    """
    todo = iter(enumerate(jobs))
    taking = threading.Lock()
    leave = threading.Event()
    results: queue.SimpleQueue[tuple[int, Result | None, BaseException | None]]
    results = queue.SimpleQueue()

    def loop() -> None:
        _core.work_alone(leave.is_set)
        while not leave.is_set():
            with taking:
                index, job = next(todo, (-1, None))
            if job is None:
                return
            try:
                results.put((index, work(job), None))
            except BaseException as error:  # raised again by whoever waits for results
                results.put((index, None, error))
                return

    started = [
        threading.Thread(target=loop, name=f"qcore-file-{index}", daemon=True)
        for index in range(min(threads, len(jobs)))
    ]
    for thread in started:
        thread.start()
    try:
        for _ in range(len(jobs)):
            index, result, error = results.get()
            if error is not None:
                raise error
            yield index, result  # type: ignore[misc]
    finally:
        leave.set()
        for thread in started:
            thread.join()
