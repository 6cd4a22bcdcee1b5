"""Matrices that store N values of each M neighbours."""

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
from qcore.arrays.products.sparse import CsrMatrix
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import ArgumentError

__all__ = ["NmMatrix", "n_of_m_pattern"]


class NmMatrix(SparseMatrix):
    """An immutable matrix that stores N values of each M neighbours of a row.

    Where the elements are is a few bits for each group: M - 1, because the last element's bit
    follows from the number of the others. 2:4 int8 takes 59.4 % of the dense bytes, float32 52.3 %.
    `NmMatrix.from_dense` makes one, checked; `prune` prunes to the pattern.

    Attributes
    ----------
    data : ndarray, (rows, groups * N)
        The stored values. Groups with fewer than N values store zeros; the last group of a row may
        reach past its end.
    indices : ndarray of uint8, (rows, groups * N)
        The place of each in its group.

    Notes
    -----
    Products are those of `CsrMatrix`: float32, or exact int32 with an OverflowError for what does
    not fit. int8 runs on the dense kernels, with the zeros put back as lines are multiplied;
    float32 skips them.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> w = np.float32([[0, 3, 0, -1, 5, 0, 0, 0]])
    >>> s = qc.NmMatrix.from_dense(w, "2:4")
    >>> s
    NmMatrix((1, 8), float32, '2:4', density=0.5)
    >>> s @ np.ones(8, np.float32)
    array([7.], dtype=float32)
    >>> qc.NmMatrix.from_dense(w, "1:4")
    Traceback (most recent call last):
    ValueError: row 0 has 2 values other than 0 in columns 0 to 3; 1:4 has at most 1
    """

    __slots__ = ()

    _matrix: _core.NofM

    def __init__(self) -> None:
        raise TypeError("an NmMatrix is made by NmMatrix.from_dense or NmMatrix.from_qtensor")

    @classmethod
    def from_dense(cls, dense: ArrayLike, pattern: str = "2:4") -> NmMatrix:
        """Build the matrix of a dense one that has the pattern.

        Parameters
        ----------
        dense : array_like of float32, int8 or uint8, (rows, columns)
            The elements.
        pattern : str, default "2:4"
            "N:M": at most N elements of each M neighbours of a row are not zero. 1 <= N <= M <= 64.

        Raises
        ------
        TypeError
            If the dtype is not one of those above.
        ValueError
            If a group has more than N such elements; names the first.
        """
        return cls._of(_core.NofM.from_dense(dense_matrix(dense), *_pattern(pattern)))

    @classmethod
    def from_qtensor(cls, q: QTensor, pattern: str = "2:4") -> NmMatrix:
        """Build the matrix of a quantized one's codes; as `CsrMatrix.from_qtensor`."""
        return cls.from_dense(plain_codes(q), pattern)

    @classmethod
    def from_codes(
        cls,
        data: NDArray[Any],
        codes: NDArray[np.uint64],
        pattern: str,
        *,
        shape: tuple[int, int],
    ) -> NmMatrix:
        """Build the matrix from what it stores, as files have it; checked.

        Parameters
        ----------
        data : ndarray of float32, int8 or uint8, (groups of all rows * N,)
            The values, those of a group by ascending columns.
        codes : ndarray of uint64
            M - 1 bits for each group, one after the other, the lowest first: which of its elements
            but the last are stored.
        pattern : str
            "N:M".
        shape : tuple of int
            (rows, columns).
        """
        values = numeric_array(data, "data", STRUCTURED_VALUES)
        words = numeric_array(codes, "codes", (np.uint64,))
        rows, cols = check_shape(shape)
        n, m = _pattern(pattern)
        matrix = cls._of(_core.NofM.from_codes(values, words, n, m, rows, cols))
        if rows and cols % m:
            # The extension stores zeros for what lies past the edge.
            given = values.reshape(rows, -1)[:, -n:].view(np.uint8)
            lost = (given != matrix.data[:, -n:].view(np.uint8)).any(axis=1)
            if lost.any():
                row = int(np.argmax(lost))
                raise ValueError(f"row {row} has a value past column {cols - 1}; it must be 0")
        return matrix

    def to_csr(self) -> CsrMatrix:
        """Return the values that are not zero as a `CsrMatrix`."""
        return CsrMatrix._of(self._matrix.to_csr())

    @property
    def pattern(self) -> str:
        """The pattern, such as "2:4"."""
        n, m = self._matrix.pattern
        return f"{n}:{m}"

    @property
    def data(self) -> NDArray[Any]:
        """The stored values, N for each group: (rows, groups * N)."""
        return self._rows(self._matrix.data)

    @property
    def indices(self) -> NDArray[np.uint8]:
        """The place of each stored value in its group: (rows, groups * N)."""
        return self._rows(self._matrix.places)

    @property
    def codes(self) -> NDArray[np.uint64]:
        """The places as they are stored; see `NmMatrix.from_codes`."""
        return self._matrix.codes

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values."""
        return np.dtype(self._matrix.dtype)

    @property
    def nnz(self) -> int:
        """How many values are stored, zeros that fill up groups among them."""
        n, m = self._matrix.pattern
        rows, cols = self.shape
        return rows * -(-cols // m) * n

    def _rows(self, values: NDArray[Any]) -> NDArray[Any]:
        rows = self.shape[0]
        values = values.reshape(rows, values.size // rows if rows else 0)
        values.flags.writeable = False
        return values

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_nm, (self._matrix.data, self.codes, self.pattern, self.shape)

    def __repr__(self) -> str:
        return f"NmMatrix({self.shape}, {self.dtype}, {self.pattern!r}, density={self.density:.3g})"


def n_of_m_pattern(stored: NDArray[np.bool_]) -> str | None:
    """Return the N:M pattern that a mask (rows, columns) fills, if it does, such as "2:4"."""
    rows, cols = stored.shape
    for m in (4, 8):
        groups = -(-cols // m)
        padded = np.zeros((rows, groups * m), np.bool_)
        padded[:, :cols] = stored
        counts = np.count_nonzero(padded.reshape(rows, groups, m), axis=2)
        n = int(counts.max(initial=0))
        if 0 < n < m and counts.sum() >= FULL * n * counts.size:
            return f"{n}:{m}"
    return None


def _rebuild_nm(
    data: NDArray[Any], codes: NDArray[np.uint64], pattern: str, shape: tuple[int, int]
) -> NmMatrix:
    """Return the matrix that was pickled, checked anew."""
    return NmMatrix.from_codes(data, codes, pattern, shape=shape)


def _pattern(pattern: object) -> tuple[int, int]:
    """Return N and M; the extension checks their values."""
    match = re.fullmatch("([0-9]{1,3}):([0-9]{1,3})", pattern) if isinstance(pattern, str) else None
    if match is None:
        raise ArgumentError("pattern", f"pattern is {pattern!r}; it must be 'N:M', such as '2:4'")
    return int(match[1]), int(match[2])
