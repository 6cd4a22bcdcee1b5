"""The sparse matrix and its products."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore import _core
from qcore._validation import check_int, numeric_array

__all__ = ["CsrMatrix"]

VALUES = (np.float32, np.float64, np.int8, np.uint8)
_BYTES = (np.int8, np.uint8)
_LONGEST = 2**63 - 1


class CsrMatrix:
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

    __slots__ = ("__weakref__", "_csr")

    # A NumPy array on the left leaves `@` to this class.
    __array_priority__ = 1000.0
    __array_ufunc__ = None

    _csr: _core.Csr

    def __init__(
        self,
        data: ArrayLike,
        indices: ArrayLike,
        indptr: ArrayLike,
        *,
        shape: tuple[int, int],
    ) -> None:
        rows, cols = _check_shape(shape)
        values = _vector(numeric_array(data, "data", VALUES), "data")
        places = _integers(indices, "indices"), _integers(indptr, "indptr")
        kind = np.int32 if all(array.dtype == np.int32 for array in places) else np.int64
        columns, offsets = (array.astype(kind, copy=False) for array in places)
        object.__setattr__(self, "_csr", _core.Csr(values, columns, offsets, rows, cols))

    @classmethod
    def _of(cls, csr: _core.Csr) -> CsrMatrix:
        new = object.__new__(cls)
        object.__setattr__(new, "_csr", csr)
        return new

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
        array = np.asarray(dense)
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
        rows, cols = _check_shape(shape)
        values = _vector(numeric_array(data, "data", VALUES), "data")
        row, col = (
            _integers(array, name).astype(np.int64, copy=False)
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

    # to other forms ----------------------------------------------------------------------------
    def to_dense(self) -> NDArray[Any]:
        """Return the whole matrix as an array, (rows, columns)."""
        out = np.empty(self.shape, self.dtype)
        self._csr.to_dense(out)
        return out

    def to_coo(self) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """Return values, rows and columns, in the order of rows, then columns."""
        row = np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))
        return self.data.copy(), row, self.indices.astype(np.int64)

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
        return self._csr.data

    @property
    def indices(self) -> NDArray[Any]:
        """The column of each value, ascending in each row: uint16, uint32 or uint64, read-only."""
        return self._csr.indices

    @property
    def indptr(self) -> NDArray[np.int64]:
        """Where each row starts, and the last one ends: int64, read-only."""
        return self._csr.indptr.view(np.int64)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self._csr.shape

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values."""
        return self.data.dtype

    @property
    def nnz(self) -> int:
        """How many values are stored."""
        return self._csr.nnz

    @property
    def density(self) -> float:
        """The share of the elements that is stored."""
        rows, cols = self.shape
        return self.nnz / (rows * cols) if rows and cols else 0.0

    @property
    def nbytes(self) -> int:
        """Bytes of values, indices and row offsets.

        The first product with several columns, and the first from the right, also lay the matrix
        out for this CPU; that is kept for the next one and not counted here.
        """
        return self._csr.nbytes

    @property
    def T(self) -> CsrMatrix:  # noqa: N802
        """The transposed matrix; made once."""
        return CsrMatrix._of(self._csr.transpose())

    def __getitem__(self, key: int | slice) -> CsrMatrix:
        """Return some rows as a matrix: ``s[2]``, ``s[10:20]``, ``s[::2]``."""
        rows, cols = self.shape
        if isinstance(key, slice):
            start, stop, step = key.indices(rows)
            if step == 1:
                return CsrMatrix._of(self._csr.rows_in(start, max(start, stop)))
            wanted = np.arange(start, stop, step)
        else:
            row = check_int(key, "row", -rows, rows - 1) % rows if rows else None
            if row is None:
                raise IndexError("the matrix has no rows")
            return CsrMatrix._of(self._csr.rows_in(row, row + 1))
        lengths = np.diff(self.indptr)[wanted]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(self.indptr[wanted] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return CsrMatrix(self.data[places], self.indices[places], indptr, shape=(len(wanted), cols))

    def __len__(self) -> int:
        raise TypeError("the length of a sparse matrix is ambiguous; use .nnz or .shape[0]")

    # products ----------------------------------------------------------------------------------
    def __matmul__(self, x: ArrayLike) -> NDArray[Any]:
        """Return ``self @ x`` for a vector or a matrix."""
        return self.dot(x)

    def __rmatmul__(self, x: ArrayLike) -> NDArray[Any]:
        """Return ``x @ self`` for a vector or a matrix."""
        return _product(self, x, True, 0, None)

    def dot(
        self,
        x: ArrayLike,
        *,
        x_zero_point: int = 0,
        out_dtype: type[np.int32] | type[np.int64] | None = None,
    ) -> NDArray[Any]:
        """Multiply with a dense vector or matrix from the right.

        Parameters
        ----------
        x : array_like, (columns,) or (columns, n)
            Of the matrix's dtype; for integers int8 or uint8.
        x_zero_point : int, default 0
            The code of 0 in an integer `x`, which is subtracted from it.
        out_dtype : numpy.int32 or numpy.int64, optional
            The type of the result for integers; default int32.

        Returns
        -------
        ndarray, (rows,) or (rows, n)
            float32, float64, or exact integers.

        Raises
        ------
        TypeError
            If dtypes do not fit.
        ValueError
            If shapes do not fit.
        OverflowError
            If an integer result is beyond int32.

        Examples
        --------
        >>> import numpy as np, qcore as qc
        >>> s = qc.CsrMatrix.from_dense(np.int8([[0, -128], [3, 0]]))
        >>> s.dot(np.uint8([255, 255]), x_zero_point=128)
        array([-16256,    381], dtype=int32)
        """
        return _product(self, x, False, x_zero_point, out_dtype)

    # Python ------------------------------------------------------------------------------------
    def __eq__(self, other: object) -> bool:
        """Whether shape, dtype, places and values are the same."""
        return self._csr.equals(other._csr) if isinstance(other, CsrMatrix) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a CsrMatrix is immutable; {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a CsrMatrix is immutable; {name} cannot be deleted")

    def __copy__(self) -> CsrMatrix:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> CsrMatrix:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.data, self.indices, self.indptr, self.shape)

    def _repr_html_(self) -> str:
        from qcore.report.notebook import sparse_html

        return sparse_html(self)

    def __repr__(self) -> str:
        return f"CsrMatrix({self.shape}, {self.dtype}, nnz={self.nnz}, density={self.density:.3g})"


def _rebuild(
    data: NDArray[Any], indices: NDArray[Any], indptr: NDArray[Any], shape: tuple[int, int]
) -> CsrMatrix:
    """Return the matrix that was pickled, checked anew."""
    return CsrMatrix(data, indices, indptr, shape=shape)


def _check_shape(shape: object) -> tuple[int, int]:
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise ValueError(f"shape is {shape!r}; it must be (rows, columns)")
    rows, cols = (check_int(length, "shape", 0, _LONGEST - 1) for length in shape)
    return rows, cols


def _vector(array: NDArray[Any], name: str) -> NDArray[Any]:
    if array.ndim != 1:
        raise ValueError(f"{name} has {array.ndim} dimensions; it must have 1")
    return array


def _integers(x: ArrayLike, name: str) -> NDArray[Any]:
    """Return an array of integers as int32 or int64, C-contiguous."""
    array = np.asarray(x)
    if array.size == 0 and array.dtype.kind == "f":  # an empty list
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}; it must be of integers")
    _vector(array, name)
    if array.dtype == np.uint64 and array.size and int(array.max()) > _LONGEST:
        at = int(np.argmax(array > _LONGEST))
        raise ValueError(f"{name}[{at}] is {array[at]}, beyond int64")
    kind = np.int32 if array.dtype.itemsize < 4 or array.dtype == np.int32 else np.int64
    return np.ascontiguousarray(array, kind)


