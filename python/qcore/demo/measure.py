"""Where the time of the experiment goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

__all__ = ["Clock"]


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
