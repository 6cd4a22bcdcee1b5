"""Which weights share a value: codes chosen by rate and distortion.

Each weight takes the level, 0 among them, that costs the least sum of error and bits:
``importance * (w - level)**2 + rate * bits``, where the bits are those of the coder that writes
the file, as its models stand at that position. Levels are the weighted means of their weights.
Assigning and averaging take turns.

Chou, Lookabaugh and Gray, "Entropy-constrained vector quantization", IEEE Trans. ASSP 37(1), 1989.
Choi, El-Khamy and Lee, "Towards the Limit of Network Quantization", ICLR 2017 (importance).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore.arrays.tensor.tensor import QTensor
from qcore.training.shared_weights import shared_tensor

__all__ = ["choose_codes"]

#: Turns of assigning and averaging: the sum hardly falls after them.
TURNS = 12


def choose_codes(
    w: NDArray[np.float32],
    importance: NDArray[Any] | None = None,
    *,
    levels: int = 8,
    rate: float = 0.0,
    stride: int = 0,
) -> QTensor:
    """Give a pruned matrix codes that are cheap to store and do little harm.

    Parameters
    ----------
    w : ndarray of float32, (outputs, inputs)
        Its zeros stay zeros.
    importance : ndarray, optional
        What an error costs at each weight, of w's shape, not negative; default: 1 everywhere.
    levels : int
        The most values besides 0; those that no weight takes are dropped.
    rate : float
        The price of a bit, as a share of the mean of ``importance * w**2`` over what is not 0:
        0 asks for the least error; the higher it is, the fewer bits, values and weights are left.
    stride : int
        The length of a line, where columns are the pixels of an image.

    Returns
    -------
    QTensor
        Of scheme "kmeans", one set of levels, 0 among them.
    """
    flat = np.ascontiguousarray(w).reshape(-1)
    moving = np.flatnonzero(flat)
    if not moving.size:
        return shared_tensor(np.zeros(w.shape, np.uint8), np.zeros(1, np.float32))
    values = flat[moving].astype(np.float64)
    weights = np.ones(values.size)
    if importance is not None:
        weights = np.asarray(importance, np.float64).reshape(-1)[moving]
        weights = weights / max(float(weights.mean()), np.finfo(np.float64).tiny) + 1e-3
    price = rate * float(np.mean(weights * values**2))
    book = np.unique(_core.kmeans(flat[moving], levels).astype(np.float64))
    book = np.append(book[book != 0.0], 0.0)
    codes = _nearest(values, weights, book, np.zeros(book.size), np.zeros(values.size), 0.0)
    for _ in range(TURNS):
        flags = _flag_bits(w.shape, moving, codes, book.size - 1, stride)
        bits = _level_bits(codes, book.size)
        codes = _nearest(values, weights, book, bits, flags, price)
        book, codes = _averaged(values, weights, book, codes)
    found = np.full(flat.size, book.size - 1, np.intp)
    found[moving] = codes
    return shared_tensor(found.reshape(w.shape), book.astype(np.float32))


def _nearest(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    book: NDArray[np.float64],
    bits: NDArray[np.float64],
    flags: NDArray[np.float64],
    price: float,
) -> NDArray[np.intp]:
    """Return each value's cheapest level; the last is 0, all others cost a flag more."""
    costs = weights[:, None] * (values[:, None] - book) ** 2 + price * bits
    costs[:, :-1] += price * flags[:, None]
    return np.asarray(costs.argmin(axis=1))


def _averaged(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    book: NDArray[np.float64],
    codes: NDArray[np.intp],
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the levels that are used, at the means of their values, and the codes for them."""
    masses = np.bincount(codes, weights, book.size)
    means = np.bincount(codes, weights * values, book.size) / np.where(masses > 0, masses, 1.0)
    means[-1] = 0.0
    used = np.flatnonzero(masses > 0)
    used = used if used.size and used[-1] == book.size - 1 else np.append(used, book.size - 1)
    place = np.zeros(book.size, np.intp)
    place[used] = np.arange(used.size)
    return means[used], place[codes]


def _level_bits(codes: NDArray[np.intp], size: int) -> NDArray[np.float64]:
    """Return what it costs to say which level it is, once it is known not to be 0."""
    counts = np.bincount(codes, minlength=size)[:-1] + 0.5
    return np.append(-np.log2(counts / counts.sum()), 0.0)


def _flag_bits(
    shape: tuple[int, ...],
    moving: NDArray[np.intp],
    codes: NDArray[np.intp],
    zero: int,
    stride: int,
) -> NDArray[np.float64]:
    """Return how many more bits it costs, at each weight, not to be 0."""
    full = np.zeros(shape, np.uint8)
    full.reshape(-1)[moving] = codes != zero
    rows, columns = shape
    no, yes = np.empty(shape, np.float32), np.empty(shape, np.float32)
    _core.entropy_costs(full, (rows, columns, 2, 0, stride), no, yes)
    extra: NDArray[np.float64] = (yes - no).reshape(-1)[moving].astype(np.float64)
    return extra
