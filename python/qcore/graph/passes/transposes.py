"""Transposes behind transposes: one, or none."""

from __future__ import annotations

from qcore.graph.node import Node
from qcore.graph.passes.editor import Editor

__all__ = ["fuse_transposes"]


def fuse_transposes(node: Node, editor: Editor) -> bool:
    """Rewrite a Transpose of a Transpose as one; as nothing where they undo each other."""
    if node.op != "Transpose" or not node.get("perm"):
        return False
    before = editor.maker(node.inputs[0], "Transpose")
    if before is None or not before.get("perm"):
        return False
    first, second = before.get("perm"), node.get("perm")
    if len(first) != len(second):
        return False
    both = tuple(first[axis] for axis in second)
    source = before.inputs[0]
    if both == tuple(range(len(both))):
        new = Node(node.name, "Identity", (source,), node.outputs)
    else:
        new = node.changed(inputs=(source,), attributes={"perm": both})
    return editor.replace([node], [new])
