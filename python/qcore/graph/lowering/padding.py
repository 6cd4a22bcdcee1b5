"""Padding left out: a run of steps that take row by row sees only the rows that a mask keeps.

Where every attention of a graph has one mask over (batch, 1, 1, tokens), the products, norms and
attentions between embeddings and pooling take the kept rows of all sequences, one after the other.
Results at kept places are the same to the bit. Those at padding are 0 there, so nothing but a
product with the tokens that the same input keeps may read them: outputs of every token are
computed whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.graph.node import Node
from qcore.graph.value import Shape

if TYPE_CHECKING:
    from qcore.graph.graph import BaseGraph

__all__ = ["padding_mask", "without_padding"]

#: The place of the packing among the inputs of a step; those before it may be absent.
_PLACES = {"Attention": 4, "LayerNormalization": 3, "Linear": 3}
#: What makes a mask of the tokens that are there, and of those that are to be added to scores.
_KEEPING = ("Cast", "Unsqueeze")
_HIDING = (*_KEEPING, "Mul", "Sub")


def padding_mask(graph: BaseGraph, nodes: tuple[Node, ...]) -> str:
    """Return the one mask (batch, 1, 1, tokens) of all attention; "" where there is none."""
    masks = {node.input(3) for node in nodes if node.op == "Attention"}
    if len(masks) != 1 or graph.codes:
        return ""
    [mask] = masks
    if not mask or mask in graph.constants or mask not in graph.values:
        return ""
    shape = graph.values[mask].shape
    known = shape is not None and len(shape) == 4 and tuple(shape[1:3]) == (1, 1)
    return mask if known and shape is not None and None not in shape else ""


def without_padding(graph: BaseGraph, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Return nodes of which those around attention take kept rows alone, where that can be."""
    mask = padding_mask(graph, nodes)
    shape = graph.values[mask].shape if mask else None
    if shape is None:
        return nodes
    attentions = [node for node in nodes if node.op == "Attention"]
    shapes = {name: value.shape for name, value in graph.values.items()}
    region = _Region(graph, nodes, shapes, (shape[0], shape[3]))
    if not all(region.takes(node) for node in attentions):
        return nodes
    return region.packed(attentions, mask)


class _Region:
    """The steps that take row by row, around attention."""

    def __init__(
        self,
        graph: BaseGraph,
        nodes: tuple[Node, ...],
        shapes: dict[str, Shape | None],
        rows: tuple[int | str | None, int | str | None],
    ) -> None:
        self.nodes, self.shapes, self.rows = nodes, shapes, rows
        self.constants = graph.constants
        self.given = {value.name for value in graph.inputs}
        self.outputs = {value.name for value in graph.outputs}
        self.makers = {name: node for node in nodes for name in node.outputs if name}
        self.readers: dict[str, list[Node]] = {}
        for node in nodes:
            for name in node.read:
                self.readers.setdefault(name, []).append(node)

    def takes(self, node: Node) -> bool:
        """Whether a node makes rows (batch, tokens, width) of such rows, each of its own."""
        if node.op not in _PLACES or len([name for name in node.outputs if name]) != 1:
            return False
        if node.op == "LayerNormalization":
            rank = len(self.shapes.get(node.inputs[0]) or ())
            if node.get("axis", -1) not in (-1, rank - 1):
                return False
            if any(name and name not in self.constants for name in node.inputs[1:]):
                return False
        names = [name for name in self.of_rows(node) if name]
        return all(self._is_rows(name) for name in (*names, node.outputs[0]))

    def of_rows(self, node: Node) -> tuple[str, ...]:
        """Return the values of rows that a node reads."""
        if node.op == "Attention":
            return node.inputs[:3]
        return (node.inputs[0], node.input(2)) if node.op == "Linear" else node.inputs[:1]

    def _is_rows(self, name: str) -> bool:
        shape = self.shapes.get(name)
        return shape is not None and len(shape) == 3 and tuple(shape[:2]) == self.rows

    def _is_unseen(self, inside: set[str], made: set[str], source: str) -> bool:
        """Whether what comes out of the region is multiplied by 0 at padding, and nothing else."""
        if not source or made & self.outputs:
            return False
        for name in made:
            for node in self.readers.get(name, []):
                if node.name in inside:
                    continue
                others = [other for other in node.inputs if other != name]
                if node.op != "Mul" or len(others) != 1:
                    return False
                if self._source(others[0], _KEEPING) != source:
                    return False
        return True

    def _source(self, name: str, ops: tuple[str, ...]) -> str:
        """Return the input of the graph of which a value is made by these ops; "" if it is not."""
        while name not in self.given:
            node = self.makers.get(name)
            if node is None or node.op not in ops:
                return ""
            variable = [other for other in node.inputs if other and other not in self.constants]
            if len(variable) != 1:
                return ""
            [name] = variable
        return name

    def packed(self, attentions: list[Node], mask: str) -> tuple[Node, ...]:
        """Return the nodes, those of the region on kept rows."""
        inside: set[str] = set()
        todo = list(attentions)
        while todo:
            node = todo.pop()
            if node.name in inside or not self.takes(node):
                continue
            inside.add(node.name)
            todo += [self.makers[name] for name in self.of_rows(node) if name in self.makers]
            todo += self.readers.get(node.outputs[0], [])
        made = {node.outputs[0] for node in self.nodes if node.name in inside}
        if not self._is_unseen(inside, made, self._source(mask, _HIDING)):
            return self.nodes
        packing = f"{mask}:packing"
        found = [Node(packing, "Packing", (mask,), (packing,))]
        entered: set[str] = set()
        for node in self.nodes:
            if node.name not in inside:
                found.append(node)
                continue
            rows = [name for name in self.of_rows(node) if name]
            for name in rows:
                if name not in made and name not in entered:
                    entered.add(name)
                    kept = f"{name}:kept"
                    found.append(Node(kept, "PackRows", (name, packing), (kept,)))
            inputs = [f"{n}:kept" if n in rows else n for n in node.inputs]
            inputs += [""] * (_PLACES[node.op] - len(inputs)) + [packing]
            name = node.outputs[0]
            kept = f"{name}:kept"
            found.append(node.changed(inputs=tuple(inputs), outputs=(kept,)))
            outside = [n for n in self.readers.get(name, []) if n.name not in inside]
            if outside or name in self.outputs:
                found.append(Node(f"{name}:spread", "UnpackRows", (kept, packing), (name,)))
        return tuple(found)
