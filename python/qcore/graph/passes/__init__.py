"""Rewrites of a graph that keep what it computes: constants folded, patterns fused."""

from __future__ import annotations

from qcore.graph.graph import G
from qcore.graph.passes.branches import inline_branches
from qcore.graph.passes.fold import fold_constants, known_shapes
from qcore.graph.passes.fuse import fused
from qcore.graph.passes.loops import unroll_loops
from qcore.graph.passes.tidy import tidied

__all__ = ["folded", "prepared"]


def folded(graph: G) -> G:
    """Return a graph with what depends on constants only computed, branches chosen by them."""
    while True:
        graph = tidied(fold_constants(tidied(graph)))
        if not any(node.op in ("If", "Loop", "Scan") for node in graph.nodes):
            return graph
        changed = unroll_loops(inline_branches(known_shapes(graph)))
        if changed is graph:
            return graph
        graph = changed


def prepared(graph: G) -> G:
    """Return a graph as it is quantized and run: constants folded, patterns fused, no idle node."""
    graph = folded(graph)
    if any(node.op == "Shape" for node in graph.nodes):
        graph = folded(known_shapes(graph))
    return tidied(fused(graph))
