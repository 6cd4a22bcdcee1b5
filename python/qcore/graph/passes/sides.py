"""Which values have images of the same size, where inference does not know the size.

The size along each axis is a term: a name for what is given, or an op with its attributes over the
terms of its input. Equal terms are equal sizes, whatever they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qcore.graph.node import Node
from qcore.graph.value import Shape

__all__ = ["Sides"]

Term = Any
Terms = tuple[Term, ...]

_WINDOWS = ("AveragePool", "Conv", "MaxPool")
_KEEP = {
    "BatchNormalization", "Clip", "Dropout", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "Relu", "Sigmoid", "Silu", "Tanh",
}  # fmt: skip
_JOIN = {"Add", "Div", "Max", "Min", "Mul", "Sub"}


class Sides:
    """Finds the terms of values' spatial axes.

    Parameters
    ----------
    shape : callable
        What inference knows of a value, by its name.
    maker : callable
        The node that makes a value, by its name; None for inputs and constants.
    """

    def __init__(
        self, shape: Callable[[str], Shape | None], maker: Callable[[str], Node | None]
    ) -> None:
        self._shape = shape
        self._maker = maker
        self._known: dict[str, Terms | None] = {}

    def of(self, name: str) -> Terms | None:
        """Return a term for each spatial axis of a value (n, channels, ...), or None."""
        todo = [name]  # no recursion: networks are deep
        while todo:
            at = todo[-1]
            wanted = [] if at in self._known else self._sources(at)
            missing = [one for one in wanted if one not in self._known]
            if missing:
                todo += missing
                continue
            if at not in self._known:
                self._known[at] = self._found(at)
            todo.pop()
        return self._known[name]

    def _sources(self, name: str) -> list[str]:
        node = self._maker(name)
        if node is None or node.outputs[0] != name:
            return []
        if node.op in _WINDOWS or node.op in _KEEP:
            return [node.inputs[0]]
        return list(node.inputs) if node.op in _JOIN else []

    def _found(self, name: str) -> Terms | None:
        shape = self._shape(name)
        if shape is None or len(shape) < 3:
            return None
        if None not in shape[2:]:
            return shape[2:]
        node, sources = self._maker(name), self._sources(name)
        if node is None or not sources:
            return tuple(dim or (name, axis) for axis, dim in enumerate(shape[2:]))
        terms = [self._known[one] for one in sources]
        if node.op in _JOIN:
            return _joined(terms)
        if node.op in _KEEP or terms[0] is None:
            return terms[0]
        return tuple(_moved(node, axis, term) for axis, term in enumerate(terms[0]))


def _joined(terms: list[Terms | None]) -> Terms | None:
    """Return the sides of what values broadcast to, if that is those of one of them."""
    large = {one for one in terms if one is not None and any(side != 1 for side in one)}
    return next(iter(large)) if len(large) == 1 and None not in terms else None


def _moved(node: Node, axis: int, term: Term) -> Term:
    """Return the side that windows leave of one: itself, where they go pixel by pixel and fit."""
    kernel = tuple(node.get("kernel_shape") or ())
    count = len(kernel)
    strides = tuple(node.get("strides") or (1,) * count)
    dilations = tuple(node.get("dilations") or (1,) * count)
    pads = tuple(node.get("pads") or (0,) * (2 * count))
    auto, ceil = node.get("auto_pad", "NOTSET"), node.get("ceil_mode", 0)
    if not kernel:
        return (id(node), axis, term)
    padding = (pads[axis], pads[axis + count])
    if strides[axis] == 1:
        fits = auto == "NOTSET" and sum(padding) == (kernel[axis] - 1) * dilations[axis]
        if fits or auto in ("SAME_UPPER", "SAME_LOWER"):
            return term
    return (kernel[axis], strides[axis], dilations[axis], padding, auto, ceil, term)
