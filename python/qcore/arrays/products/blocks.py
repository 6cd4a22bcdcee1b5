"""Matrices that store whole blocks of rows and columns."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore import _core
from qcore._arguments.validation import numeric_array
from qcore.arrays.products.codes import plain_codes
from qcore.arrays.products.matrix import (
    FULL,
    STRUCTURED_VALUES,
    SparseMatrix,
    check_shape,
    dense_matrix,
)
from qcore.arrays.products.sparse import CsrMatrix, integer_vector
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import ArgumentError

__all__ = ["BsrMatrix", "block_pattern"]

# Blocks that are looked for: tall ones first, which are the fastest.
_BLOCKS = ((16, 1), (8, 1), (4, 4), (4, 1), (2, 2), (2, 1), (1, 16), (1, 8), (1, 4))


class BsrMatrix(SparseMatrix):
    """An immutable matrix that stores whole blocks of rows and columns.

    The format is the block compressed sparse row: row ``i`` of blocks has the blocks
    ``data[indptr[i]:indptr[i + 1]]`` in the columns of blocks ``indices[indptr[i]:indptr[i + 1]]``.
    The whole structure is checked here, once; the arrays are copied. Blocks of a row may come in
    any order, each once. Rows of a block share what they read: blocks of 4 rows and more are the
    fastest.

    Parameters
    ----------
    data : array_like of float32, int8 or uint8, (blocks, height, width)
        The stored blocks.
    indices : array_like of integers, (blocks,)
        The column of blocks of each.
    indptr : array_like of integers, (rows of blocks + 1,)
        Where each row of blocks starts, and the last one ends.
    shape : tuple of int
        (rows, columns); blocks at the edges may reach past it, where they hold zeros.

    Attributes
    ----------
    data, indices, indptr : ndarray
        The arrays, sorted.

    Raises
    ------
    TypeError
        If a dtype is not one of those above.
    ValueError
        If the arrays are no such matrix; names the first position that is wrong.

    Notes
    -----
    Products are those of `CsrMatrix`: float32, or exact int32 with an OverflowError for what does
    not fit.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> w = np.float32([[1, 0, 2], [3, 0, 0]])
    >>> s = qc.BsrMatrix.from_dense(w, "2x1")
    >>> s
    BsrMatrix((2, 3), float32, '2x1', blocks=2, density=0.667)
    >>> s @ np.float32([1, 10, 100])
    array([201.,   3.], dtype=float32)
    """

    __slots__ = ()

    _matrix: _core.Blocks

    def __init__(
        self,
        data: ArrayLike,
        indices: ArrayLike,
        indptr: ArrayLike,
        *,
        shape: tuple[int, int],
    ) -> None:
        rows, cols = check_shape(shape)
        values = numeric_array(data, "data", STRUCTURED_VALUES)
        if values.ndim != 3:
            raise ValueError(f"data has shape {values.shape}; it must be (blocks, height, width)")
        columns = integer_vector(indices, "indices").astype(np.int64, copy=False)
        offsets = integer_vector(indptr, "indptr").astype(np.int64, copy=False)
        if len(values) != len(columns):
            raise ValueError(
                f"data has {len(values)} blocks and indices {len(columns)}; they must have "
                "the same number"
            )
        block = (values.shape[1], values.shape[2])
        self._hold(_blocks(values.reshape(-1), columns, offsets, block, (rows, cols)))

    @classmethod
    def from_flat(
        cls,
        data: NDArray[Any],
        indices: NDArray[Any],
        indptr: NDArray[Any],
        pattern: str,
        *,
        shape: tuple[int, int],
    ) -> BsrMatrix:
        """Build the matrix with the values of its blocks in one row, as files have them."""
        rows, cols = check_shape(shape)
        values = numeric_array(data, "data", STRUCTURED_VALUES)
        columns = integer_vector(indices, "indices").astype(np.int64, copy=False)
        offsets = integer_vector(indptr, "indptr").astype(np.int64, copy=False)
        return cls._of(_blocks(values, columns, offsets, _block(pattern), (rows, cols)))

    @classmethod
    def from_dense(cls, dense: ArrayLike, pattern: str) -> BsrMatrix:
        """Build the matrix of the blocks of a dense one in which any element is not zero.

        Parameters
        ----------
        dense : array_like of float32, int8 or uint8, (rows, columns)
            The elements.
        pattern : str
            Rows and columns of a block, such as "4x1".
        """
        return cls._of(_core.Blocks.from_dense(dense_matrix(dense), *_block(pattern)))

    @classmethod
    def from_qtensor(cls, q: QTensor, pattern: str) -> BsrMatrix:
        """Build the matrix of a quantized one's codes; as `CsrMatrix.from_qtensor`."""
        return cls.from_dense(plain_codes(q), pattern)

    @classmethod
    def from_scipy(cls, matrix: Any, pattern: str | None = None) -> BsrMatrix:
        """Build the matrix of a SciPy sparse matrix or array.

        Parameters
        ----------
        matrix : scipy.sparse matrix or array
            float32, int8 or uint8, two-dimensional.
        pattern : str, optional
            Rows and columns of a block; by default those of a matrix in the "bsr" format.
        """
        if not hasattr(matrix, "tobsr"):
            raise TypeError(f"matrix is {type(matrix).__name__}; it must be a SciPy sparse matrix")
        if pattern is not None:
            height, width = _block(pattern)
            if matrix.shape[0] % height or matrix.shape[1] % width:
                return cls.from_dense(matrix.toarray(), pattern)
            matrix = matrix.tobsr(blocksize=(height, width))
        elif matrix.format != "bsr":
            raise ValueError(
                f"matrix has the format {matrix.format}; pattern says what its blocks are"
            )
        matrix = matrix.copy()
        matrix.sum_duplicates()
        return cls(matrix.data, matrix.indices, matrix.indptr, shape=matrix.shape)

    def to_scipy(self) -> Any:
        """Return the matrix as a ``scipy.sparse.bsr_matrix``.

        Raises
        ------
        ImportError
            If SciPy is not installed.
        ValueError
            If blocks reach past the edges, which SciPy's do not.
        """
        try:
            from scipy.sparse import bsr_matrix
        except ImportError as error:
            raise ImportError("to_scipy needs SciPy: pip install scipy") from error
        height, width = self._matrix.block
        if self.shape[0] % height or self.shape[1] % width:
            raise ValueError(
                f"blocks of {self.pattern} reach past a matrix of {self.shape}; "
                "use to_csr().to_scipy()"
            )
        parts = self.data.copy(), self.indices.astype(np.int64), self.indptr.copy()
        return bsr_matrix(parts, shape=self.shape)

    def to_csr(self) -> CsrMatrix:
        """Return the values that are not zero as a `CsrMatrix`."""
        return CsrMatrix._of(self._matrix.to_csr())

    @property
    def pattern(self) -> str:
        """Rows and columns of a block, such as "4x1"."""
        height, width = self._matrix.block
        return f"{height}x{width}"

    @property
    def data(self) -> NDArray[Any]:
        """The stored blocks: (blocks, height, width), read-only."""
        values = self._matrix.data.reshape(-1, *self._matrix.block)
        values.flags.writeable = False
        return values

    @property
    def indices(self) -> NDArray[Any]:
        """The column of blocks of each: uint16, uint32 or uint64."""
        return self._matrix.indices

    @property
    def indptr(self) -> NDArray[np.int64]:
        """Where each row of blocks starts, and the last one ends."""
        return self._matrix.indptr

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values."""
        return np.dtype(self._matrix.dtype)

    @property
    def nnz(self) -> int:
        """How many values are stored, zeros in the blocks among them."""
        return self._matrix.nnz

    @property
    def T(self) -> BsrMatrix:  # noqa: N802
        """The transposed matrix, of transposed blocks."""
        return BsrMatrix._of(self._matrix.transpose())

    def __reduce__(self) -> tuple[Any, ...]:
        parts = self._matrix.data, self.indices, self.indptr
        return _rebuild_bsr, (*parts, self.pattern, self.shape)

    def __repr__(self) -> str:
        return (
            f"BsrMatrix({self.shape}, {self.dtype}, {self.pattern!r}, "
            f"blocks={len(self.indices)}, density={self.density:.3g})"
        )


def block_pattern(stored: NDArray[np.bool_]) -> str | None:
    """Return the blocks that a mask (rows, columns) fills, if it does: "4x1", "1x16" ..."""
    rows, cols = stored.shape
    count = np.count_nonzero(stored)
    for height, width in _BLOCKS:
        if height > rows or width > cols:
            continue
        above = np.logical_or.reduceat(stored, np.arange(0, rows, height), axis=0)
        any_stored = np.logical_or.reduceat(above, np.arange(0, cols, width), axis=1)
        if count >= FULL * height * width * np.count_nonzero(any_stored):
            return f"{height}x{width}"
    return None


def _rebuild_bsr(
    data: NDArray[Any],
    indices: NDArray[Any],
    indptr: NDArray[Any],
    pattern: str,
    shape: tuple[int, int],
) -> BsrMatrix:
    """Return the matrix that was pickled, checked anew."""
    return BsrMatrix.from_flat(data, indices, indptr, pattern, shape=shape)


def _blocks(
    values: NDArray[Any],
    columns: NDArray[Any],
    offsets: NDArray[Any],
    block: tuple[int, int],
    shape: tuple[int, int],
) -> _core.Blocks:
    """Return the checked matrix; blocks that reach past the edges hold zeros there."""
    matrix = _core.Blocks(values, columns, offsets, block, *shape)
    data, (height, width) = values.reshape(-1, *block), block
    below, beside = shape[0] % height, shape[1] % width
    at = np.flatnonzero(columns == shape[1] // width) if beside else np.empty(0, np.intp)
    past = [(at, data[at, :, beside:].any(axis=(1, 2)))]
    if below:
        last = np.arange(offsets[-2], offsets[-1])
        past.append((last, data[last, below:, :].any(axis=(1, 2))))
    for places, bad in past:
        if bad.any():
            found = f"data[{places[np.argmax(bad)]}] has a value past the edge of {shape}"
            raise ValueError(f"{found}; there it must be 0")
    return matrix


def _block(pattern: object) -> tuple[int, int]:
    """Return the rows and columns of a block; the extension checks their values."""
    match = re.fullmatch("([0-9]{1,5})x([0-9]{1,5})", pattern) if isinstance(pattern, str) else None
    if match is None:
        raise ArgumentError("pattern", f"pattern is {pattern!r}; it must be blocks, such as '4x1'")
    return int(match[1]), int(match[2])
