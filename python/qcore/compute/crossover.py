"""From how many rows on, and how much, sparse kernels are faster than the dense one: measured.

The one place that says so; `compute.weights` reads it for layers and networks. What stands here is
what ``python -m benches.peers.sparse --tables crossover`` printed: a share of stored weights, the
least rows from which on the sparse kernel was the faster one, and by how much at 64 rows. A share
that the table does not have is judged by the next one above it; one above the last runs dense.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CROSSOVER", "Crossover", "crossover"]


class Crossover(NamedTuple):
    """What was measured for a share of stored weights."""

    density: float
    """The share."""
    rows: int
    """From so many rows on the sparse kernel is faster than the dense one; below they run dense."""
    speed: float
    """How much faster at 64 rows."""


#: By the kind of matrix and of values.
CROSSOVER: dict[str, tuple[Crossover, ...]] = {
    "csr int8": (
        Crossover(0.02, 16, 2.2),
        Crossover(0.05, 20, 2.0),
        Crossover(0.10, 28, 1.8),
        Crossover(0.20, 44, 1.4),
        Crossover(0.25, 56, 1.2),
    ),
    "csr float32": (
        Crossover(0.10, 1, 3.7),
        Crossover(0.20, 4, 2.4),
        Crossover(0.35, 8, 1.6),
        Crossover(0.50, 16, 1.2),
    ),
}


def crossover(kind: str, density: float) -> Crossover | None:
    """Return what was measured for such a matrix; None if it is faster dense, however many rows."""
    entries = CROSSOVER.get(kind, ())
    return next((entry for entry in entries if density <= entry.density), None)
