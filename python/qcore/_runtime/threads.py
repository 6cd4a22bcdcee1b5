"""How many threads the kernels have."""

from __future__ import annotations

from qcore import _core
from qcore._arguments.validation import check_int

__all__ = ["num_threads", "set_num_threads"]


def num_threads() -> int:
    """Return how many threads qcore's kernels run on.

    Returns
    -------
    int
        What `set_num_threads` was given last, else ``QCORE_NUM_THREADS``, else the CPUs that this
        process may use.

    Examples
    --------
    >>> import qcore as qc
    >>> qc.num_threads() >= 1
    True
    """
    return _core.num_threads()


def set_num_threads(count: int) -> None:
    """Say how many threads qcore's kernels run on, from the next call on, in the whole process.

    Results do not depend on it. NumPy's BLAS, which multiplies the floats of dense chains, has
    threads of its own.

    Parameters
    ----------
    count : int
        1 or more.

    Raises
    ------
    TypeError
        If `count` is no integer.
    ValueError
        If `count` is below 1.

    Examples
    --------
    >>> import qcore as qc
    >>> before = qc.num_threads()
    >>> qc.set_num_threads(1)
    >>> qc.num_threads()
    1
    >>> qc.set_num_threads(before)
    """
    _core.set_num_threads(check_int(count, "count", 1))
