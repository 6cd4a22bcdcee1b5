"""Building graphs from sources whose images have channels last.

Graphs have channels first. A value of such a source has up to two forms, its own and one with
channels first, and each is made when it is first asked for: what stays among convolutions is never
transposed, and inputs and outputs keep the source's layout.
"""

from __future__ import annotations

from qcore.graph.building.emitter import Emitter

__all__ = ["ImageEmitter"]


class ImageEmitter(Emitter):
    """Adds nodes for values of which images have channels last."""

    def __init__(self) -> None:
        super().__init__()
        self._firsts: dict[str, str] = {}  # the form with channels first, by the source's name
        self._waiting: set[str] = set()  # names that only that form has yet

    def first(self, name: str) -> str:
        """Return an image with channels first."""
        if name not in self._firsts:
            self._firsts[name] = self.add("Transpose", [self.last(name)], perm=(0, 3, 1, 2))
        return self._firsts[name]

    def has_first(self, name: str) -> bool:
        """Whether a value is there with channels first."""
        return name in self._firsts

    def made_first(self, name: str, first: str) -> None:
        """Note that a value of the source is there with channels first."""
        self._firsts[name] = first
        self._waiting.add(name)

    def last(self, name: str) -> str:
        """Return a value in the source's own layout."""
        if name in self._waiting:
            self._waiting.discard(name)
            self.add("Transpose", [self._firsts[name]], [name], perm=(0, 2, 3, 1))
        return name
