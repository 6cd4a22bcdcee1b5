"""Matrices that store a pattern as the parts that a file holds.

The values lie under the matrix's own name: N for each group, or block after block. The places are
the bits of `NmMatrix`, or the two index arrays of `BsrMatrix`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.products.blocks import BsrMatrix
from qcore.arrays.products.n_of_m import NmMatrix

__all__ = ["decode_structured", "encode_structured"]

_Parts = dict[str, NDArray[Any]]


def encode_structured(matrix: NmMatrix | BsrMatrix) -> tuple[_Parts, dict[str, Any]]:
    """Return the parts of a matrix and their description."""
    parts = {"": matrix.data.reshape(-1)}
    if isinstance(matrix, NmMatrix):
        n, m = (int(number) for number in matrix.pattern.split(":"))
        bits = matrix.nnz // n * (m - 1)
        parts["at"] = matrix.codes.astype("<u8").view(np.uint8)[: -(-bits // 8)]
    else:
        parts |= {"at": matrix.indices, "indptr": matrix.indptr}
    return parts, {"pattern": matrix.pattern, "shape": list(matrix.shape)}


def decode_structured(pattern: str, shape: tuple[int, ...], parts: _Parts) -> NmMatrix | BsrMatrix:
    """Put a matrix together.

    Raises
    ------
    ValueError, TypeError
        If the parts are no such matrix.
    """
    if len(shape) != 2 or "at" not in parts:
        raise ValueError(f"it has the pattern {pattern!r}, the shape {list(shape)} and no places")
    data, places = parts[""], parts["at"]
    if data.ndim != 1:
        raise ValueError(f"its values have the shape {data.shape}; one dimension is expected")
    if ":" in pattern:
        if places.dtype != np.uint8 or places.ndim != 1:
            raise ValueError(f"its places are {places.dtype}; uint8 is expected")
        words = np.zeros(-(-places.size // 8) * 8, np.uint8)
        words[: places.size] = places
        codes = words.view("<u8").astype(np.uint64)
        return NmMatrix.from_codes(data, codes, pattern, shape=(shape[0], shape[1]))
    if "indptr" not in parts:
        raise ValueError("it has no indptr")
    return BsrMatrix.from_flat(data, places, parts["indptr"], pattern, shape=(shape[0], shape[1]))
