"""A variance that exporters spell as the mean of squares less the square of the mean.

In float32 that difference has as few digits as the mean is large beside the spread. The mean of
the squares of what is left of each value without the mean is the same number, with all its digits.
"""

from __future__ import annotations

import math

import numpy as np

from qcore.graph.node import Node
from qcore.graph.passes.editor import Editor

__all__ = ["centre_variance"]

# How far a factor may be from one over the count that it stands for.
_CLOSE = 1e-6

_Mean = tuple[str, tuple[int, ...], bool]


def _mean_of(name: str, editor: Editor) -> _Mean | None:
    """Return what a value is the mean of, over which axes, and whether these are kept."""
    node = editor.maker(name, "ReduceMean", "Mul", "Div")
    if node is None:
        return None
    if node.op == "ReduceMean":
        return _reduced(node, editor)
    for place in (0, 1) if node.op == "Mul" else (1,):
        factor = editor.scalar(node.inputs[place])
        total = editor.maker(node.inputs[1 - place], "ReduceSum")
        found = None if total is None else _reduced(total, editor)
        if factor is None or found is None:
            continue
        count = _count(found, editor)
        share = count * factor if node.op == "Mul" else factor / count if count else 0.0
        if abs(share - 1) < _CLOSE:
            return found
    return None


def _reduced(node: Node, editor: Editor) -> _Mean | None:
    axes = editor.array(node.input(1))
    if axes is None or not axes.size:
        return None
    return node.inputs[0], tuple(int(axis) for axis in axes), bool(node.get("keepdims", 1))


def _count(mean: _Mean, editor: Editor) -> float:
    """Return how many values a mean is of; NaN where that is open."""
    shape = editor.shape(mean[0])
    sizes = [] if shape is None else [shape[axis] for axis in mean[1] if axis < len(shape)]
    if not sizes or not all(isinstance(size, int) for size in sizes):
        return math.nan
    return float(math.prod(size for size in sizes if isinstance(size, int)))


def _squared(name: str, editor: Editor) -> str | None:
    """Return what a value is the square of."""
    node = editor.maker(name, "Mul", "Pow")
    if node is None:
        return None
    if node.op == "Mul":
        return node.inputs[0] if node.inputs[0] == node.inputs[1] else None
    return node.inputs[0] if editor.scalar(node.inputs[1]) == 2 else None


def centre_variance(node: Node, editor: Editor) -> bool:
    """Rewrite ``mean(x²) - mean(x)²`` as ``mean((x - mean(x))²)``."""
    if node.op != "Sub" or editor.graph.exact is not None:
        return False  # of integers to the bit each step counts
    squares, mean_name = _mean_of(node.inputs[0], editor), _squared(node.inputs[1], editor)
    if squares is None or mean_name is None:
        return False
    mean = _mean_of(mean_name, editor)
    if mean is None or mean[1:] != squares[1:] or _squared(squares[0], editor) != mean[0]:
        return False
    x, axes, kept = mean
    name, output = node.name, node.outputs[0]
    where = editor.constant(f"{name}.axes", np.asarray(axes, np.int64))
    centre, apart, square = (f"{output}:{part}" for part in ("mean", "centred", "squared"))
    editor.note_shape(apart, x)
    editor.note_shape(square, x)
    return editor.replace(
        [node],
        [
            Node(f"{name}.mean", "ReduceMean", (x, where), (centre,), {"keepdims": 1}),
            Node(f"{name}.centred", "Sub", (x, centre), (apart,)),
            Node(f"{name}.squared", "Mul", (apart, apart), (square,)),
            Node(name, "ReduceMean", (square, where), (output,), {"keepdims": int(kept)}),
        ],
    )
