"""A progress bar on standard error where people see it; in a log, a line now and then."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Any

from qcore._arguments.validation import check_one_of

__all__ = ["EpochProgress", "Progress"]

#: True, False, "auto" (on a terminal only), or a function of (done, total, text).
Progress = bool | str | Callable[[int, int, str], None]

#: Seconds before the first line in a log, and between two of them.
_QUIET, _BETWEEN = 10.0, 30.0


class EpochProgress:
    """Tells how far a fit has come: as a bar, to a function, or not at all."""

    def __init__(self, progress: Progress, total: int, title: str, *, unit: str = "") -> None:
        self._next = math.inf
        if isinstance(progress, str):
            check_one_of(progress, "progress", ("auto",))
            progress = sys.stderr.isatty()
            if not progress:  # a log gets a plain line now and then
                self._next = monotonic() + _QUIET
        self._title, self._start = title, monotonic()
        self._call = progress if callable(progress) else None
        self._total = total
        self._bar: Any = None
        if progress is True:
            self._bar = _bar(unit)
            self._task = self._bar.add_task(title, total=total, rate="")

    def __enter__(self) -> EpochProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: float, text: str) -> None:
        """Say how many steps are done, parts of one too, and what there is to say."""
        if self._bar is not None:
            rate = _rate_text(self._bar.tasks[self._task].speed)
            self._bar.update(self._task, completed=done, description=text, rate=rate)
        elif self._call is not None:
            self._call(int(done), self._total, text)
        elif monotonic() >= self._next:
            self._log(done)

    def _log(self, done: float) -> None:
        now = monotonic()
        self._next = now + _BETWEEN
        share = done / self._total if self._total else 1.0
        left = (now - self._start) * (1 - share) / share if share else math.inf
        rest = f", about {left:.0f} s left" if left < math.inf else ""
        print(f"{self._title}: {100 * share:.0f} % done{rest}", file=sys.stderr, flush=True)


def _rate_text(speed: float | None) -> str:
    """Return steps a second; of slow ones, how long each takes."""
    if not speed:
        return ""
    return f"{speed:.3g}/s" if speed >= 1 else f"{1 / speed:.3g} s each"


def _bar(unit: str) -> Any:
    """Return a bar with the rate and the time that is left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    of_bytes = unit == "bytes"
    rate = TextColumn("{task.fields[rate]}") if not of_bytes else TransferSpeedColumn()
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn() if of_bytes else MofNCompleteColumn(),
        rate,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
