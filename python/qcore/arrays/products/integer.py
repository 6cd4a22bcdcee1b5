"""Exact products of 8-bit integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from qcore import _core
from qcore._arguments.arrays import as_array
from qcore._arguments.validation import check_out, integer_array
from qcore._core import PackedMatrix
from qcore.arrays.tensor.tensor import QTensor

__all__ = ["PackedMatrix", "matmul_integer", "pack"]

_plain = _core.matmul_integer_plain


def matmul_integer(
    a: ArrayLike,
    b: ArrayLike | PackedMatrix,
    a_zero_point: ArrayLike = 0,
    b_zero_point: ArrayLike = 0,
    out: NDArray[Any] | None = None,
    out_dtype: DTypeLike = np.int32,
) -> NDArray[Any]:
    """Multiply matrices of 8-bit integers, exactly: ``(a - a_zero_point) @ (b - b_zero_point)``.

    No sum wraps and none saturates: a result that int32 cannot hold is an error.

    Parameters
    ----------
    a : array_like of int8 or uint8
        (M, K), (K,) or, as for `numpy.matmul`, a stack of matrices (..., M, K). Any strides.
    b : array_like of int8 or uint8, or PackedMatrix
        (K, N), (K,) or a stack (..., K, N). Of another sign than `a` if need be.
    a_zero_point : array_like of int, default 0
        What stands for 0 in `a`, a value of its type: one for all, or one for each row, (M,) or
        (..., M, 1).
    b_zero_point : array_like of int, default 0
        The same for `b`: one for all, or one for each column, (N,) or (..., 1, N).
    out : ndarray of `out_dtype`, optional
        Filled and returned; shares no memory with an operand.
    out_dtype : {int32, int64}
        Type of the result. int64 holds every one.

    Returns
    -------
    ndarray
        (M, N), or as `numpy.matmul` shapes it for vectors and stacks.

    Raises
    ------
    TypeError
        If an operand is not int8 or uint8, a zero point not an integer, or `out` of another type.
    ValueError
        If shapes do not fit, or a zero point is no value of its operand's type.
    OverflowError
        If a result is beyond int32; the message says where.

    References
    ----------
    ONNX operators, MatMulInteger; there, results beyond int32 wrap.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> a = np.array([[1, -2], [127, 127]], np.int8)
    >>> b = np.array([[3, 255], [4, 255]], np.uint8)
    >>> qc.matmul_integer(a, b)
    array([[   -5,  -255],
           [  889, 64770]], dtype=int32)
    >>> qc.matmul_integer(a, b, b_zero_point=128)
    array([[   123,   -127],
           [-31623,  32258]], dtype=int32)
    """
    if out_dtype is np.int32:
        result = _plain(a, b, a_zero_point, b_zero_point, out)
        if result is not None:
            return result
    return _general(a, b, a_zero_point, b_zero_point, out, out_dtype)


def pack(b: ArrayLike) -> PackedMatrix:
    """Lay out the right operand of `matmul_integer` once, for many products.

    Parameters
    ----------
    b : array_like of int8 or uint8, (K, N)
        Any strides: weights (out, in) are packed as ``w.T`` without a copy of their own.

    Returns
    -------
    PackedMatrix
        Immutable. Has ``shape``, ``dtype`` and ``nbytes``; ``np.asarray`` gives the matrix back.
        Pickling keeps the matrix, not its layout, which is one CPU's.

    Raises
    ------
    TypeError
        If `b` is not int8 or uint8.
    ValueError
        If it is not two-dimensional.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> p = qc.pack(np.arange(6, dtype=np.int8).reshape(2, 3))
    >>> p.shape
    (2, 3)
    >>> qc.matmul_integer(np.array([[1, 1]], np.int8), p)
    array([[3, 5, 7]], dtype=int32)
    """
    if isinstance(b, PackedMatrix):
        return b
    matrix = _operand(b, "b")
    if matrix.ndim != 2:
        raise ValueError(f"b has shape {matrix.shape}; it must be (K, N)")
    return PackedMatrix(matrix)


def _operand(x: ArrayLike, name: str) -> NDArray[Any]:
    """Return an operand as an array of any strides."""
    if isinstance(x, QTensor):
        raise TypeError(
            f"{name} is a QTensor; give its codes, {name}.values, or use linear, which knows scales"
        )
    array = as_array(x, name)
    if array.dtype not in (np.int8, np.uint8):
        raise TypeError(f"{name} has dtype {array.dtype}; it must be int8 or uint8")
    if array.ndim == 0:
        raise ValueError(f"{name} is a scalar; it must have 1 axis or more")
    return array


def _general(
    a: ArrayLike,
    b: ArrayLike | PackedMatrix,
    a_zero_point: ArrayLike,
    b_zero_point: ArrayLike,
    out: NDArray[Any] | None,
    out_dtype: DTypeLike,
) -> NDArray[Any]:
    """Take what the plain way leaves: vectors, stacks, zero points of many, `out`, int64."""
    kind: np.dtype[Any] = np.dtype(out_dtype)
    if kind not in (np.int32, np.int64):
        raise TypeError(f"out_dtype is {kind}; it must be int32 or int64")
    left = _operand(a, "a")
    right = b if isinstance(b, PackedMatrix) else _operand(b, "b")
    if left.shape[-1] != right.shape[0 if right.ndim == 1 else -2]:
        raise ValueError(
            f"a has shape {left.shape} and b {right.shape}; the last axis of a must be as long as "
            f"the {'first' if right.ndim < 3 else 'second last'} of b"
        )
    matrix_a = left[None] if left.ndim == 1 else left
    matrix_b = right[:, None] if isinstance(right, np.ndarray) and right.ndim == 1 else right
    stack = _stack(matrix_a.shape[:-2], matrix_b.shape[:-2])
    rows, columns = matrix_a.shape[-2], matrix_b.shape[-1]
    shape = stack + (rows,) * (left.ndim > 1) + (columns,) * (right.ndim > 1)
    zero_a = _zero_point(a_zero_point, "a_zero_point", (*stack, rows, 1))
    zero_b = _zero_point(b_zero_point, "b_zero_point", (*stack, 1, columns))
    if out is not None:
        inputs = [x for x in (left, right) if isinstance(x, np.ndarray)]
        check_out(out, kind, shape, *inputs)
    plain = out is not None and out.flags.carray
    result = out if plain and out is not None else np.empty(shape, kind)
    _fill(matrix_a, matrix_b, zero_a, zero_b, result.reshape(*stack, rows, columns))
    if out is not None and not plain:
        out[...] = result
        return out
    return result


def _fill(
    a: NDArray[Any],
    b: NDArray[Any] | PackedMatrix,
    zero_a: NDArray[np.int32],
    zero_b: NDArray[np.int32],
    out: NDArray[Any],
) -> None:
    """Write every product of a stack into `out`, C-contiguous (..., M, N)."""
    stack, columns = out.shape[:-2], out.shape[-1]
    if b.ndim == 2 and zero_a.ndim < 3 and zero_b.ndim < 3 and a.ndim > 2 and zero_a.size == 1:
        # One matrix on the right: the stack is a taller matrix.
        a, out = a.reshape(-1, a.shape[-1]), out.reshape(-1, columns)
        stack = ()
    if not stack:
        _core.matmul_integer(a, b, zero_a.reshape(-1), zero_b.reshape(-1), out)
        return
    left = np.broadcast_to(a, (*stack, *a.shape[-2:]))
    right = None if isinstance(b, PackedMatrix) else np.broadcast_to(b, (*stack, *b.shape[-2:]))
    for at in np.ndindex(stack):
        _core.matmul_integer(
            left[at], b if right is None else right[at], _part(zero_a, at), _part(zero_b, at),
            out[at],
        )  # fmt: skip


def _stack(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(a, b)
    except ValueError as error:
        raise ValueError(f"stacks of shape {a} (a) and {b} (b) do not fit each other") from error


def _zero_point(value: ArrayLike, name: str, wanted: tuple[int, ...]) -> NDArray[np.int32]:
    """Return one zero point, one for each row or column, or those of each matrix of a stack.

    The shapes: (), (count,), or broadcast to `wanted`.
    """
    zeros = integer_array(value, name)
    count = wanted[-2] * wanted[-1]
    if zeros.size == 1:
        zeros = zeros.reshape(())
    elif zeros.ndim == 1 and len(zeros) != count:
        raise ValueError(f"{name} has shape {zeros.shape}; it must be () or ({count},)")
    elif zeros.ndim > 1:
        try:
            zeros = np.broadcast_to(zeros, wanted)
        except ValueError as error:
            text = f"{name} has shape {zeros.shape}; it must be (), ({count},) or {wanted}"
            raise ValueError(text) from error
        if zeros.ndim == 2:
            zeros = zeros.reshape(-1)
    if zeros.size and (zeros.min() < -128 or zeros.max() > 255):
        found = zeros[(zeros < -128) | (zeros > 255)].flat[0]
        raise ValueError(f"{name} is {found}; it must be a value of its operand's type")
    return np.ascontiguousarray(zeros, np.int32).reshape(zeros.shape)


def _part(zeros: NDArray[np.int32], at: tuple[int, ...]) -> NDArray[np.int32]:
    return (zeros if zeros.ndim < 2 else np.ascontiguousarray(zeros[at])).reshape(-1)
