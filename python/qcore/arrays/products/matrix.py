"""What all sparse matrices have in common: one place for how they multiply."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore import _core
from qcore._arguments.arrays import as_array
from qcore._arguments.validation import check_int, numeric_array
from qcore._display.html import facts_html, shades
from qcore.errors import ArgumentError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FULL", "STRUCTURED_VALUES", "SparseMatrix", "check_shape", "dense_matrix"]

#: What matrices that store a pattern hold.
STRUCTURED_VALUES = (np.float32, np.int8, np.uint8)

#: The share of a pattern's places that must be used for it to pay.
FULL = 0.9

# Squares a side of the picture.
_MAP = 24

_BYTES = (np.int8, np.uint8)
_LONGEST = 2**63 - 1


class _Matrix(Protocol):
    """What the extension's matrices can do."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def data(self) -> NDArray[Any]: ...
    def to_dense(self, out: NDArray[Any]) -> None: ...
    def multiply(self, x: NDArray[Any], x_zero: int, left: bool, out: NDArray[Any]) -> None: ...
    def equals(self, other: Any) -> bool: ...


class SparseMatrix(ABC):
    """An immutable matrix that does not store all of its elements."""

    # What the extension holds, and the same as weights of a layer, made when they are first used.
    __slots__ = ("__weakref__", "_matrix", "_weights")

    # A NumPy array on the left leaves `@` to this class.
    __array_priority__ = 1000.0
    __array_ufunc__ = None

    _matrix: Any
    _weights: tuple[bytes, _core.PackedWeights] | None

    @classmethod
    def _of(cls, matrix: _Matrix) -> Self:
        new = object.__new__(cls)
        new._hold(matrix)
        return new

    def _hold(self, matrix: _Matrix) -> None:
        object.__setattr__(self, "_matrix", matrix)
        object.__setattr__(self, "_weights", None)

    def _as_weights(
        self, key: bytes, make: Callable[[], _core.PackedWeights]
    ) -> _core.PackedWeights:
        """Return the matrix as weights of a layer; made anew where `key` is another one."""
        kept = self._weights
        if kept is None or kept[0] != key:
            kept = (key, make())
            object.__setattr__(self, "_weights", kept)
        return kept[1]

    # parts -------------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        shape: tuple[int, int] = self._matrix.shape
        return shape

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    @property
    @abstractmethod
    def data(self) -> NDArray[Any]:
        """The stored values."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values."""
        return self.data.dtype

    @property
    def nnz(self) -> int:
        """How many values are stored."""
        return self.data.size

    @property
    def density(self) -> float:
        """The share of the elements that is stored."""
        rows, cols = self.shape
        return self.nnz / (rows * cols) if rows and cols else 0.0

    @property
    def nbytes(self) -> int:
        """Bytes of the values and of their places.

        The first product also lays the matrix out for this CPU; that is kept for the next one and
        not counted here.
        """
        nbytes: int = self._matrix.nbytes
        return nbytes

    def to_dense(self) -> NDArray[Any]:
        """Return the whole matrix as an array, (rows, columns)."""
        out = np.empty(self.shape, self.dtype)
        self._matrix.to_dense(out)
        return out

    def __len__(self) -> int:
        raise TypeError("the length of a sparse matrix is ambiguous; use .nnz or .shape[0]")

    # products ----------------------------------------------------------------------------------
    def __matmul__(self, x: ArrayLike) -> NDArray[Any]:
        """Return ``self @ x`` for a vector or a matrix."""
        return _product(self, x, False, 0, None)

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
        if type(other) is not type(self):
            return NotImplemented
        equal: bool = self._matrix.equals(other._matrix)
        return equal

    __hash__ = None  # type: ignore[assignment]

    def __setattr__(self, name: str, value: object) -> None:
        kind = type(self).__name__
        raise AttributeError(f"a {kind} is immutable; {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        kind = type(self).__name__
        raise AttributeError(f"a {kind} is immutable; {name} cannot be deleted")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    @abstractmethod
    def to_csr(self) -> Any:
        """Return the values that are not zero as a `CsrMatrix`."""

    def _repr_html_(self) -> str:
        rows, columns = self.shape
        facts = {
            "shape": f"{rows:,} × {columns:,}", "stored": f"{self.nnz:,}",
            "density": f"{100 * self.density:.1f} %", "bytes": f"{self.nbytes:,}",
        }  # fmt: skip
        picture = ""
        csr = self.to_csr()
        if csr.nnz:
            at = np.repeat(np.arange(rows), np.diff(csr.indptr))
            bins = [min(rows, _MAP), min(columns, _MAP)]
            ends = [[0, rows], [0, columns]]
            counts, *_ = np.histogram2d(at, csr.indices, bins=bins, range=ends)
            picture = shades(counts / counts.max())
        return facts_html(f"{type(self).__name__}, {self.dtype}", facts, picture)


def check_shape(shape: object) -> tuple[int, int]:
    """Return (rows, columns), if `shape` is that."""
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise ArgumentError("shape", f"shape is {shape!r}; it must be (rows, columns)")
    rows, cols = (check_int(length, "shape", 0, _LONGEST - 1) for length in shape)
    return rows, cols


def dense_matrix(dense: ArrayLike) -> NDArray[Any]:
    """Return an array of two dimensions that a pattern is looked for in."""
    array = numeric_array(dense, "dense", STRUCTURED_VALUES)
    if array.ndim != 2:
        raise ValueError(f"dense has {array.ndim} dimensions; it must have 2")
    return array


def _product(
    matrix: SparseMatrix, x: ArrayLike, left: bool, x_zero_point: int, out_dtype: Any
) -> NDArray[Any]:
    """Return ``x @ matrix`` if `left`, else ``matrix @ x``."""
    array, kind = as_array(x, "x"), type(matrix).__name__
    integers = matrix.dtype.type in _BYTES
    allowed = _BYTES if integers else (matrix.dtype.type,)
    if array.dtype.newbyteorder("=").type not in allowed:
        names = " or ".join(np.dtype(kind).name for kind in allowed)
        found = f"x has dtype {array.dtype}; with a {matrix.dtype} {kind} it must be {names}"
        raise TypeError(found)
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
            f"x has shape {array.shape}; with a {kind} of {matrix.shape} it must be {wanted}"
        )
    vector = array.ndim == 1
    if vector:
        array = array[None, :] if left else array[:, None]
    out = np.empty((len(array), outer) if left else (outer, array.shape[1]), result)
    matrix._matrix.multiply(array, check_int(x_zero_point, "x_zero_point", -128, 255), left, out)
    return out.reshape(-1) if vector else out
