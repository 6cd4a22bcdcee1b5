"""Products and decompositions of NumPy's that Ctrl-C does not wait for.

Python looks for signals between two of its own steps, and a large product or decomposition is one
step. Products and functions of elements are made in blocks. What cannot be made in blocks is made
by a thread, for which the main one waits: a signal ends the waiting, and the thread ends by itself,
heard by nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ELEMENTS", "by_rows", "product", "stoppable"]

#: Multiply-adds of a step: 20 to 100 ms of one core.
_STEP = 1 << 30
#: Elements of a step.
ELEMENTS = 1 << 22
#: Rows of a block, at least: with fewer, BLAS reads the other operand in vain.
_ROWS = 128


def product(a: NDArray[Any], b: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return ``a @ b``.

    Parameters
    ----------
    a : ndarray, (..., k)
    b : ndarray, (k, n)
    out : ndarray, optional
        C-contiguous, of the result's shape and type.

    Examples
    --------
    >>> import numpy as np
    >>> product(np.eye(2), np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[1., 2.],
           [3., 4.]])
    """
    k, n = b.shape
    if a.size * n <= _STEP or a.ndim < 2:
        return np.asarray(np.matmul(a, b, out=out) if out is not None else np.matmul(a, b))
    if out is None:
        out = np.empty((*a.shape[:-1], n), np.result_type(a, b))
    rows, results = a.reshape(-1, k), out.reshape(-1, n)
    height = max(_ROWS, _STEP // (k * n))
    width = max(_ROWS, _STEP // (k * height))
    for top in range(0, len(rows), height):
        for left in range(0, n, width):
            part = results[top : top + height, left : left + width]
            np.matmul(rows[top : top + height], b[:, left : left + width], out=part)
    return out


def by_rows(
    call: Callable[..., NDArray[Any]], *arrays: NDArray[Any], size: int = 0
) -> NDArray[Any]:
    """Return what a function of rows gives: one that treats each row by itself.

    Parameters
    ----------
    call : callable
        Takes parts of the arrays, and gives as many rows.
    *arrays : ndarray
        All of as many rows.
    size : int
        Elements of the result, where they are more than those of the first array.

    Examples
    --------
    >>> import numpy as np
    >>> by_rows(np.add, np.eye(2), np.ones((2, 2)))
    array([[2., 1.],
           [1., 2.]])
    """
    first = arrays[0]
    size = max(size, first.size)
    if size <= ELEMENTS or first.ndim == 0 or len(first) < 2:
        return call(*arrays)
    step = max(1, ELEMENTS * len(first) // size)
    out: NDArray[Any] | None = None
    for start in range(0, len(first), step):
        part = call(*(array[start : start + step] for array in arrays))
        if out is None:
            out = np.empty((len(first), *part.shape[1:]), part.dtype)
        out[start : start + step] = part
    assert out is not None
    return out


def stoppable(call: Callable[..., Any], *arrays: NDArray[Any], **options: Any) -> Any:
    """Return what a function that makes new arrays gives.

    Parameters
    ----------
    call : callable
        Changes nothing, for it may go on after nobody waits for it.
    *arrays : ndarray
        Its arguments; a step for each element and each column of the last is what it may cost.
    **options
        Its keywords.
    """
    work = max(array.size for array in arrays) * arrays[-1].shape[-1]
    if work <= _STEP // 4 or threading.current_thread() is not threading.main_thread():
        return call(*arrays, **options)
    found: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(call(*arrays, **options))
        except BaseException as error:
            failed.append(error)

    # NumPy's handling of errors belongs to the context.
    thread = threading.Thread(target=copy_context().run, args=(run,), daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]
