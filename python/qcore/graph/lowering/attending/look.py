"""Looking backwards from a value: who makes it, of which shape it is, a multiple of what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qcore.graph.node import Node

if TYPE_CHECKING:
    from qcore.graph.graph import BaseGraph

__all__ = ["Look"]


class Look:
    """A graph, and what inference knows of its values."""

    def __init__(self, graph: BaseGraph) -> None:
        self.graph = graph
        self.values = graph.values

    def made(self, name: str, *ops: str) -> Node | None:
        """Return the node that makes a value, if it is of one of these ops."""
        node = self.graph.producers.get(name)
        return node if node is not None and node.op in ops else None

    def shape(self, name: str) -> tuple[int | str | None, ...] | None:
        """Return what is known of the shape of a value that is no constant."""
        value = self.values.get(name)
        return None if value is None else value.shape

    def number(self, name: str) -> float | None:
        """Return a constant of one number that is not 0."""
        constant: Any = self.graph.constants.get(name)
        if not isinstance(constant, np.ndarray) or constant.size != 1:
            return None
        number = float(constant.reshape(()))
        return number if constant.dtype.kind == "f" and number != 0 else None

    def unscaled(self, name: str) -> tuple[str, float]:
        """Return what a value is a multiple of, and the factor."""
        factor = 1.0
        while True:
            node = self.made(name, "Mul", "Div")
            if node is None:
                return name, factor
            numbers = [self.number(side) for side in node.inputs[:2]]
            if numbers[1] is not None:
                factor = factor * numbers[1] if node.op == "Mul" else factor / numbers[1]
                name = node.inputs[0]
            elif numbers[0] is not None and node.op == "Mul":
                factor, name = factor * numbers[0], node.inputs[1]
            else:
                return name, factor
