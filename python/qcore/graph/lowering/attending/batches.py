"""Whether values have as many samples as each other, though nobody says how many."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from qcore.graph.lowering.attending.look import Look
from qcore.graph.node import Node

__all__ = ["is_one_batch"]


#: Ops whose result has the samples of the first input.
_SAME = ("LayerNormalization", "RMSNormalization", "Neg")


def is_one_batch(look: Look, names: list[str]) -> bool:
    """Whether values are known to have as many samples: by name, or as they come from one value."""
    batches = {(look.shape(name) or (None,))[0] for name in names}
    if len(batches) > 1 or None not in batches:
        return len(batches) == 1
    return len({_source(look, name) for name in names}) == 1


def _source(look: Look, name: str) -> str:
    """Return the furthest value known to have as many samples as one that is made of it."""
    while True:
        node = look.graph.producers.get(name)
        if node is None or len(look.shape(name) or ()) < 3:
            return name
        if node.op in ("Gather", "Squeeze"):
            return _whole(look, name)
        sources = [side for side in node.inputs if side and side not in look.graph.constants]
        if node.op in ("Add", "Sub", "Mul", "Div") or (node.op == "Concat" and node.get("axis")):
            if not all(_is_small(look, side, name) for side in node.inputs if side not in sources):
                return name
            found = {side if len(sources) == 1 else _source(look, side) for side in sources}
            if len(found) != 1:
                return name
            name = found.pop()
        elif node.op in _SAME or (node.op in ("Reshape", "Transpose", "Split", "MatMul") and (
            _keeps_samples(look, node, name)
        )):  # fmt: skip
            name = node.inputs[0]
        else:
            return name


def _keeps_samples(look: Look, node: Node, name: str) -> bool:
    """Whether the first axis of what a node makes is that of its first input."""
    if node.op == "Reshape":
        before, after = look.shape(node.inputs[0]), look.shape(name)
        sizes = [_size(shape[1:]) for shape in (before or (), after or ())]
        return sizes[0] is not None and sizes[0] == sizes[1]
    if node.op == "Transpose":
        return bool(node.get("perm")) and node.get("perm")[0] == 0
    if node.op == "Split":
        return node.get("axis", 0) not in (0, -len(look.shape(name) or ()))
    weight = look.graph.constants.get(node.inputs[1])
    return weight is not None and len(weight.shape) == 2


def _size(shape: tuple[int | str | None, ...]) -> int | None:
    """Return how many elements there are, if each dim is a number and there is any."""
    sizes = [dim for dim in shape if isinstance(dim, int)]
    return prod(sizes) if len(sizes) == len(shape) > 0 and 0 not in sizes else None


def _is_small(look: Look, constant: str, name: str) -> bool:
    """Whether a constant says nothing of the number of samples of what it is put together with."""
    shape = look.graph.constants[constant].shape
    rank = len(look.shape(name) or ())
    return len(shape) < rank or (len(shape) == rank and shape[0] == 1)


def _whole(look: Look, name: str) -> str:
    """Return the value of which one is a part along the first axis, itself if it is none."""
    node = look.made(name, "Gather", "Squeeze")
    if node is None:
        return name
    axis: Any = look.graph.constants.get(node.input(1))
    if not isinstance(axis, np.ndarray):
        return name
    if node.op == "Gather":
        return node.inputs[0] if node.get("axis", 0) == 0 and axis.ndim == 0 else name
    split = look.made(node.inputs[0], "Split")
    first = axis.reshape(-1).tolist() == [0] and split is not None and split.get("axis", 0) == 0
    return split.inputs[0] if first and split is not None else name
