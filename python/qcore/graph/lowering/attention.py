"""Attention that a graph spells in a dozen nodes, found as one.

Queries, keys and values come from rows in which heads lie side by side; what is between these rows
and the two products (Reshape, Transpose, scalings) is layout and scale, which the one step has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qcore.graph.lowering.attending.batches import is_one_batch
from qcore.graph.lowering.attending.heads import (
    HEADS_FIRST,
    Heads,
    heads_of,
    heads_of_rows,
    keeps_rows,
)
from qcore.graph.lowering.attending.look import Look
from qcore.graph.lowering.attending.scores import Scores, scores_of
from qcore.graph.lowering.operands import DYNAMIC
from qcore.graph.node import Node

if TYPE_CHECKING:
    from qcore.graph.graph import BaseGraph

__all__ = ["attentions", "has_attention", "with_attention"]


def has_attention(graph: BaseGraph) -> bool:
    """Whether there may be attention: a softmax that a product reads, or what guards it."""
    made = [node.outputs[0] for node in graph.nodes if node.op == "Softmax"]
    return any(
        node.op in ("MatMul", "Where") for name in made for node in graph.readers.get(name, ())
    )


def with_attention(graph: BaseGraph, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Return nodes of which those that end an attention compute all of it, and no idle ones."""
    found = _Finder(graph).all()
    wanted = {value.name for value in graph.outputs}
    kept = []
    steps = [step for node in nodes for step in found.get(node.outputs[0], _One((node,))).nodes]
    for node in reversed(steps):
        if wanted.intersection(node.outputs):
            wanted.update(node.read)
            kept.append(node)
    return tuple(kept[::-1])


def attentions(graph: BaseGraph) -> list[tuple[tuple[Node, ...], tuple[str, str]]]:
    """Return the nodes that run for each attention, and the names of its two products."""
    return [(one.nodes, one.products) for one in _Finder(graph).all().values()]


class _One(NamedTuple):
    """The nodes that run for an attention, and the names of the two products that it is."""

    nodes: tuple[Node, ...]
    products: tuple[str, str] = ("", "")


class _Finder:
    def __init__(self, graph: BaseGraph) -> None:
        self.graph = graph
        self.look = Look(graph)

    def all(self) -> dict[str, _One]:
        """Return each attention by the value that it makes."""
        found: dict[str, _One] = {}
        for node in self.graph.nodes:
            if node.op == "Reshape" and (one := self._of_rows(node)) is not None:
                found[node.outputs[0]] = one
        there = {one.products[1] for one in found.values()}
        for node in self.graph.nodes:
            if node.op == "MatMul" and node.name not in there:
                made = self._of_heads(node)
                if made is not None:
                    found[made[0]] = made[1]
        return found

    def _of_rows(self, last: Node) -> _One | None:
        """Return the attention that a Reshape ends, of rows as they come; None if there is none."""
        turned = self.look.made(last.inputs[0], "Transpose")
        if turned is None or turned.get("perm") != HEADS_FIRST:
            return None
        weighted = self.look.made(turned.inputs[0], "MatMul")
        scores = None if weighted is None else scores_of(self.look, weighted)
        if weighted is None or scores is None:
            return None
        q = heads_of_rows(self.look, scores.product.inputs[0], across=False)
        k = heads_of_rows(self.look, scores.product.inputs[1], across=True)
        v = heads_of_rows(self.look, weighted.inputs[1], across=False)
        if q is None or k is None or v is None or not self._ends(last, q, v):
            return None
        attributes = _attributes(q, k, v, scores, weighted)
        if attributes is None:
            return None
        mask, nodes = scores.mask(weighted.name)
        inputs = (q.rows, k.rows, v.rows, mask)[: 4 if mask else 3]
        node = last.changed(op="Attention", inputs=inputs, attributes=attributes)
        return _One((*nodes, node), (scores.product.name, weighted.name))

    def _of_heads(self, weighted: Node) -> tuple[str, _One] | None:
        """Return the attention that a product ends, of heads wherever they come from."""
        scores = scores_of(self.look, weighted)
        if scores is None:
            return None
        q = heads_of(self.look, scores.product.inputs[0], across=False)
        k = heads_of(self.look, scores.product.inputs[1], across=True)
        v = heads_of(self.look, weighted.inputs[1], across=False)
        if q is None or k is None or v is None:
            return None
        attributes = _attributes(q, k, v, scores, weighted)
        if attributes is None or not is_one_batch(self.look, [part.rows for part in (q, k, v)]):
            return None
        mask, nodes = scores.mask(weighted.name)
        inputs = []
        for letter, part in zip("qkv", (q, k, v), strict=True):
            inputs.append(part.rows)
            if part.turned:
                inputs[-1] = f"{weighted.name}:{letter}"
                turn = {"perm": HEADS_FIRST}
                nodes.append(Node(inputs[-1], "Transpose", (part.rows,), (inputs[-1],), turn))
        made = weighted.outputs[0]
        after = self.graph.readers.get(made, ())
        ends = {value.name for value in self.graph.outputs}
        turned = len(after) == 1 and after[0].op == "Transpose" and made not in ends
        turned = turned and after[0].get("perm") == HEADS_FIRST
        rows = after[0].outputs[0] if turned else f"{weighted.name}:heads"
        inputs += [mask] if mask else []
        nodes.append(weighted.changed(
            op="Attention", inputs=tuple(inputs), outputs=(rows,),
            attributes=attributes | {"apart": 1},
        ))  # fmt: skip
        if not turned:
            turn = {"perm": HEADS_FIRST}
            nodes.append(Node(f"{weighted.name}:turned", "Transpose", (rows,), (made,), turn))
        return (rows if turned else made), _One(tuple(nodes), (scores.product.name, weighted.name))

    def _ends(self, last: Node, q: Heads, v: Heads) -> bool:
        """Whether a Reshape lays heads side by side again."""
        made, turned = self.look.shape(last.outputs[0]), self.look.shape(last.inputs[0])
        if made is None or turned is None or len(made) != 3 or len(turned) != 4:
            return False
        if made[2] != q.heads * v.size:
            return False
        return keeps_rows(self.look, last, (*turned[:2], made[2]), made)


def _attributes(
    q: Heads, k: Heads, v: Heads, scores: Scores, weighted: Node
) -> dict[str, Any] | None:
    """Return the attributes of the one step; None where the heads do not fit together."""
    if q.size != k.size or k.heads != v.heads or v.scale != 1.0 or q.times != 1:
        return None
    # One head of keys is there for all queries, as products broadcast it.
    if k.heads != 1 and not q.heads == k.heads * k.times == v.heads * v.times:
        return None
    found: dict[str, Any] = {
        "q_num_heads": q.heads, "kv_num_heads": k.heads,
        "scale": float(np.float32(scores.factor * q.scale * k.scale)),
    }  # fmt: skip
    found |= {"guarded": 1} if scores.guarded else {}
    dynamic = scores.product.get(DYNAMIC) and weighted.get(DYNAMIC)
    return found | ({DYNAMIC: 1} if dynamic else {})
