"""What codes can stand for: the one table of schemes.

A new scheme is a file with its `Scheme` and a line here.
"""

from __future__ import annotations

from qcore.arrays.schemes import (
    affine,
    binary,
    fixed_levels,
    floor,
    half,
    kmeans,
    microscaling,
    quantile,
)
from qcore.arrays.tensor.scheme import SCHEMES, choices

__all__ = ["CHOICES"]

for _scheme in (
    affine.SCHEME,
    floor.SCHEME,
    binary.SCHEME,
    half.SCHEME,
    kmeans.SCHEME,
    quantile.SCHEME,
    *fixed_levels.FORMATS,
    *microscaling.FORMATS,
):
    SCHEMES[_scheme.name] = _scheme

#: What ``scheme=`` may be.
CHOICES = choices()
