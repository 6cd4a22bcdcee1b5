"""What ``algorithm=`` may name, and which of it goes together: the one place for both."""

from __future__ import annotations

from qcore.arrays.layerwise.layerwise import LAYERWISE
from qcore.errors import ArgumentError

__all__ = [
    "ARRAY_ALGORITHMS", "DATA_FREE", "EQUALIZERS", "NETWORK_ALGORITHMS", "check_algorithm",
]  # fmt: skip

#: Needs no samples.
DATA_FREE = ("hqq",)

#: For an array.
ARRAY_ALGORITHMS = (*LAYERWISE, *DATA_FREE)

#: For a network: scales that move between its layers, before these are quantized.
EQUALIZERS = ("smoothquant", "cross_layer_equalization", "awq")

#: All that is done to a network first.
NETWORK_ALGORITHMS = (*EQUALIZERS, "hadamard")


def check_algorithm(algorithm: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the names of the algorithms for an array that were asked for."""
    if algorithm is None or algorithm == "":
        return ()
    if not isinstance(algorithm, (str, tuple, list)):
        raise TypeError(f"algorithm is {algorithm!r}; it must be a name or a tuple of names")
    names = (algorithm,) if isinstance(algorithm, str) else tuple(algorithm)
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
