"""What readers of other frameworks build graphs with: nodes and constants as they are added."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore.graph.node import Node

__all__ = ["Emitter"]


class Emitter:
    """Collects nodes, constants and names.

    Attributes
    ----------
    nodes : list of Node
    constants : dict of str to ndarray
    names : set of str
        Every name that is taken, or that the source uses.
    place : object with a ``name``, or None
        The node of the source that is being read: new nodes are named after it.
    outer : Emitter or None
        That of the graph around this branch.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.names: set[str] = set()
        self.place: Any = None
        self.outer: Emitter | None = None

    def add(
        self, op: str, inputs: Iterable[str], outputs: Iterable[str] | None = None, /,
        **attributes: Any,
    ) -> str:  # fmt: skip
        """Add a node; return its first output, which is new where none is given."""
        stem = getattr(self.place, "name", "") or op
        made = (self.fresh(f"{stem}:{op}"),) if outputs is None else tuple(outputs)
        given = list(inputs)
        while given and not given[-1]:
            given.pop()
        kept = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(Node(stem, op, tuple(given), made, kept))
        self.names.update(made)
        return made[0]

    def fresh(self, stem: str) -> str:
        """Return a name that is not taken."""
        name, number = stem, 1
        while name in self.names or name in self.constants:
            number += 1
            name = f"{stem}#{number}"
        self.names.add(name)
        return name

    def add_constant(self, name: str, array: NDArray[Any]) -> None:
        """Add a constant under the name that the source has for it."""
        if name in self.constants:
            raise ValueError(f"constant {name!r} is there twice")
        self.constants[name] = array
        self.names.add(name)

    def constant(self, value: ArrayLike, dtype: Any = None) -> str:
        """Add a constant under a new name; return it."""
        array = np.asarray(value, dtype)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = self.fresh(f"{getattr(self.place, 'name', '') or 'graph'}:constant")
        self.constants[name] = array
        return name

    def ints(self, values: Any) -> str:
        """Add a constant list of int64."""
        return self.constant(np.atleast_1d(np.asarray(values, np.int64)))

    def constant_value(self, name: str) -> NDArray[Any] | None:
        """Return a value that is a constant, here or in the graph around."""
        found = self.constants.get(name)
        if found is None and self.outer is not None:
            return self.outer.constant_value(name)
        return found
