"""Imports at first use, none of which a fork leaves half done.

Python's lock of a module that another thread was importing stays locked in the child, for ever. So
a process forks between two of these imports.
"""

from __future__ import annotations

import os
from _thread import RLock
from importlib import import_module
from types import ModuleType

__all__ = ["imported"]

# Seconds that a fork waits: longer than an import, and an end where the import waits for the fork.
_PATIENCE = 10.0


class _Importing:
    """The lock of imports at first use, and whether a fork holds it."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.held = False

    def before_fork(self) -> None:
        self.held = self.lock.acquire(timeout=_PATIENCE)

    def after_fork(self) -> None:
        if self.held:
            self.lock.release()

    def in_child(self) -> None:
        # Where it was not held, another thread has it, which is not there.
        self.lock = RLock()


_importing = _Importing()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_importing.before_fork,
        after_in_parent=_importing.after_fork,
        after_in_child=_importing.in_child,
    )


def imported(home: str) -> ModuleType:
    """Return a module, which is imported if need be."""
    with _importing.lock:
        return import_module(home)
