"""What `Quantizer` chooses where it is not told: in one place.

The choices were made on networks trained without the validation images, by what the images showed;
the row "ablation" of ``benches/quantization`` prints the comparison.
"""

from __future__ import annotations

from typing import Any

from qcore.arrays.layerwise.algorithms import NETWORK_ALGORITHMS, algorithm_names, check_algorithm
from qcore.arrays.layerwise.layerwise import ALGORITHMS
from qcore.arrays.params.ranges import OBSERVERS

__all__ = ["OBSERVER_CHOICES", "OPTIONS", "algorithm", "network_algorithms", "observer"]

OBSERVER_CHOICES = ("auto", *OBSERVERS)

#: Options of the quantizer that `qcore.quantize` has too.
OPTIONS = (
    "scheme", "levels", "axis", "group_size", "scale_dtype", "symmetric", "narrow_range",
    "observer", "percentile",
)  # fmt: skip


def algorithm(
    asked: Any, scheme: str, bits: int, samples: bool, symmetric: bool | None, per_output: bool
) -> tuple[str, ...]:
    """Return the algorithms for a tensor: all of them below 8 bits, where they can be used."""
    if asked != "auto":
        names = algorithm_names(asked)
        return check_algorithm(tuple(name for name in names if name not in NETWORK_ALGORITHMS))
    names = ALGORITHMS if bits < 8 else ("gptq", "bias_correction")
    usable = scheme == "affine" and 2 <= bits <= 8 and symmetric is not False and per_output
    return names if samples and usable else ()


def network_algorithms(asked: Any) -> tuple[str, ...]:
    """Return what is to be done to a network first, in the order given."""
    return tuple(name for name in algorithm_names(asked) if name in NETWORK_ALGORITHMS)


def observer(option: dict[str, Any], bits: int, fitted: bool) -> str:
    """Return how the range of a weight is found."""
    asked: str = option["observer"]
    affine = option["scheme"] == "affine" and bits > 1
    if asked == "auto" or not affine:
        return "mse" if affine and bits < 8 and not fitted else "minmax"
    return asked
