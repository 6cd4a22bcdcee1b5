"""Functions of one value that exporters write in several nodes: SiLU, hard-swish, GELU."""

from __future__ import annotations

import math

from qcore.graph.node import Node
from qcore.graph.passes.algebra import factors, is_close, polynomial, same_polynomial
from qcore.graph.passes.editor import Editor

__all__ = ["fuse_function", "fuse_hard_sigmoid"]

_ERF = {1: 1 / math.sqrt(2)}
_TANH = {1: math.sqrt(2 / math.pi), 3: math.sqrt(2 / math.pi) * 0.044715}


def fuse_hard_sigmoid(node: Node, editor: Editor) -> bool:
    """Rewrite ``clip(x + 3, 0, 6) / 6`` as a HardSigmoid."""
    if node.op not in ("Mul", "Div"):
        return False
    coefficient, values, nodes = factors(node, editor)
    if len(values) != 1 or not is_close(coefficient, 1 / 6):
        return False
    found = _shifted_clip(values[0], editor)
    if found is None or not editor.is_inner(values[0]):
        return False
    x, inner = found
    new = node.changed(op="HardSigmoid", inputs=(x,), attributes={"alpha": 1 / 6, "beta": 0.5})
    return editor.replace([*nodes, *inner], [new])


def _shifted_clip(name: str, editor: Editor) -> tuple[str, list[Node]] | None:
    """Return x, and the nodes, of ``clip(x + 3, 0, 6)``."""
    clip = editor.maker(name, "Clip")
    if clip is None:
        return None
    low, high = editor.scalar(clip.input(1)), editor.scalar(clip.input(2))
    shifted = editor.inner(clip.inputs[0], "Add")
    if shifted is None or not is_close(high, 6.0) or low != 0.0:
        return None
    for place in (0, 1):
        if is_close(editor.scalar(shifted.inputs[place]), 3.0):
            return shifted.inputs[1 - place], [clip, shifted]
    return None


def fuse_function(node: Node, editor: Editor) -> bool:
    """Rewrite x times a gate of x as the function that it is."""
    if node.op not in ("Mul", "Div"):
        return False
    coefficient, values, nodes = factors(node, editor)
    if len(values) != 2:
        return False
    for x, gate in (values, values[::-1]):
        if not editor.is_inner(gate):
            continue
        found = _gated(x, gate, coefficient, editor)
        if found is not None:
            op, attributes, inner = found
            new = node.changed(op=op, inputs=(x,), attributes=attributes)
            return editor.replace([*nodes, *inner], [new])
    return False


def _gated(
    x: str, gate: str, coefficient: float, editor: Editor
) -> tuple[str, dict[str, str], list[Node]] | None:
    maker = editor.maker(gate, "Sigmoid", "HardSigmoid", "Clip", "Add")
    if maker is None:
        return None
    if maker.op == "Sigmoid" and maker.inputs[0] == x and is_close(coefficient, 1.0):
        return "Silu", {}, [maker]
    if maker.op == "HardSigmoid" and maker.inputs[0] == x and is_close(coefficient, 1.0):
        usual = is_close(maker.get("alpha", 0.2), 1 / 6) and is_close(maker.get("beta", 0.5), 0.5)
        return ("HardSwish", {}, [maker]) if usual else None
    if maker.op == "Clip" and is_close(coefficient, 1 / 6):
        clipped = _shifted_clip(gate, editor)
        return ("HardSwish", {}, clipped[1]) if clipped is not None and clipped[0] == x else None
    if maker.op == "Add" and is_close(coefficient, 0.5):
        return _gelu(x, maker, editor)
    return None


def _gelu(x: str, plus_one: Node, editor: Editor) -> tuple[str, dict[str, str], list[Node]] | None:
    for place in (0, 1):
        if not is_close(editor.scalar(plus_one.inputs[place]), 1.0):
            continue
        inner = editor.inner(plus_one.inputs[1 - place], "Erf", "Tanh")
        if inner is None:
            return None
        found = polynomial(inner.inputs[0], x, editor)
        wanted = _ERF if inner.op == "Erf" else _TANH
        if found is None or not same_polynomial(found[0], wanted):
            return None
        if not all(_only_within(node, found[1], inner, editor) for node in found[1]):
            return None
        attributes = {} if inner.op == "Erf" else {"approximate": "tanh"}
        return "Gelu", attributes, [plus_one, inner, *found[1]]
    return None


def _only_within(node: Node, nodes: list[Node], end: Node, editor: Editor) -> bool:
    """Whether only nodes of a formula read what a node of it makes."""
    allowed = [*map(id, nodes), id(end)]
    return all(id(reader) in allowed for reader in editor.readers(node.outputs[0]))
