"""Reading small formulas out of nodes: products of factors, polynomials of a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from qcore.graph.node import Node
from qcore.graph.passes.editor import Editor

__all__ = ["Polynomial", "factors", "is_close", "polynomial"]

#: Coefficients by power.
Polynomial: TypeAlias = "dict[int, float]"
_DEEPEST = 8


def is_close(found: float | None, wanted: float) -> bool:
    """Whether a constant is what a formula has there, as exporters round it."""
    return found is not None and abs(found - wanted) <= 1e-4 * max(abs(wanted), 1e-3)


def factors(node: Node, editor: Editor) -> tuple[float, list[str], list[Node]]:
    """Return what a product is of: a number, other values, and the nodes that multiply them.

    Products behind products are one, where nothing else reads what is between.
    """
    coefficient, values = 1.0, []
    nodes = [node]
    pending = [(name, node.op == "Div" and place == 1) for place, name in enumerate(node.inputs)]
    while pending:
        name, divides = pending.pop(0)
        number = editor.scalar(name)
        if number is not None:
            coefficient = coefficient / number if divides and number else coefficient * number
            continue
        inner = editor.inner(name, "Mul", "Div") if not divides else None
        if inner is not None and (inner.op == "Mul" or editor.scalar(inner.inputs[1])):
            nodes.append(inner)
            pending += [
                (part, inner.op == "Div" and place == 1) for place, part in enumerate(inner.inputs)
            ]
        elif divides:
            return 1.0, [], []
        else:
            values.append(name)
    return coefficient, values, nodes


def polynomial(
    name: str, x: str, editor: Editor, depth: int = 0
) -> tuple[Polynomial, list[Node]] | None:
    """Return a value as a polynomial of another, and the nodes that compute it, if it is one."""
    if name == x:
        return {1: 1.0}, []
    number = editor.scalar(name)
    if number is not None:
        return {0: number}, []
    node = editor.maker(name, "Add", "Sub", "Mul", "Div", "Pow", "Neg")
    if node is None or depth > _DEEPEST:
        return None
    parts = [polynomial(part, x, editor, depth + 1) for part in node.inputs]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    nodes = [node, *(inner for part in known for inner in part[1])]
    found = _combined(node.op, [part[0] for part in known])
    return None if found is None else (found, nodes)


def _combined(op: str, parts: list[Polynomial]) -> Polynomial | None:
    left = parts[0]
    if op == "Neg":
        return {power: -value for power, value in left.items()}
    right = parts[1]
    if op in ("Add", "Sub"):
        sign = 1.0 if op == "Add" else -1.0
        return _sum(left, {power: sign * value for power, value in right.items()})
    if op == "Mul":
        return _product(left, right)
    if set(right) != {0}:
        return None
    number = right[0]
    if op == "Div":
        return {power: value / number for power, value in left.items()} if number else None
    if number not in (2.0, 3.0):
        return None
    found = left
    for _ in range(int(number) - 1):
        found = _product(found, left)
    return found


def _sum(left: Mapping[int, float], right: Mapping[int, float]) -> Polynomial:
    powers = {*left, *right}
    return {power: left.get(power, 0.0) + right.get(power, 0.0) for power in powers}


def _product(left: Mapping[int, float], right: Mapping[int, float]) -> Polynomial:
    found: Polynomial = {}
    for one, a in left.items():
        for two, b in right.items():
            found[one + two] = found.get(one + two, 0.0) + a * b
    return found


def same_polynomial(found: Mapping[int, float], wanted: Mapping[int, float]) -> bool:
    """Whether coefficients are those of a formula, as exporters round them."""
    return all(
        is_close(found.get(power, 0.0), wanted.get(power, 0.0)) for power in {*found, *wanted}
    ) and bool(np.isfinite(list(found.values())).all())
