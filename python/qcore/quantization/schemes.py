"""What codes can stand for: the one table of schemes.

A new scheme is a file with two functions and a line here. ``quantize(x, options)`` makes the tensor
from an array that is C-contiguous, aligned, native float; ``decode(q, out)`` writes the values of a
tensor into such an array.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from qcore.quantization import affine, floor, kmeans
from qcore.quantization.options import Options
from qcore.quantization.tensor import DECODERS, QTensor

__all__ = ["CHOICES", "SCHEMES", "Scheme"]


class Scheme(NamedTuple):
    """How values become codes, and codes values."""

    quantize: Callable[[NDArray[Any], Options], QTensor]
    decode: Callable[[QTensor, NDArray[Any]], None]


SCHEMES = {
    "affine": Scheme(affine.quantize, affine.decode),
    "floor": Scheme(floor.quantize, floor.decode),
    "kmeans": Scheme(kmeans.quantize, kmeans.decode),
}

#: What ``scheme=`` may be; the floor form is asked for by ``rounding="floor"``.
CHOICES = tuple(name for name in SCHEMES if name != "floor")

DECODERS.update({name: scheme.decode for name, scheme in SCHEMES.items()})
