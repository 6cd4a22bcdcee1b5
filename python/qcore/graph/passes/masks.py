"""Scores that are replaced where a mask hides them: what is added to them instead."""

from __future__ import annotations

from qcore.graph.node import Node
from qcore.graph.passes.editor import Editor

__all__ = ["fuse_filled"]

#: What hides a score wherever a row has another: beside it, no score is more than rounding.
_LOWEST = -1e8


def fuse_filled(node: Node, editor: Editor) -> bool:
    """Rewrite ``where(hidden, low, x)`` before a softmax as ``x + where(hidden, low, 0)``.

    The weights are the same: 0 where a row has a score that is not hidden, and all alike where it
    has none, since no score changes a number so low (NaN, where it is -inf).
    """
    if node.op != "Where" or editor.only_reader(node.outputs[0], "Softmax") is None:
        return False
    for place in (1, 2):
        low, scores = editor.scalar(node.inputs[place]), node.inputs[3 - place]
        if low is None or low > _LOWEST or editor.maker(scores, "MatMul", "Mul", "Div") is None:
            continue
        shape, hidden = editor.shape(scores), editor.shape(node.inputs[0])
        if shape is None or hidden is None or len(hidden) > len(shape):
            continue
        if not editor.same_shape(scores, node.outputs[0]):
            continue
        zero = editor.constant(f"{node.name}.zero", 0.0)
        added = f"{node.outputs[0]}:added"
        inputs = [node.inputs[0], zero, zero]
        inputs[place] = node.inputs[place]
        editor.note_shape(added, node.inputs[0])
        return editor.replace([node], [
            Node(added, "Where", tuple(inputs), (added,)),
            Node(node.name, "Add", (scores, added), node.outputs),
        ])  # fmt: skip
    return False
