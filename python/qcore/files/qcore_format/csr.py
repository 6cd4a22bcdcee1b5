"""A CSR matrix as the parts that a file holds.

Its values lie in row-major order under the matrix's own name. Their places are laid out as those of
any sparse tensor, or, in a matrix of very few values, as the two index arrays of the format.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.products.sparse import CsrMatrix
from qcore.files.qcore_format.sparse_layout import decode_positions, encode_gaps, smallest_layout

__all__ = ["ARRAYS", "decode_csr", "encode_csr"]

#: The layout that is the arrays ``indices`` and ``indptr`` themselves.
ARRAYS = "csr"


def encode_csr(matrix: CsrMatrix) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the parts of a matrix and their description."""
    rows, cols = matrix.shape
    arrays = matrix.indices.nbytes + matrix.indptr.nbytes
    parts: dict[str, NDArray[Any]] = {"": matrix.data}
    layout = ARRAYS
    if cols and rows * cols < 2**62:
        row = np.repeat(np.arange(rows), np.diff(matrix.indptr))
        positions = row * cols + matrix.indices.astype(np.int64)
        smallest, size = smallest_layout(positions, rows * cols)
        if size <= arrays:
            layout = smallest
    if layout == ARRAYS:
        parts |= {"at": matrix.indices, "indptr": matrix.indptr}
    elif layout == "bitmap":
        stored = np.zeros(rows * cols, np.bool_)
        stored[positions] = True
        parts["at"] = np.packbits(stored, bitorder="little")
    else:
        parts["at"] = encode_gaps(layout, positions, rows * cols)
    return parts, {"at": layout, "csr": True, "shape": [rows, cols]}


def decode_csr(
    layout: str | None, shape: tuple[int, ...], parts: dict[str, NDArray[Any]]
) -> CsrMatrix:
    """Put a matrix together.

    Raises
    ------
    ValueError, TypeError
        If the parts are no such matrix.
    """
    if len(shape) != 2:
        raise ValueError(f"it is a CSR matrix of the shape {list(shape)}")
    if layout is None or "at" not in parts:
        raise ValueError("it has no positions")
    rows, cols = shape
    if layout == ARRAYS:
        if "indptr" not in parts:
            raise ValueError("it has no indptr")
        return CsrMatrix(parts[""], parts["at"], parts["indptr"], shape=(rows, cols))
    positions = decode_positions(layout, parts["at"], rows * cols)
    if not cols:
        raise ValueError("it has positions and no columns")
    # There are no more rows than the positions cover elements: they may be allocated.
    indptr = np.searchsorted(positions, np.arange(rows + 1) * cols)
    return CsrMatrix(parts[""], positions % cols, indptr, shape=(rows, cols))
