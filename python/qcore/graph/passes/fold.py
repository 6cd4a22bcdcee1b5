"""What depends on constants only, computed once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import UnsupportedError
from qcore.graph.graph import G
from qcore.graph.lowering.lower import run_nodes
from qcore.graph.node import Body, Node

__all__ = ["fold_constants", "known_shapes"]

# A fill of more bytes stays a node: files would hold its elements.
_LARGEST_GROWTH = 1 << 16


def fold_constants(graph: G) -> G:
    """Return a graph whose constants are all there is that does not depend on the inputs.

    They are computed by what computes the graph itself. A node whose result would be much larger
    than what it is made of (a fill, an expansion) stays.
    """
    known = set(graph.constants)
    folded = []
    for node in graph.nodes:
        has_body = any(isinstance(value, Body) for value in node.attributes.values())
        if not has_body and not _lays_out(graph, node) and known.issuperset(node.read):
            folded.append(node)
            known.update(name for name in node.outputs if name)
    if not folded:
        return graph
    names = [name for node in folded for name in node.outputs if name]
    try:
        found = run_nodes(folded, graph.constants, names)
    except (UnsupportedError, ValueError):
        # Whoever runs the graph is told, with the node that it is.
        return graph
    staying = _too_large(graph, folded, found)
    gone = [node for node in folded if node.name not in staying]
    constants = dict(graph.constants)
    constants |= {name: found[name] for node in gone for name in node.outputs if name}
    dropped = set(map(id, gone))
    return graph.changed(
        nodes=[node for node in graph.nodes if id(node) not in dropped], constants=constants
    )


def _too_large(graph: G, folded: list[Node], found: Mapping[str, NDArray[Any]]) -> set[str]:
    """Return the names of nodes that stay, as what would be stored for them is too large.

    Values that only folded nodes read are not stored, whatever their size.
    """
    made_of: dict[str, frozenset[str]] = {}
    for node in folded:
        roots = frozenset().union(*(made_of.get(name, {name}) for name in node.read))
        made_of |= {name: roots for name in node.outputs if name}
    last = {value.name for value in graph.outputs}
    inside, staying = {node.name for node in folded}, set()
    for node in reversed(folded):
        outputs = [name for name in node.outputs if name]
        stored = sum(
            found[name].nbytes for name in outputs
            if name in last or any(reader.name not in inside for reader in graph.readers[name])
        )  # fmt: skip
        arrays = [graph.constants[name] for name in made_of[outputs[0]]]
        read = sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))
        if stored > read + _LARGEST_GROWTH:
            staying.add(node.name)
            inside.remove(node.name)
    return staying


def known_shapes(graph: G) -> G:
    """Return a graph in which the shapes that follow from those of its inputs are constants."""
    try:
        values = graph.values
    except (UnsupportedError, ValueError, TypeError):
        return graph  # whoever runs the graph is told
    constants, nodes = dict(graph.constants), []
    for node in graph.nodes:
        picked = _picked(graph, node) if node.op == "Gather" else _cut(graph, node)
        if picked is not None:
            constants[node.outputs[0]] = picked
            continue
        shape = values[node.inputs[0]].shape if node.op == "Shape" else None
        if shape is None or not all(isinstance(dim, int) for dim in shape):
            nodes.append(node)
            continue
        sizes = np.array(shape, np.int64)[slice(node.get("start", 0), node.get("end"))]
        constants[node.outputs[0]] = sizes
    return graph if len(nodes) == len(graph.nodes) else graph.changed(
        nodes=nodes, constants=constants
    )  # fmt: skip


def _dims(graph: G, name: str) -> tuple[Any, ...] | None:
    """Return the dims that a value lists, if it is the shape of one whose rank is known."""
    asked = graph.producers.get(name)
    shape = None if asked is None or asked.op != "Shape" else graph.values[asked.inputs[0]].shape
    if asked is None or shape is None:
        return None
    first, last = int(asked.get("start", 0)), asked.get("end")
    return shape[first : None if last is None else int(last)]


def _picked(graph: G, node: Node) -> NDArray[np.int64] | None:
    """Return what a Gather picks of the shape of a value, if these dims are fixed."""
    picked = graph.constants.get(node.input(1))
    dims = _dims(graph, node.inputs[0]) if isinstance(picked, np.ndarray) else None
    if dims is None or not isinstance(picked, np.ndarray) or node.get("axis", 0) not in (0, -1):
        return None
    places = [int(place) for place in picked.reshape(-1)]
    if any(not -len(dims) <= place < len(dims) for place in places):
        return None
    sizes = [dims[place] for place in places]
    if not all(isinstance(size, int) for size in sizes):
        return None
    found: NDArray[np.int64] = np.array(sizes, np.int64).reshape(picked.shape)
    return found


def _cut(graph: G, node: Node) -> NDArray[np.int64] | None:
    """Return what a Slice cuts of the shape of a value, if these dims are fixed."""
    dims = _dims(graph, node.inputs[0]) if node.op == "Slice" else None
    if dims is None:
        return None
    parts: list[Any] = [graph.constants.get(name) if name else 0 for name in node.inputs[1:]]
    if any(part is None or np.size(part) != 1 for part in parts):
        return None
    numbers = [int(np.reshape(part, ())) for part in parts]
    start, end = numbers[:2]
    step = numbers[3] if len(numbers) > 3 else 1
    sizes = dims[start:end:step] if step > 0 else (None,)
    if not all(isinstance(size, int) for size in sizes):
        return None
    return np.array(sizes, np.int64)


def _lays_out(graph: G, node: Node) -> bool:
    """Whether a node lays codes out for a product: there they stay codes."""
    matrix = graph.constants.get(node.inputs[0]) if node.op in ("Reshape", "Transpose") else None
    return isinstance(matrix, QTensor) and matrix.group_size is not None
