"""What a graph is made of, checked as it is given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np

from qcore.arrays.products.matrix import SparseMatrix
from qcore.arrays.tensor.tensor import QTensor
from qcore.graph.node import Node
from qcore.graph.value import RUNNING

__all__ = ["as_kept", "each", "named"]

K = TypeVar("K")


def as_kept(name: str, constant: Any) -> Any:
    """Return a constant as it is kept: arrays read-only, in the type in which they run."""
    if isinstance(constant, (QTensor, SparseMatrix)):
        return constant
    array = np.asarray(constant)
    dtype = array.dtype.name
    if dtype in ("float16", "float64", "bfloat16"):
        array = array.astype(np.float32)
    elif dtype not in RUNNING:
        raise TypeError(f"constant {name!r} has dtype {dtype}; it must be one of {RUNNING}")
    kept = array.view()
    kept.flags.writeable = False
    return kept


def each(given: Any, name: str, kind: type[K]) -> tuple[K, ...]:
    """Return the items of an argument, all of a kind."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise TypeError(f"{name} is {given!r}; it must be an iterable of {kind.__name__}")
    items = tuple(given)
    for item in items:
        if not isinstance(item, kind):
            raise TypeError(f"{name} has {item!r}; it must be an iterable of {kind.__name__}")
    return items


def named(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Give each node a name of its own."""
    taken: set[str] = set()
    found = []
    for place, node in enumerate(nodes):
        name = node.name or f"{node.op}_{place}"
        while name in taken:
            name = f"{name}_{place}"
        taken.add(name)
        found.append(node if name == node.name else node.changed(name=name))
    return tuple(found)
