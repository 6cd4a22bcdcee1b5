"""Scores of attention: products of queries and keys, their factor, what is added, the softmax."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from qcore.graph.lowering.attending.look import Look
from qcore.graph.node import Node

__all__ = ["Scores", "scores_of"]

#: Whatever mask there is.
_ANY = "*"


class Scores(NamedTuple):
    """The product of queries and keys under a softmax, and what happens to it."""

    product: Node
    #: What it is multiplied by.
    factor: float
    #: The values that are added to it; together they are the mask.
    added: tuple[str, ...]
    #: Whether a row of which the mask hides all keys is 0.
    guarded: bool

    def mask(self, stem: str) -> tuple[str, list[Node]]:
        """Return the name of the mask, "" for none, and the nodes that add it up."""
        if len(self.added) < 2:
            return (self.added[0] if self.added else ""), []
        total, nodes = self.added[0], []
        for at, term in enumerate(self.added[1:]):
            name = f"{stem}:mask{at or ''}"
            nodes.append(Node(name, "Add", (total, term), (name,)))
            total = name
        return total, nodes


def scores_of(look: Look, weighted: Node) -> Scores | None:
    """Return the scores by which a product weighs values; None if that is no attention."""
    if not _is_plain(weighted):
        return None
    softmax, hidden = _guarded(look, weighted.inputs[0])
    if softmax is None or softmax.get("axis", -1) not in (-1, 3):
        return None
    terms = _terms(look, softmax.inputs[0])
    found = [product for name, _ in terms if (product := _product(look, name)) is not None]
    if len(found) != 1 or not _is_plain(found[0]):
        return None
    added = tuple(name for name, _ in terms if name != found[0].outputs[0])
    factors = [factor for name, factor in terms if name in added]
    if any(factor != 1.0 for factor in factors) or not all(_fits(look, name) for name in added):
        return None
    if hidden not in (None, _ANY, *added[:1]) or (hidden != _ANY and hidden and len(added) > 1):
        return None
    factor = next(factor for name, factor in terms if name not in added)
    return Scores(found[0], factor, added, hidden is not None and bool(added))


def _terms(look: Look, name: str) -> list[tuple[str, float]]:
    """Return the values whose sum, each times its factor, a value is.

    A multiple that is not of the product stays a term of its own.
    """
    source, factor = look.unscaled(name)
    total = look.made(source, "Add")
    if total is not None and _is_plain(total) and factor == 1.0:
        terms = [term for side in total.inputs for term in _terms(look, side)]
        if any(_product(look, term) is not None for term, _ in terms):
            return terms
        return [(name, 1.0)]  # a mask that is a sum is one
    return [(source, factor)] if _product(look, source) is not None else [(name, 1.0)]


def _product(look: Look, name: str) -> Node | None:
    node = look.made(name, "MatMul")
    variable = node is not None and not any(n in look.graph.constants for n in node.inputs)
    return node if variable else None


def _fits(look: Look, mask: str) -> bool:
    """Whether a value can be a mask, or be added to one."""
    constant = look.graph.constants.get(mask)
    if constant is not None:
        return isinstance(constant, np.ndarray) and constant.dtype == np.float32
    shape = look.shape(mask)
    return shape is not None and len(shape) <= 4 and look.values[mask].dtype == "float32"


def _guarded(look: Look, name: str) -> tuple[Node | None, str | None]:
    """Return the softmax that a value is, and the mask for whose hidden rows it is 0 instead.

    None for the mask where nothing is said of rows of which all is hidden.
    """
    chosen = look.made(name, "Where")
    if chosen is None:
        return look.made(name, "Softmax"), None
    same = look.made(chosen.inputs[0], "Equal")
    most = None if same is None else look.made(same.inputs[0], "ReduceMax")
    zero: Any = look.graph.constants.get(chosen.inputs[1])
    softmax = look.made(chosen.inputs[2], "Softmax")
    odd = look.made(chosen.inputs[0], "Not")
    if softmax is not None and odd is not None and isinstance(zero, np.ndarray):
        equal = look.made(odd.inputs[0], "Equal")
        if equal is not None and set(equal.inputs) == set(softmax.outputs) and not zero.any():
            return softmax, _ANY  # where it is NaN
    if same is None or most is None or not isinstance(zero, np.ndarray) or zero.any():
        return None, None
    axes: Any = look.graph.constants.get(most.input(1))
    low: Any = look.graph.constants.get(same.inputs[1])
    if not isinstance(axes, np.ndarray) or axes.reshape(-1).tolist() not in ([-1], [3]):
        return None, None
    if not isinstance(low, np.ndarray) or low.size != 1 or not np.isneginf(low).all():
        return None, None
    return look.made(chosen.inputs[2], "Softmax"), most.inputs[0]


def _is_plain(node: Node) -> bool:
    return len(node.inputs) == 2 and node.get("activation", "linear") == "linear"
