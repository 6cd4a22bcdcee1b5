"""Ctrl-C and SIGTERM that do not wait: a command ends at once, and leaves no half-written file.

A call into a kernel cannot be left from outside, and may take seconds. So a command runs on a
thread of its own, while the main thread waits for it or for a signal; then it removes what is being
written and ends the process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from qcore.files.drafts import remove_drafts

__all__ = ["run_interruptibly"]

#: Seconds of one wait for a command; None: until it ends.
_WAIT = 0.05 if sys.platform == "win32" else None


def run_interruptibly(work: Callable[[], Any]) -> Any:
    """Return what `work` returns, or raise what it raises; signals end the process at once."""
    if threading.current_thread() is not threading.main_thread():
        return work()
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again where it is waited for
            errors.append(error)

    thread = threading.Thread(target=run, name="qcore-command", daemon=True)
    thread.start()
    try:
        # Windows tells of no signal while it waits for a thread: it is asked between short waits.
        while thread.is_alive():
            thread.join(_WAIT)
    except KeyboardInterrupt:
        _leave()
    if errors:
        raise errors[0]
    return results[0]


def _terminate(number: int, _frame: object) -> None:
    """End the process as the signal would have, once what is being written is gone."""
    signal.signal(number, signal.SIG_DFL)
    _clean_up()
    os.kill(os.getpid(), number)


def _leave() -> None:
    """End the process with click's word and status for Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _clean_up()
    os.write(2, b"Aborted!\n")
    os._exit(1)


def _clean_up() -> None:
    remove_drafts()
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\r\x1b[K")  # a progress bar hides the cursor
