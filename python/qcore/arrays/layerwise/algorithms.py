"""What ``algorithm=`` may name, and which of it goes together: the one place for both."""

from __future__ import annotations

from typing import Any

from qcore.arrays.layerwise.layerwise import LAYERWISE
from qcore.errors import ArgumentError

__all__ = [
    "ARRAY_ALGORITHMS", "DATA_FREE", "EQUALIZERS", "NETWORK_ALGORITHMS", "algorithm_names",
    "check_algorithm",
]  # fmt: skip

#: Needs no samples.
DATA_FREE = ("hqq",)

#: For an array.
ARRAY_ALGORITHMS = (*LAYERWISE, *DATA_FREE)

#: For a network: scales that move between its layers, before these are quantized.
EQUALIZERS = ("smoothquant", "cross_layer_equalization", "awq")

#: All that is done to a network first.
NETWORK_ALGORITHMS = (*EQUALIZERS, "hadamard")


def algorithm_names(asked: Any) -> tuple[str, ...]:
    """Return the names of what was asked for: one, several or none."""
    if asked is None:
        return ()
    if not isinstance(asked, (str, tuple, list)):
        raise TypeError(f"algorithm is {asked!r:.100}; it must be a name or a tuple of names")
    names = (asked,) if isinstance(asked, str) else tuple(asked)
    return tuple(name for name in names if name != "")


def check_algorithm(algorithm: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the names of the algorithms for an array that were asked for."""
    names = algorithm_names(algorithm)
    for name in names:
        if name in NETWORK_ALGORITHMS:
            raise ValueError(f"algorithm has {name!r}, which is for networks, not for an array")
        if name not in ARRAY_ALGORITHMS:
            known = ", ".join(repr(known) for known in ARRAY_ALGORITHMS)
            raise ArgumentError("algorithm", f"algorithm is {name!r}; it must be of {known}")
    rivals = set(names) - {"hqq", "bias_correction"}
    if "hqq" in names and rivals:
        other = sorted(rivals)[0]
        raise ValueError(f"algorithm has 'hqq' and {other!r}; hqq fits codes by itself, choose one")
    return names
