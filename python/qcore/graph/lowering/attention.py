"""Attention that a graph spells in a dozen nodes, found as one.

Queries, keys and values come from rows in which heads lie side by side; what is between these rows
and the two products (Reshape, Transpose, scalings) is layout and scale, which the one step has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qcore.graph.lowering.operands import DYNAMIC
from qcore.graph.node import Node

if TYPE_CHECKING:
    from qcore.graph.graph import BaseGraph

__all__ = ["attentions", "has_attention", "with_attention"]

_HEADS_FIRST = (0, 2, 1, 3)
_HEADS_FIRST_ACROSS = (0, 2, 3, 1)
_ACROSS = (0, 1, 3, 2)
#: Whatever mask there is.
_ANY = "*"


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


class _Heads(NamedTuple):
    """Rows whose elements are those of heads, side by side."""

    rows: str
    heads: int
    size: int
    scale: float
    #: How often each head is there, one after the other.
    times: int
    #: Whether heads come before rows, so that they have to be turned.
    turned: bool = False


class _Finder:
    def __init__(self, graph: BaseGraph) -> None:
        self.graph = graph
        self.values = graph.values

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
        turned = self._made(last.inputs[0], "Transpose")
        if turned is None or turned.get("perm") != _HEADS_FIRST:
            return None
        weighted = self._made(turned.inputs[0], "MatMul")
        parts = None if weighted is None else self._parts(weighted)
        if weighted is None or parts is None:
            return None
        scores, scale, mask, guarded = parts
        q = self._heads(scores.inputs[0], across=False)
        k = self._heads(scores.inputs[1], across=True)
        v = self._heads(weighted.inputs[1], across=False)
        if q is None or k is None or v is None or not self._ends(last, q, v):
            return None
        attributes = _attributes(q, k, v, scale, guarded=guarded)
        if attributes is None:
            return None
        if scores.get(DYNAMIC) and weighted.get(DYNAMIC):
            attributes[DYNAMIC] = 1
        inputs = (q.rows, k.rows, v.rows, mask)[: 4 if mask else 3]
        node = last.changed(op="Attention", inputs=inputs, attributes=attributes)
        return _One((node,), (scores.name, weighted.name))

    def _of_heads(self, weighted: Node) -> tuple[str, _One] | None:
        """Return the attention that a product ends, of heads wherever they come from."""
        parts = self._parts(weighted)
        if parts is None:
            return None
        scores, scale, mask, guarded = parts
        q = self._any_heads(scores.inputs[0], across=False)
        k = self._any_heads(scores.inputs[1], across=True)
        v = self._any_heads(weighted.inputs[1], across=False)
        if q is None or k is None or v is None:
            return None
        attributes = _attributes(q, k, v, scale, guarded=guarded)
        if attributes is None or not self._is_one_batch([part.rows for part in (q, k, v)]):
            return None
        if scores.get(DYNAMIC) and weighted.get(DYNAMIC):
            attributes[DYNAMIC] = 1
        nodes, inputs = [], []
        for letter, part in zip("qkv", (q, k, v), strict=True):
            inputs.append(part.rows)
            if part.turned:
                inputs[-1] = f"{weighted.name}:{letter}"
                turn = {"perm": _HEADS_FIRST}
                nodes.append(Node(inputs[-1], "Transpose", (part.rows,), (inputs[-1],), turn))
        made = weighted.outputs[0]
        after = self.graph.readers.get(made, ())
        ends = {value.name for value in self.graph.outputs}
        turned = len(after) == 1 and after[0].op == "Transpose" and made not in ends
        turned = turned and after[0].get("perm") == _HEADS_FIRST
        rows = after[0].outputs[0] if turned else f"{weighted.name}:heads"
        inputs += [mask] if mask else []
        attributes["apart"] = 1
        nodes.append(weighted.changed(
            op="Attention", inputs=tuple(inputs), outputs=(rows,), attributes=attributes
        ))  # fmt: skip
        if not turned:
            turn = {"perm": _HEADS_FIRST}
            nodes.append(Node(f"{weighted.name}:turned", "Transpose", (rows,), (made,), turn))
        return (rows if turned else made), _One(tuple(nodes), (scores.name, weighted.name))

    def _is_one_batch(self, names: list[str]) -> bool:
        """Whether values are known to have as many samples: by name, or as parts of one value."""
        batches = {(self._shape(name) or (None,))[0] for name in names}
        if len(batches) > 1 or None not in batches:
            return len(batches) == 1
        return len({self._whole(name) for name in names}) == 1

    def _whole(self, name: str) -> str:
        """Return the value of which one is a part along the first axis, itself if it is none."""
        node = self._made(name, "Gather", "Squeeze")
        if node is None:
            return name
        axis: Any = self.graph.constants.get(node.input(1))
        if not isinstance(axis, np.ndarray):
            return name
        if node.op == "Gather":
            return node.inputs[0] if node.get("axis", 0) == 0 and axis.ndim == 0 else name
        split = self._made(node.inputs[0], "Split")
        first = axis.reshape(-1).tolist() == [0] and split is not None and split.get("axis", 0) == 0
        return split.inputs[0] if first and split is not None else name

    def _parts(self, weighted: Node) -> tuple[Node, float, str, bool] | None:
        """Return the product of scores, its factor, the mask, and whether hidden rows are 0."""
        if not _is_plain(weighted):
            return None
        softmax, hidden = self._guarded(weighted.inputs[0])
        if softmax is None or softmax.get("axis", -1) not in (-1, 3):
            return None
        scores, scale, mask = self._scores(softmax.inputs[0])
        if scores is None or not _is_plain(scores) or hidden not in (None, _ANY, mask):
            return None
        if mask and not self._fits(mask):
            return None
        return scores, scale, mask, hidden is not None and bool(mask)

    def _fits(self, mask: str) -> bool:
        shape = self._shape(mask)
        return shape is not None and len(shape) <= 4

    def _any_heads(self, name: str, *, across: bool) -> _Heads | None:
        """Return the heads of a value (batch, heads, rows, size), or across."""
        name, scale = self._unscaled(name)
        if across:
            node = self._made(name, "Transpose")
            if node is None or node.get("perm") not in (_ACROSS, _HEADS_FIRST_ACROSS):
                return None
            if node.get("perm") == _HEADS_FIRST_ACROSS:
                return self._with_sizes(node.inputs[0], scale, 1, turned=False)
            name, factor = self._unscaled(node.inputs[0])
            scale *= factor
        name, times = self._repeated(name)
        name, factor = self._unscaled(name)
        node = self._made(name, "Transpose")
        if node is not None and node.get("perm") == _HEADS_FIRST:
            return self._with_sizes(node.inputs[0], scale * factor, times, turned=False)
        return self._with_sizes(name, scale * factor, times, turned=True)

    def _with_sizes(self, name: str, scale: float, times: int, *, turned: bool) -> _Heads | None:
        shape = self._shape(name)
        if shape is None or len(shape) != 4 or name in self.graph.constants:
            return None
        heads, size = shape[1 if turned else 2], shape[3]
        if not isinstance(heads, int) or not isinstance(size, int) or min(heads, size) < 1:
            return None
        return _Heads(name, heads, size, scale, times, turned)

    def _made(self, name: str, *ops: str) -> Node | None:
        node = self.graph.producers.get(name)
        return node if node is not None and node.op in ops else None

    def _guarded(self, name: str) -> tuple[Node | None, str | None]:
        """Return the softmax that a value is, and the mask for whose hidden rows it is 0 instead.

        None for the mask where nothing is said of rows of which all is hidden.
        """
        chosen = self._made(name, "Where")
        if chosen is None:
            return self._made(name, "Softmax"), None
        same = self._made(chosen.inputs[0], "Equal")
        most = None if same is None else self._made(same.inputs[0], "ReduceMax")
        zero: Any = self.graph.constants.get(chosen.inputs[1])
        softmax = self._made(chosen.inputs[2], "Softmax")
        odd = self._made(chosen.inputs[0], "Not")
        if softmax is not None and odd is not None and isinstance(zero, np.ndarray):
            equal = self._made(odd.inputs[0], "Equal")
            if equal is not None and set(equal.inputs) == set(softmax.outputs) and not zero.any():
                return softmax, _ANY  # where it is NaN
        if same is None or most is None or not isinstance(zero, np.ndarray) or zero.any():
            return None, None
        axes: Any = self.graph.constants.get(most.input(1))
        low: Any = self.graph.constants.get(same.inputs[1])
        if not isinstance(axes, np.ndarray) or axes.reshape(-1).tolist() not in ([-1], [3]):
            return None, None
        if not isinstance(low, np.ndarray) or low.size != 1 or not np.isneginf(low).all():
            return None, None
        return self._made(chosen.inputs[2], "Softmax"), most.inputs[0]

    def _scores(self, name: str) -> tuple[Node | None, float, str]:
        """Return the product of queries and keys, its factor, and what is added to it."""
        scale, mask = 1.0, ""
        node = self._made(name, "Add")
        if node is not None:
            sides = [s for s in (0, 1) if self._made(node.inputs[s], "MatMul", "Mul", "Div")]
            found = [side for side in sides if self._scores_of(node.inputs[side])[0] is not None]
            if len(found) != 1:
                return None, scale, mask
            name, mask = node.inputs[found[0]], node.inputs[1 - found[0]]
            value = self.graph.constants.get(mask)
            dtype = self.values[mask].dtype if value is None else value.dtype.name
            if dtype != "float32":
                return None, scale, mask
        node, scale = self._scores_of(name)
        return node, scale, mask

    def _scores_of(self, name: str) -> tuple[Node | None, float]:
        name, scale = self._unscaled(name)
        node = self._made(name, "MatMul")
        variable = node is not None and not any(n in self.graph.constants for n in node.inputs)
        return (node if variable else None), scale

    def _unscaled(self, name: str) -> tuple[str, float]:
        """Return what a value is a multiple of, and the factor."""
        factor = 1.0
        while True:
            node = self._made(name, "Mul", "Div")
            if node is None:
                return name, factor
            numbers = [self._number(side) for side in node.inputs[:2]]
            if numbers[1] is not None:
                factor = factor * numbers[1] if node.op == "Mul" else factor / numbers[1]
                name = node.inputs[0]
            elif numbers[0] is not None and node.op == "Mul":
                factor, name = factor * numbers[0], node.inputs[1]
            else:
                return name, factor

    def _number(self, name: str) -> float | None:
        constant: Any = self.graph.constants.get(name)
        if not isinstance(constant, np.ndarray) or constant.size != 1:
            return None
        number = float(constant.reshape(()))
        return number if constant.dtype.kind == "f" and number != 0 else None

    def _heads(self, name: str, *, across: bool) -> _Heads | None:
        """Return the rows of which a value (batch, heads, rows, size) has the heads.

        `across`: of a value (batch, heads, size, rows).
        """
        perms: list[Any] = []
        scale, times = 1.0, 1
        while True:
            name, factor = self._unscaled(name)
            scale *= factor
            node = self._made(name, "Transpose")
            if node is None:
                source, more = self._repeated(name)
                if more == 1 or times != 1 or perms != ([_ACROSS] if across else []):
                    break
                name, times = source, more
                continue
            perms.append(node.get("perm"))
            name = node.inputs[0]
        wanted = [[_HEADS_FIRST_ACROSS], [_ACROSS, _HEADS_FIRST]] if across else [[_HEADS_FIRST]]
        shaped = self._made(name, "Reshape")
        if perms not in wanted or shaped is None:
            return None
        rows, split = self._shape(shaped.inputs[0]), self._shape(name)
        if rows is None or split is None or len(rows) != 3 or len(split) != 4:
            return None
        heads, size = split[2:]
        if not isinstance(heads, int) or not isinstance(size, int) or rows[2] != heads * size:
            return None
        if not self._keeps_rows(shaped, rows, split):
            return None
        return _Heads(shaped.inputs[0], heads, size, scale, times)

    def _repeated(self, name: str) -> tuple[str, int]:
        """Return the heads (batch, heads, rows, size) that a value has, and how often each."""
        folded = self._made(name, "Reshape")
        many = None if folded is None else self._made(folded.inputs[0], "Expand")
        apart = None if many is None else self._made(many.inputs[0], "Unsqueeze")
        if folded is None or many is None or apart is None:
            return name, 1
        axes: Any = self.graph.constants.get(apart.input(1))
        shapes = [self._shape(n) for n in (apart.inputs[0], many.outputs[0], name)]
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
        return (
            (apart.inputs[0], times) if known and same and found[1] == heads * times else (name, 1)
        )

    def _shape(self, name: str) -> tuple[int | str | None, ...] | None:
        value = self.values.get(name)
        return None if value is None else value.shape

    def _keeps_rows(self, shaped: Node, before: Any, after: Any) -> bool:
        """Whether the first two dims of a Reshape are those of its input."""
        if None not in before[:2] and before[:2] == after[:2]:
            return True
        wanted: Any = self.graph.constants.get(shaped.input(1))
        if not isinstance(wanted, np.ndarray) or wanted.size < 3 or shaped.get("allowzero", 0):
            return False
        first = tuple(int(dim) for dim in wanted.reshape(-1)[:2])
        known = all(isinstance(dim, int) and dim > 0 for dim in (*after[2:], before[2]))
        return known and first in ((0, 0), (0, -1), (-1, 0))

    def _ends(self, last: Node, q: _Heads, v: _Heads) -> bool:
        """Whether a Reshape lays heads side by side again."""
        made, turned = self._shape(last.outputs[0]), self._shape(last.inputs[0])
        if made is None or turned is None or len(made) != 3 or len(turned) != 4:
            return False
        if made[2] != q.heads * v.size:
            return False
        return self._keeps_rows(last, (*turned[:2], made[2]), made)


def _attributes(
    q: _Heads, k: _Heads, v: _Heads, scale: float, *, guarded: bool
) -> dict[str, Any] | None:
    """Return the attributes of the one step; None where the heads do not fit together."""
    if q.size != k.size or k.heads != v.heads or v.scale != 1.0 or q.times != 1:
        return None
    if not q.heads == k.heads * k.times == v.heads * v.times:
        return None
    factor = float(np.float32(scale * q.scale * k.scale))
    found: dict[str, Any] = {
        "q_num_heads": q.heads, "kv_num_heads": k.heads, "scale": factor
    }  # fmt: skip
    return found | {"guarded": 1} if guarded else found


def _is_plain(node: Node) -> bool:
    return len(node.inputs) == 2 and node.get("activation", "linear") == "linear"
