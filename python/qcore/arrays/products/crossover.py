"""From how many rows on, and how much, sparse kernels are faster than the dense one: measured.

The one place that says so; `compute.weights` reads it for layers and networks. What stands here is
what ``python -m benches.peers.sparse --tables crossover`` printed: a share of stored weights, the
least rows from which on the sparse kernel was the faster one, and by how much at 64 rows. A share
that the table does not have is judged by the next one above it; one above the last runs dense, and
so does a kind that is not there. int8 N:M is not: it reaches 0.95 of the dense speed, at 60 % of
the bytes, and runs so where somebody asks for it, not by itself.

Without a dot instruction int8 products of dense matrices are half as fast, so sparse ones pay from
fewer rows on: these kinds have their own entries, from ``QCORE_ISA=avx2`` on a Zen 5. Floats have
none: their sums must not depend on the instruction set, and the two kernels add in other orders.
"""

from __future__ import annotations

from typing import NamedTuple

from qcore import _core

__all__ = ["CROSSOVER", "PAIRS", "Crossover", "crossover", "has_dot"]

#: What the names of kinds end with whose products go by pairs of K, without a dot instruction.
PAIRS = " by pairs"


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
        Crossover(0.02, 16, 2.1),
        Crossover(0.05, 16, 2.0),
        Crossover(0.1, 32, 1.7),
        Crossover(0.15, 32, 1.6),
        Crossover(0.2, 48, 1.4),
        Crossover(0.25, 48, 1.3),
    ),
    "csr float32": (
        Crossover(0.02, 1, 6.7),
        Crossover(0.05, 1, 6.7),
        Crossover(0.1, 4, 3.7),
        Crossover(0.15, 4, 2.9),
        Crossover(0.2, 8, 2.4),
        Crossover(0.25, 8, 2.1),
        Crossover(0.35, 8, 1.6),
        Crossover(0.5, 32, 1.2),
    ),
    "blocks of 4 int8": (
        Crossover(0.05, 16, 2.2),
        Crossover(0.1, 16, 2.0),
        Crossover(0.2, 32, 1.8),
        Crossover(0.3, 32, 1.6),
        Crossover(0.5, 48, 1.3),
    ),
    "blocks of 4 float32": (
        Crossover(0.05, 1, 5.7),
        Crossover(0.1, 1, 4.5),
        Crossover(0.2, 4, 3.2),
        Crossover(0.3, 8, 2.7),
        Crossover(0.5, 8, 1.6),
        Crossover(0.7, 64, 1.2),
    ),
    "blocks of 2 int8": (
        Crossover(0.05, 16, 2.1),
        Crossover(0.1, 16, 1.9),
        Crossover(0.2, 32, 1.7),
        Crossover(0.3, 48, 1.3),
    ),
    "blocks of 2 float32": (
        Crossover(0.05, 1, 5.6),
        Crossover(0.1, 4, 4.4),
        Crossover(0.2, 8, 3.1),
        Crossover(0.3, 8, 2.4),
        Crossover(0.5, 16, 1.6),
        Crossover(0.7, 64, 1.2),
    ),
    "blocks of 1 int8": (
        Crossover(0.05, 16, 2.0),
        Crossover(0.1, 24, 2.0),
        Crossover(0.2, 48, 1.4),
        Crossover(0.3, 64, 1.2),
    ),
    "blocks of 1 float32": (
        Crossover(0.05, 4, 4.7),
        Crossover(0.1, 4, 3.3),
        Crossover(0.2, 8, 2.2),
        Crossover(0.3, 8, 1.8),
        Crossover(0.5, 64, 1.3),
    ),
    "csr int8 by pairs": (
        Crossover(0.02, 2, 4.0),
        Crossover(0.05, 2, 3.3),
        Crossover(0.1, 4, 2.6),
        Crossover(0.15, 8, 2.1),
        Crossover(0.2, 8, 1.6),
        Crossover(0.25, 24, 1.5),
        Crossover(0.35, 64, 1.2),
    ),
    "blocks of 4 int8 by pairs": (
        Crossover(0.05, 8, 3.6),
        Crossover(0.1, 16, 2.9),
        Crossover(0.2, 24, 2.1),
        Crossover(0.3, 32, 1.6),
        Crossover(0.5, 64, 1.1),
    ),
    "blocks of 2 int8 by pairs": (
        Crossover(0.05, 12, 3.6),
        Crossover(0.1, 16, 2.9),
        Crossover(0.2, 24, 2.1),
        Crossover(0.3, 48, 1.5),
        Crossover(0.5, 64, 1.1),
    ),
    "blocks of 1 int8 by pairs": (
        Crossover(0.05, 12, 3.4),
        Crossover(0.1, 16, 2.6),
        Crossover(0.2, 32, 1.7),
        Crossover(0.3, 48, 1.3),
    ),
    "1:4 float32": (Crossover(0.25, 8, 2.1),),
    "2:4 float32": (Crossover(0.5, 64, 1.3),),
    "4:8 float32": (Crossover(0.5, 64, 1.3),),
}

#: By how much a share may be above a measured one: a last group or block may reach past the edge.
_SLACK = 1.05


def has_dot() -> bool:
    """Return whether the instruction set in force multiplies four bytes at once."""
    return "vnni" in _core.active_isa() or _core.active_isa() == "amx"


def crossover(kind: str, density: float) -> Crossover | None:
    """Return what was measured for such a matrix; None if it is faster dense, however many rows."""
    entries = CROSSOVER.get(kind, ())
    if kind.endswith("int8") and not has_dot():
        entries = CROSSOVER.get(kind + PAIRS, entries)
    return next((entry for entry in entries if density <= _SLACK * entry.density), None)
