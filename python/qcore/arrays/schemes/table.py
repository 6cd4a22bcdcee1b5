"""What codes can stand for: the one table of schemes.

A new scheme is a file with two functions and a line here. ``quantize(x, options)`` makes the tensor
from an array that is C-contiguous, aligned, native float; ``decode(q, out)`` writes the values of a
tensor into such an array.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from numpy.typing import NDArray

from qcore.arrays.schemes import (
    affine,
    binary,
    codebook,
    fixed_levels,
    floor,
    half,
    kmeans,
    quantile,
)
from qcore.arrays.tensor.options import Options
from qcore.arrays.tensor.tensor import DECODERS, QTensor

__all__ = ["CHOICES", "SCHEMES", "Scheme"]


class Scheme(NamedTuple):
    """How values become codes, and codes values."""

    quantize: Callable[[NDArray[Any], Options], QTensor]
    decode: Callable[[QTensor, NDArray[Any]], None]


SCHEMES = {
    "affine": Scheme(affine.quantize, affine.decode),
    "floor": Scheme(floor.quantize, floor.decode),
    "binary": Scheme(binary.quantize, binary.decode),
    "float16": Scheme(half.quantize, half.decode),
    "kmeans": Scheme(kmeans.quantize, codebook.decode),
    "quantile": Scheme(quantile.quantize, codebook.decode),
    **{
        name: Scheme(partial(fixed_levels.quantize, name), codebook.decode)
        for name in fixed_levels.FIXED
    },
}

#: What ``scheme=`` may be; ``rounding="floor"`` asks for the floor form, ``bits=1`` for signs.
CHOICES = tuple(name for name in SCHEMES if name not in ("floor", "binary"))

DECODERS.update({name: scheme.decode for name, scheme in SCHEMES.items()})
