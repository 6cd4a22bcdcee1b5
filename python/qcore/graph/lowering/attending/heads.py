"""Heads of attention: side by side in rows, or with an axis of their own."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from qcore.graph.lowering.attending.look import Look
from qcore.graph.node import Node

__all__ = ["HEADS_FIRST", "Heads", "heads_of", "heads_of_rows", "keeps_rows"]

HEADS_FIRST = (0, 2, 1, 3)
_HEADS_FIRST_ACROSS = (0, 2, 3, 1)
_ACROSS = (0, 1, 3, 2)


class Heads(NamedTuple):
    """Rows whose elements are those of heads, side by side."""

    rows: str
    heads: int
    size: int
    scale: float
    #: How often each head is there, one after the other.
    times: int
    #: Whether heads come before rows, so that they have to be turned.
    turned: bool = False


def heads_of_rows(look: Look, name: str, *, across: bool) -> Heads | None:
    """Return the rows of which a value (batch, heads, rows, size) has the heads.

    `across`: of a value (batch, heads, size, rows).
    """
    perms: list[Any] = []
    scale, times = 1.0, 1
    while True:
        name, factor = look.unscaled(name)
        scale *= factor
        node = look.made(name, "Transpose")
        if node is None:
            source, more = _repeated(look, name)
            if more == 1 or times != 1 or perms != ([_ACROSS] if across else []):
                break
            name, times = source, more
            continue
        perms.append(node.get("perm"))
        name = node.inputs[0]
    wanted = [[_HEADS_FIRST_ACROSS], [_ACROSS, HEADS_FIRST]] if across else [[HEADS_FIRST]]
    shaped = look.made(name, "Reshape")
    if perms not in wanted or shaped is None:
        return None
    rows, split = look.shape(shaped.inputs[0]), look.shape(name)
    if rows is None or split is None or len(rows) != 3 or len(split) != 4:
        return None
    heads, size = split[2:]
    if not isinstance(heads, int) or not isinstance(size, int) or rows[2] != heads * size:
        return None
    if not keeps_rows(look, shaped, rows, split):
        return None
    return Heads(shaped.inputs[0], heads, size, scale, times)


def heads_of(look: Look, name: str, *, across: bool) -> Heads | None:
    """Return the heads of a value (batch, heads, rows, size), or across."""
    name, scale = look.unscaled(name)
    if across:
        node = look.made(name, "Transpose")
        if node is None or node.get("perm") not in (_ACROSS, _HEADS_FIRST_ACROSS):
            return None
        if node.get("perm") == _HEADS_FIRST_ACROSS:
            return _with_sizes(look, node.inputs[0], scale, 1, turned=False)
        name, factor = look.unscaled(node.inputs[0])
        scale *= factor
    name, times = _repeated(look, name)
    name, factor = look.unscaled(name)
    node = look.made(name, "Transpose")
    if node is not None and node.get("perm") == HEADS_FIRST:
        return _with_sizes(look, node.inputs[0], scale * factor, times, turned=False)
    return _with_sizes(look, name, scale * factor, times, turned=True)


def _with_sizes(look: Look, name: str, scale: float, times: int, *, turned: bool) -> Heads | None:
    shape = look.shape(name)
    if shape is None or len(shape) != 4 or name in look.graph.constants:
        return None
    heads, size = shape[1 if turned else 2], shape[3]
    if not isinstance(heads, int) or not isinstance(size, int) or min(heads, size) < 1:
        return None
    return Heads(name, heads, size, scale, times, turned)


def _repeated(look: Look, name: str) -> tuple[str, int]:
    """Return the heads (batch, heads, rows, size) that a value has, and how often each."""
    folded = look.made(name, "Reshape")
    many = None if folded is None else look.made(folded.inputs[0], "Expand")
    apart = None if many is None else look.made(many.inputs[0], "Unsqueeze")
    if folded is None or many is None or apart is None:
        return name, 1
    axes: Any = look.graph.constants.get(apart.input(1))
    shapes = [look.shape(n) for n in (apart.inputs[0], many.outputs[0], name)]
    if not isinstance(axes, np.ndarray) or axes.reshape(-1).tolist() != [2]:
        return name, 1
    if [None if shape is None else len(shape) for shape in shapes] != [4, 5, 4]:
        return name, 1
    one, all_, found = (shape or () for shape in shapes)
    heads, times = one[1], all_[2]
    if not isinstance(heads, int) or not isinstance(times, int):
        return name, 1
    known = one[0] is not None and one[0] == all_[0] == found[0]
    same = isinstance(one[3], int) and one[3] == all_[4] == found[3] and heads == all_[1]
    return (apart.inputs[0], times) if known and same and found[1] == heads * times else (name, 1)


def keeps_rows(look: Look, shaped: Node, before: Any, after: Any) -> bool:
    """Whether the first two dims of a Reshape are those of its input."""
    if None not in before[:2] and before[:2] == after[:2]:
        return True
    wanted: Any = look.graph.constants.get(shaped.input(1))
    if not isinstance(wanted, np.ndarray) or wanted.size < 3 or shaped.get("allowzero", 0):
        return False
    first = tuple(int(dim) for dim in wanted.reshape(-1)[:2])
    known = all(isinstance(dim, int) and dim > 0 for dim in (*after[2:], before[2]))
    return known and first in ((0, 0), (0, -1), (-1, 0))
