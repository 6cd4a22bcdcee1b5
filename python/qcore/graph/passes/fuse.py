"""Patterns of several nodes that are one: the list, in the order in which they are looked for."""

from __future__ import annotations

from qcore.graph.graph import G
from qcore.graph.passes.editor import Pattern, rewritten
from qcore.graph.passes.fuse_functions import fuse_function, fuse_hard_sigmoid
from qcore.graph.passes.fuse_norms import fuse_layer_norm, fuse_rms_norm, split_batch_norm
from qcore.graph.passes.fuse_products import (
    fuse_activation,
    fuse_pad,
    fuse_residual,
    fuse_scale,
    fuse_shift,
    mean_to_pool,
)
from qcore.graph.passes.heads import lift_heads, split_heads, swap_last
from qcore.graph.passes.idle import drop_idle
from qcore.graph.passes.masks import fuse_filled
from qcore.graph.passes.transposes import fuse_transposes
from qcore.graph.passes.variance import centre_variance

__all__ = ["PATTERNS", "fused"]

#: A pattern sees what those before it have made of the graph.
PATTERNS: tuple[Pattern, ...] = (
    drop_idle,
    fuse_transposes,
    fuse_filled,
    swap_last,
    split_heads,
    lift_heads,
    fuse_hard_sigmoid,
    fuse_function,
    centre_variance,
    fuse_layer_norm,
    fuse_rms_norm,
    mean_to_pool,
    fuse_pad,
    split_batch_norm,
    fuse_scale,
    fuse_shift,
    fuse_scale,
    fuse_shift,
    fuse_residual,
    fuse_activation,
)


def fused(graph: G) -> G:
    """Return a graph whose known patterns are single nodes; it computes the same."""
    return rewritten(graph, PATTERNS)