def _product(
    matrix: CsrMatrix, x: ArrayLike, left: bool, x_zero_point: int, out_dtype: Any
) -> NDArray[Any]:
    """Return ``x @ matrix`` if `left`, else ``matrix @ x``."""
    array = np.asarray(x)
    integers = matrix.dtype.type in _BYTES
    allowed = _BYTES if integers else (matrix.dtype.type,)
    if array.dtype.newbyteorder("=").type not in allowed:
        names = " or ".join(np.dtype(kind).name for kind in allowed)
        raise TypeError(
            f"x has dtype {array.dtype}; with a {matrix.dtype} CsrMatrix it must be {names}"
        )
    if not array.flags.aligned or not array.dtype.isnative:
        array = np.array(array, array.dtype.newbyteorder("="), copy=True)
    result = np.dtype(out_dtype or np.int32) if integers else matrix.dtype
    if integers and result not in (np.int32, np.int64):
        raise TypeError(f"out_dtype is {result}; it must be int32 or int64")
    if not integers and (out_dtype is not None or x_zero_point):
        raise TypeError("out_dtype and x_zero_point are for integers")
    rows, cols = matrix.shape
    inner, outer = (rows, cols) if left else (cols, rows)
    if array.ndim not in (1, 2) or array.shape[-1 if left else 0] != inner:
        wanted = f"(n, {inner}) or ({inner},)" if left else f"({inner}, n) or ({inner},)"
        raise ValueError(
            f"x has shape {array.shape}; with a CsrMatrix of {matrix.shape} it must be {wanted}"
        )
    vector = array.ndim == 1
    if vector:
        array = array[None, :] if left else array[:, None]
    out = np.empty((len(array), outer) if left else (outer, array.shape[1]), result)
    matrix._csr.multiply(array, check_int(x_zero_point, "x_zero_point", -128, 255), left, out)
    return out.reshape(-1) if vector else out
