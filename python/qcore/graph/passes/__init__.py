"""Rewrites of a graph that keep what it computes: constants folded, patterns fused."""

from __future__ import annotations

from qcore.graph.graph import G
from qcore.graph.passes.fold import fold_constants
from qcore.graph.passes.fuse import fused
from qcore.graph.passes.tidy import tidied

__all__ = ["prepared"]


def prepared(graph: G) -> G:
    """Return a graph as it is quantized and run: constants folded, patterns fused, no idle node."""
    return tidied(fused(tidied(fold_constants(tidied(graph)))))
