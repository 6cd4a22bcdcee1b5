"""The sparse matrix and its products."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore import _core
from qcore._arguments.arrays import as_array
from qcore._arguments.validation import check_int, first_position, integer_array, numeric_array
from qcore.arrays.products.codes import plain_codes
from qcore.arrays.products.matrix import SparseMatrix, check_shape
from qcore.arrays.tensor.tensor import QTensor

__all__ = ["CsrMatrix", "integer_vector"]

VALUES = (np.float32, np.float64, np.int8, np.uint8)
_LONGEST = 2**63 - 1


class CsrMatrix(SparseMatrix):
    """An immutable matrix of which only some elements are stored, row after row.

    The format is the compressed sparse row: row ``i`` has the values
    ``data[indptr[i]:indptr[i + 1]]`` in the columns ``indices[indptr[i]:indptr[i + 1]]``. The whole
    structure is checked here, once; the arrays are copied. Columns of a row may come in any order,
    and values of one place are summed, as SciPy does.

    Parameters
    ----------
    data : array_like of float32, float64, int8 or uint8, (nnz,)
        The stored values; a zero among them stays stored.
    indices : array_like of integers, (nnz,)
        The column of each value.
    indptr : array_like of integers, (rows + 1,)
        Where each row starts, and the last one ends.
    shape : tuple of int
        (rows, columns).

    Attributes
    ----------
    data, indices, indptr : ndarray
        The arrays, read-only and sorted; columns take 2, 4 or 8 bytes, as many as the matrix needs.

    Raises
    ------
    TypeError
        If a dtype is not one of those above.
    ValueError
        If the arrays are no such matrix; names the first position that is wrong.
    OverflowError
        If int8 or uint8 values of one place sum to more than the type holds.

    Notes
    -----
    Products of float32 and float64 are in the matrix's type. Those of int8 and uint8, with either,
    are exact int32; a result that int32 does not hold is an OverflowError, never a wrapped number,
    and `dot` gives it as int64. Float results are the same to the bit on any number of threads; on
    different instruction sets they differ by at most ``2 * k * eps * (abs(A) @ abs(x))``, k being
    the number of stored values of the row.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> s = qc.CsrMatrix(np.float32([2, -1]), [2, 0], [0, 1, 2], shape=(2, 3))
    >>> s.to_dense()
    array([[ 0.,  0.,  2.],
           [-1.,  0.,  0.]], dtype=float32)
    >>> s @ np.float32([1, 10, 100])
    array([200.,  -1.], dtype=float32)
    >>> qc.CsrMatrix(np.float32([2, -1]), [3, 0], [0, 1, 2], shape=(2, 3))
    Traceback (most recent call last):
    ValueError: indices[0] is 3, in row 0; it must be 0 to 2
    """

    __slots__ = ()

    _matrix: _core.Csr

    def __init__(
        self,
        data: ArrayLike,
        indices: ArrayLike,
        indptr: ArrayLike,
        *,
        shape: tuple[int, int],
    ) -> None:
        rows, cols = check_shape(shape)
        values = _vector(numeric_array(data, "data", VALUES), "data")
        places = integer_vector(indices, "indices"), integer_vector(indptr, "indptr")
        kind = np.int32 if all(array.dtype == np.int32 for array in places) else np.int64
        columns, offsets = (array.astype(kind, copy=False) for array in places)
        self._hold(_core.Csr(values, columns, offsets, rows, cols))

    # from other forms --------------------------------------------------------------------------
    @classmethod
    def from_dense(
        cls,
        dense: ArrayLike,
        *,
        where: ArrayLike | None = None,
        threshold: float | None = None,
    ) -> CsrMatrix:
        """Build the matrix of the elements of a dense one that are not zero.

        Parameters
        ----------
        dense : array_like of float32, float64, int8 or uint8, (rows, columns)
            The elements.
        where : array_like of bool, (rows, columns), optional
            Which elements are stored, zeros among them too.
        threshold : float, optional
            Elements are stored if their magnitude is above it, or NaN.

        Examples
        --------
        >>> import numpy as np, qcore as qc
        >>> qc.CsrMatrix.from_dense(np.float32([[0, 0.5], [0.01, 0]]), threshold=0.1)
        CsrMatrix((2, 2), float32, nnz=1, density=0.25)
        """
        array = as_array(dense, "dense")
        if array.ndim != 2:
            raise ValueError(f"dense has {array.ndim} dimensions; it must have 2")
        array = numeric_array(array, "dense", VALUES)
        if where is not None and threshold is not None:
            raise ValueError("where and threshold are both given; they exclude each other")
        mask = None
        if where is not None:
            mask = np.ascontiguousarray(where)
            if mask.dtype != np.bool_:
                raise TypeError(f"where has dtype {mask.dtype}; it must be bool")
            if mask.shape != array.shape:
                raise ValueError(f"where has shape {mask.shape}; it must be {array.shape}")
        elif threshold is not None:
            wide = array.astype(np.int16) if array.dtype.kind in "iu" else array
            mask = ~(np.abs(wide) <= threshold)
        return cls._of(_core.Csr.from_dense(array, mask))

    @classmethod
    def from_coo(
        cls, data: ArrayLike, row: ArrayLike, col: ArrayLike, *, shape: tuple[int, int]
    ) -> CsrMatrix:
        """Build the matrix with the given values at the given rows and columns.

        Values of one place are summed.

        Parameters
        ----------
        data : array_like of float32, float64, int8 or uint8, (nnz,)
            The values.
        row, col : array_like of integers, (nnz,)
            Where each one lies.
        shape : tuple of int
            (rows, columns).

        Examples
        --------
        >>> import numpy as np, qcore as qc
        >>> qc.CsrMatrix.from_coo(np.int8([1, 2, 3]), [1, 0, 1], [0, 1, 0], shape=(2, 2)).to_dense()
        array([[0, 2],
               [4, 0]], dtype=int8)
        """
        rows, cols = check_shape(shape)
        values = _vector(numeric_array(data, "data", VALUES), "data")
        row, col = (
            integer_vector(array, name).astype(np.int64, copy=False)
            for array, name in ((row, "row"), (col, "col"))
        )
        return cls._of(_core.Csr.from_coordinates(values, row, col, rows, cols))

    @classmethod
    def from_scipy(cls, matrix: Any) -> CsrMatrix:
        """Build the matrix of a SciPy sparse matrix or array, of any format.

        Parameters
        ----------
        matrix : scipy.sparse matrix or array
            float32, float64, int8 or uint8, two-dimensional.

        Examples
        --------
        >>> import numpy as np, scipy.sparse, qcore as qc
        >>> qc.CsrMatrix.from_scipy(scipy.sparse.eye(3, dtype=np.float32))
        CsrMatrix((3, 3), float32, nnz=3, density=0.333)
        """
        if not hasattr(matrix, "tocsr"):
            raise TypeError(f"matrix is {type(matrix).__name__}; it must be a SciPy sparse matrix")
        csr = matrix.tocsr()
        return cls(csr.data, csr.indices, csr.indptr, shape=csr.shape)

    @classmethod
    def from_qtensor(cls, q: QTensor) -> CsrMatrix:
        """Build the matrix of a quantized one's codes, those of 0 left out.

        What it multiplies to is in units of ``q.scale``: ``linear(x, s, scale=q.scale)``.

        Parameters
        ----------
        q : QTensor, (rows, columns)
            Affine codes of up to 8 bits; zero points are subtracted.

        Returns
        -------
        CsrMatrix
            int8, or uint8 where the codes less their zero points are not negative and go beyond it.

        Raises
        ------
        ValueError
            If `q` has another scheme, scales along its columns, or codes that fit neither type.

        Examples
        --------
        >>> import numpy as np, qcore as qc
        >>> q = qc.quantize(np.float32([[0, 0.5], [-1, 0]]), axis=0)
        >>> s = qc.CsrMatrix.from_qtensor(q)
        >>> s
        CsrMatrix((2, 2), int8, nnz=2, density=0.5)
        >>> s.to_qtensor(q.scale, axis=0) == q
        False
        >>> bool((s.to_qtensor(q.scale, axis=0).dequantize() == q.dequantize()).all())
        True
        """
        return cls._of(_core.Csr.from_dense(plain_codes(q), None))

    # to other forms ----------------------------------------------------------------------------
    def to_coo(self) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """Return values, rows and columns, in the order of rows, then columns."""
        row = np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))
        return self.data.copy(), row, self.indices.astype(np.int64)

    def to_qtensor(self, scale: ArrayLike = 1.0, *, axis: int | None = None) -> QTensor:
        """Return int8 or uint8 values as the codes of a quantized tensor with zero point 0.

        Parameters
        ----------
        scale : float or array_like of float, default 1
            The step of the codes; one for each row with ``axis=0``, or column with ``axis=1``.
        axis : int, optional
            The axis that `scale` runs along.

        Raises
        ------
        TypeError
            If the matrix is of floats: quantize it first.
        """
        if self.dtype.kind == "f":
            raise TypeError(f"the matrix is {self.dtype}; only int8 and uint8 are codes")
        return QTensor.from_parts(
            self.to_dense(), scale, axis=axis, bits=8, signed=self.dtype == np.int8
        )

    def to_csr(self) -> CsrMatrix:
        """Return the matrix itself."""
        return self

    def to_scipy(self) -> Any:
        """Return the matrix as a ``scipy.sparse.csr_matrix`` with arrays of its own.

        Raises
        ------
        ImportError
            If SciPy is not installed.
        """
        try:
            from scipy.sparse import csr_matrix
        except ImportError as error:
            raise ImportError("to_scipy needs SciPy: pip install scipy") from error
        index = np.int32 if max(*self.shape, self.nnz) < 2**31 else np.int64
        parts = self.data.copy(), self.indices.astype(index), self.indptr.astype(index)
        return csr_matrix(parts, shape=self.shape)

    # parts -------------------------------------------------------------------------------------
    @property
    def data(self) -> NDArray[Any]:
        """The stored values, read-only."""
        return self._matrix.data

    @property
    def indices(self) -> NDArray[Any]:
        """The column of each value, ascending in each row: uint16, uint32 or uint64, read-only."""
        return self._matrix.indices

    @property
    def indptr(self) -> NDArray[np.int64]:
        """Where each row starts, and the last one ends: int64, read-only."""
        return self._matrix.indptr.view(np.int64)

    @property
    def nnz(self) -> int:
        """How many values are stored."""
        return self._matrix.nnz

    @property
    def nbytes(self) -> int:
        """Bytes of values, indices and row offsets.

        The first product with several columns, and the first from the right, also lay the matrix
        out for this CPU; that is kept for the next one and not counted here.
        """
        return self._matrix.nbytes

    @property
    def T(self) -> CsrMatrix:  # noqa: N802
        """The transposed matrix; made once."""
        return CsrMatrix._of(self._matrix.transpose())

    def __getitem__(self, key: int | slice) -> CsrMatrix:
        """Return some rows as a matrix: ``s[2]``, ``s[10:20]``, ``s[::2]``."""
        rows, cols = self.shape
        if isinstance(key, slice):
            start, stop, step = key.indices(rows)
            if step == 1:
                return CsrMatrix._of(self._matrix.rows_in(start, max(start, stop)))
            wanted = np.arange(start, stop, step)
        else:
            row = check_int(key, "row", -rows, rows - 1) % rows if rows else None
            if row is None:
                raise IndexError("the matrix has no rows")
            return CsrMatrix._of(self._matrix.rows_in(row, row + 1))
        lengths = np.diff(self.indptr)[wanted]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(self.indptr[wanted] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return CsrMatrix(self.data[places], self.indices[places], indptr, shape=(len(wanted), cols))

    # Python ------------------------------------------------------------------------------------
    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.data, self.indices, self.indptr, self.shape)

    def __repr__(self) -> str:
        return f"CsrMatrix({self.shape}, {self.dtype}, nnz={self.nnz}, density={self.density:.3g})"


def _rebuild(
    data: NDArray[Any], indices: NDArray[Any], indptr: NDArray[Any], shape: tuple[int, int]
) -> CsrMatrix:
    """Return the matrix that was pickled, checked anew."""
    return CsrMatrix(data, indices, indptr, shape=shape)


def _vector(array: NDArray[Any], name: str) -> NDArray[Any]:
    if array.ndim != 1:
        raise ValueError(f"{name} has {array.ndim} dimensions; it must have 1")
    return array


def integer_vector(x: ArrayLike, name: str) -> NDArray[Any]:
    """Return an array of integers as int32 or int64, C-contiguous."""
    array = as_array(x, name)
    if array.dtype == np.float64 and (array >= _LONGEST).any():
        # What NumPy makes of integers that no type of its own holds together.
        raise ValueError(f"{name}{first_position(array >= _LONGEST)} is beyond int64")
    array = _vector(integer_array(array, name), name)
    if array.dtype == np.uint64 and array.size and int(array.max()) > _LONGEST:
        at = int(np.argmax(array > _LONGEST))
        raise ValueError(f"{name}[{at}] is {array[at]}, beyond int64")
    kind = np.int32 if array.dtype.itemsize < 4 or array.dtype == np.int32 else np.int64
    return np.ascontiguousarray(array, kind)
