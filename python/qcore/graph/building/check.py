"""A graph that was read, checked once: what shapes follow from its inputs."""

from __future__ import annotations

from qcore.graph.graph import G

__all__ = ["checked"]


def checked(graph: G) -> G:
    """Return a graph if it can be compiled: its ops, its types and its shapes fit.

    Raises
    ------
    ValueError, TypeError
        If they do not; names the node.
    UnsupportedError
        If it has ops that there are not.
    """
    _ = graph.values
    return graph
