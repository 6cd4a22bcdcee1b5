"""What depends on constants only, computed once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import UnsupportedError
from qcore.graph.graph import G
from qcore.graph.lower import run_nodes
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
    constants = dict(graph.constants)
    kept = list(graph.nodes)
    for node in folded:
        made = [found[name] for name in node.outputs if name]
        read = sum(
            np.asarray(constants[name]).nbytes if isinstance(constants.get(name), np.ndarray) else 0
            for name in node.read
        )
        grown = sum(array.nbytes for array in made) > read + _LARGEST_GROWTH
        if grown or any(name not in constants for name in node.read):
            continue
        kept.remove(node)
        constants |= {name: found[name] for name in node.outputs if name}
    return graph.changed(nodes=kept, constants=constants)


def known_shapes(graph: G) -> G:
    """Return a graph in which the shapes that follow from those of its inputs are constants."""
    try:
        values = graph.values
    except (UnsupportedError, ValueError, TypeError):
        return graph  # whoever runs the graph is told
    constants, nodes = dict(graph.constants), []
    for node in graph.nodes:
        picked = _picked(graph, node)
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


def _picked(graph: G, node: Node) -> NDArray[np.int64] | None:
    """Return what a Gather picks of the shape of a value, if these dims are fixed."""
    asked = graph.producers.get(node.inputs[0]) if node.op == "Gather" else None
    picked = graph.constants.get(node.input(1)) if asked is not None else None
    if asked is None or asked.op != "Shape" or not isinstance(picked, np.ndarray):
        return None
    shape = graph.values[asked.inputs[0]].shape
    if shape is None or node.get("axis", 0) not in (0, -1):
        return None
    first, last = int(asked.get("start", 0)), asked.get("end")
    dims = shape[first : None if last is None else int(last)]
    places = [int(place) for place in picked.reshape(-1)]
    if any(not -len(dims) <= place < len(dims) for place in places):
        return None
    sizes = [dims[place] for place in places]
    if not all(isinstance(size, int) for size in sizes):
        return None
    found: NDArray[np.int64] = np.array(sizes, np.int64).reshape(picked.shape)
    return found


def _lays_out(graph: G, node: Node) -> bool:
    """Whether a node lays codes out for a product: there they stay codes."""
    matrix = graph.constants.get(node.inputs[0]) if node.op in ("Reshape", "Transpose") else None
    return isinstance(matrix, QTensor) and matrix.group_size is not None
