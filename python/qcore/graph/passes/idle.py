"""Arithmetic that changes nothing: adding zeros, multiplying by ones."""

from __future__ import annotations

import numpy as np

from qcore.graph.node import Node
from qcore.graph.passes.editor import Editor

__all__ = ["drop_idle"]

# What an operand is all of where nothing happens.
_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}


def drop_idle(node: Node, editor: Editor) -> bool:
    """Rewrite arithmetic with a neutral constant, such as a mask that hides nothing, as nothing."""
    if node.op not in _NEUTRAL or len(node.inputs) != 2 or node.get("activation"):
        return False
    for side in (1, 0) if node.op in ("Add", "Mul") else (1,):
        constant, other = editor.array(node.inputs[side]), node.inputs[1 - side]
        if constant is None or np.any(constant != _NEUTRAL[node.op]) or not constant.size:
            continue
        shape = editor.shape(other)
        if shape is None or constant.ndim > len(shape):
            continue
        # A constant that is broadcast to the value leaves its shape as it is.
        ends = shape[len(shape) - constant.ndim :]
        if all(size in (1, dim) for size, dim in zip(constant.shape, ends, strict=True)):
            return editor.replace([node], [Node(node.name, "Identity", (other,), node.outputs)])
    return False
