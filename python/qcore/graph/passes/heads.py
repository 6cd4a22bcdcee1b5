"""Heads that PyTorch's exporters lay behind samples, laid out as attention is looked for.

``nn.MultiheadAttention`` has rows first, (rows, samples, width), and makes (rows, samples · heads,
size) of them. With open sizes nobody knows samples · heads; what is known are heads and size. The
same elements as (rows, samples, heads, size) say all of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from qcore.graph.node import Node
from qcore.graph.passes.editor import Editor

__all__ = ["lift_heads", "split_heads", "swap_last"]

_ROWS_FIRST = (1, 0, 2)
_SWAPPED = (1, 0, 2, 3)
_HEADS_FIRST = (0, 2, 1, 3)
_ACROSS = (0, 2, 3, 1)


def swap_last(node: Node, editor: Editor) -> bool:
    """Rewrite a turn of the last two axes that goes by way of three dims as one Transpose."""
    if node.op != "Reshape":
        return False
    turned = editor.maker(node.inputs[0], "Transpose")
    flat = None if turned is None else editor.maker(turned.inputs[0], "Reshape")
    if turned is None or flat is None or turned.get("perm") != (0, 2, 1):
        return False
    source, middle = editor.shape(flat.inputs[0]), editor.shape(flat.outputs[0])
    made = editor.shape(node.outputs[0])
    if source is None or middle is None or made is None or len(source) != 4 or len(made) != 4:
        return False
    swapped = (*source[:2], source[3], source[2])
    # One dim may be unknown: there are as many elements as before.
    if source.count(None) > 1 or None in middle[1:] or 0 in source:
        return False
    if middle[1:] != source[2:] or made != swapped:
        return False
    new = node.changed(op="Transpose", inputs=flat.inputs[:1], attributes={"perm": (0, 1, 3, 2)})
    return editor.replace([node], [new])


class _Rows(NamedTuple):
    """Rows (rows, samples, heads · size) and what they are multiplied with."""

    name: str
    heads: int
    size: int
    scale: float = 1.0


def split_heads(node: Node, editor: Editor) -> bool:
    """Rewrite (rows, samples · heads, size) that is turned, then split, as split, then turned."""
    made = editor.shape(node.outputs[0]) if node.op == "Reshape" else None
    if made is None or len(made) != 4 or None in made:
        return False
    found = _rows(node.inputs[0], _ROWS_FIRST, editor)
    if found is None or found.scale != 1:
        return False
    shape = editor.shape(found.name) or ()
    if made != (shape[1], found.heads, shape[0], found.size):
        return False
    return editor.replace([node], _apart(found, node.outputs[0], _HEADS_FIRST, editor))


def lift_heads(node: Node, editor: Editor) -> bool:
    """Rewrite attention of (samples · heads, rows, size) as that of (samples, heads, rows, size).

    `node` turns its output to rows first; what reads that lays heads side by side again.
    """
    if node.op != "Transpose" or node.get("perm") != _ROWS_FIRST:
        return False
    if not all(_lays_side_by_side(reader, editor) for reader in editor.readers(node.outputs[0])):
        return False
    weighted = _inner(node.inputs[0], "MatMul", editor)
    softmax = None if weighted is None else _inner(weighted.inputs[0], "Softmax", editor)
    if weighted is None or softmax is None or softmax.get("axis", -1) not in (-1, 2):
        return False
    added = editor.inner(softmax.inputs[0], "Add")
    scores, mask = _inner(softmax.inputs[0], "MatMul", editor), ""
    for side in (0, 1) if added is not None else ():
        one = _inner(added.inputs[side], "MatMul", editor) if added is not None else None
        if one is not None and added is not None:
            scores, mask = one, added.inputs[1 - side]
    if scores is None:
        return False
    parts = (
        _rows(scores.inputs[0], _ROWS_FIRST, editor), _rows(scores.inputs[1], (1, 2, 0), editor),
        _rows(weighted.inputs[1], _ROWS_FIRST, editor),
    )  # fmt: skip
    q, k, v = parts
    if q is None or k is None or v is None or v.scale != 1 or len({x.heads for x in (q, k, v)}) > 1:
        return False
    if mask:
        mask = _mask(mask, q.heads, editor)
        if not mask:
            return False
    stem = node.outputs[0]
    parts_made = ("q", "k", "v", "scaled", "scores", "masked", "weights", "all", "rows")
    names = {part: f"{stem}:{part}" for part in parts_made}
    new = [
        *_apart(q, names["q"], _HEADS_FIRST, editor), *_apart(k, names["k"], _ACROSS, editor),
        *_apart(v, names["v"], _HEADS_FIRST, editor),
    ]  # fmt: skip
    factor = editor.constant(f"{stem}:scale", np.float32(q.scale * k.scale))
    new += [
        Node(names["scaled"], "Mul", (names["q"], factor), (names["scaled"],)),
        scores.changed(inputs=(names["scaled"], names["k"]), outputs=(names["scores"],)),
    ]
    last = names["scores"]
    if added is not None:
        last = names["masked"]
        new.append(added.changed(inputs=(names["scores"], mask), outputs=(last,)))
    new += [
        softmax.changed(inputs=(last,), outputs=(names["weights"],), attributes={"axis": -1}),
        weighted.changed(inputs=(names["weights"], names["v"]), outputs=(names["all"],)),
        Node(names["rows"], "Transpose", (names["all"],), (names["rows"],), {"perm": _HEADS_FIRST}),
        node.changed(inputs=(names["rows"],), attributes={"perm": _SWAPPED}),
    ]
    return editor.replace(
        [node, weighted, softmax, scores, *([] if added is None else [added])], new
    )


def _inner(name: str, op: str, editor: Editor) -> Node | None:
    """Return the node that makes a value for one reader, if it is of this op and nothing more."""
    node = editor.inner(name, op)
    plain = node is not None and node.get("activation", "linear") == "linear"
    return node if plain and node is not None and len(node.inputs) <= 2 else None


def _rows(name: str, perm: tuple[int, ...], editor: Editor) -> _Rows | None:
    """Return the rows of which a value is (samples · heads, rows, size), or turned as `perm`."""
    name, scale = _unscaled(name, editor)
    turned = editor.maker(name, "Transpose")
    if turned is None or turned.get("perm") != perm:
        return None
    name, more = _unscaled(turned.inputs[0], editor)
    shaped = editor.maker(name, "Reshape")
    if shaped is None:
        return None
    rows, split = editor.shape(shaped.inputs[0]), editor.shape(shaped.outputs[0])
    if rows is None or split is None or len(rows) != 3 or len(split) != 3 or None in rows:
        return None
    width, size = rows[2], split[2]
    if not isinstance(width, int) or not isinstance(size, int) or size < 1 or width % size:
        return None
    # Where rows stay the first dim and size is the last, heads are what is between.
    return (
        _Rows(shaped.inputs[0], width // size, size, scale * more) if rows[0] == split[0] else None
    )


def _unscaled(name: str, editor: Editor) -> tuple[str, float]:
    """Return what a value is a multiple of, and the factor."""
    node = editor.maker(name, "Mul", "Div")
    if node is None or len(node.inputs) != 2:
        return name, 1.0
    factor = editor.scalar(node.inputs[1])
    if factor is None or factor == 0 or editor.array(node.inputs[1]).dtype.kind != "f":  # type: ignore[union-attr]
        return name, 1.0
    return node.inputs[0], factor if node.op == "Mul" else 1 / factor


def _apart(rows: _Rows, made: str, perm: tuple[int, ...], editor: Editor) -> list[Node]:
    """Return nodes that make heads apart of rows, turned from (samples, rows, heads, size)."""
    shape = editor.constant(f"{made}:shape", np.array([0, 0, rows.heads, rows.size], np.int64))
    split, swapped = f"{made}:split", f"{made}:swapped"
    return [
        Node(split, "Reshape", (rows.name, shape), (split,)),
        Node(swapped, "Transpose", (split,), (swapped,), {"perm": _SWAPPED}),
        Node(f"{made}:apart", "Transpose", (swapped,), (made,), {"perm": perm}),
    ]


def _mask(name: str, heads: int, editor: Editor) -> str:
    """Return a mask as it is before samples and heads become one dim; "" where there is none."""
    shape = editor.shape(name)
    if shape is not None and len(shape) < 3:
        return name
    flat = editor.maker(name, "Reshape")
    source = None if flat is None else editor.shape(flat.inputs[0])
    if flat is None or source is None or shape is None or len(source) != 4 or None in source:
        return ""
    return flat.inputs[0] if source[1] == heads and shape[1:] == source[2:] else ""


def _lays_side_by_side(reader: Node, editor: Editor) -> bool:
    """Whether a Reshape goes by elements alone: no dim of its input is named by its place."""
    if reader.op != "Reshape":
        return False
    shape: Any = editor.array(reader.inputs[1])
    return bool(reader.get("allowzero", 0)) or shape is None or bool(np.all(shape != 0))
