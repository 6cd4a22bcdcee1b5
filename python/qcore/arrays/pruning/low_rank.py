"""Low rank: a matrix as the product of two thin ones, and what is left over in few bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from qcore._arguments.validation import (
    check_finite,
    check_fraction,
    check_int,
    float_array,
)
from qcore._runtime.interrupt import product, stoppable
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.tensor.functions import quantize
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import ArgumentError

__all__ = ["LowRank", "factorize"]

#: How often factors and residual are fitted to each other: their error hardly falls after it.
TURNS = 3
#: How the residual's codes are found where there are statistics.
ALGORITHM = ("clip_search", "gptq", "coordinate_descent")


@dataclass(frozen=True)
class LowRank:
    """A matrix as ``left @ right + residual``.

    Attributes
    ----------
    left : ndarray of float32 or float16, (outputs, rank)
    right : ndarray of the same, (rank, inputs)
    residual : QTensor or None
        (outputs, inputs).
    energy : float
        The share of the sum of squares that ``left @ right`` holds.
    """

    left: NDArray[np.floating]
    right: NDArray[np.floating]
    residual: QTensor | None
    energy: float

    @property
    def rank(self) -> int:
        """The columns of `left`."""
        return int(self.left.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of all parts as stored."""
        rest = 0 if self.residual is None else self.residual.nbytes
        return int(self.left.nbytes + self.right.nbytes + rest)

    def to_dense(self) -> NDArray[np.float32]:
        """Return the matrix that this stands for, (outputs, inputs) float32."""
        product = self.left.astype(np.float32) @ self.right.astype(np.float32)
        return product if self.residual is None else product + self.residual.dequantize()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.to_dense(), dtype)


def factorize(
    w: ArrayLike,
    *,
    rank: int | None = None,
    energy: float | None = None,
    residual_bits: int | None = None,
    group_size: int | None = None,
    stats: InputStats | None = None,
    dtype: DTypeLike = np.float32,
) -> LowRank:
    """Approximate a matrix by two thin ones, and the rest, if asked for, by integers.

    Parameters
    ----------
    w : array_like of float, (outputs, inputs)
        The matrix.
    rank : int, optional
        Columns of the left and rows of the right factor. Give it or `energy`.
    energy : float, optional
        The least rank whose product holds this share, 0 to 1, of the sum of squares.
    residual_bits : int, optional
        Quantize what is left over to so many bits, 2 to 8, symmetric, a scale for each row or
        group; factors and codes are fitted to each other in turns.
    group_size : int, optional
        Of the residual; default: a scale for each row.
    stats : InputStats, optional
        Of the layer's inputs: the least error of the layer's output is sought, not that of the
        weights.
    dtype : float32 or float16, default float32
        Of the factors; what float16 loses, a residual makes up for.

    Returns
    -------
    LowRank

    Raises
    ------
    TypeError
        If `w` is not a float array.
    ValueError
        If `w` is no finite matrix, or options do not fit.

    References
    ----------
    Eckart and Young, "The approximation of one matrix by another of lower rank", Psychometrika
    1936. Yao et al., "ZeroQuant-V2", 2023 (low-rank compensation). Li et al., "LoftQ", ICLR 2024
    (turns). With statistics: Wang et al.,
    "SVD-LLM", ICLR 2025.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> w = np.outer(np.arange(1.0, 5.0), [1.0, -2.0, 0.5]).astype(np.float32)
    >>> parts = qc.factorize(w, rank=1)
    >>> parts.left.shape, parts.right.shape, bool(np.allclose(parts.to_dense(), w))
    ((4, 1), (1, 3), True)
    """
    array = float_array(w, "w")
    check_finite(array, "w")
    if array.ndim != 2 or not array.size:
        raise ValueError(f"w has shape {array.shape}; it must be a matrix")
    wide = array.astype(np.float64)
    if stats is not None and not hasattr(stats, "gram"):
        raise TypeError(f"stats is {type(stats).__name__}; it must be an InputStats")
    root = None if stats is None else _root(stats, array.shape[1])
    values = stoppable(
        np.linalg.svd, wide if root is None else product(wide, root), compute_uv=False
    )
    squares = np.cumsum(values**2) / max(float(np.sum(values**2)), np.finfo(np.float64).tiny)
    count = _rank(rank, energy, squares)
    kind = np.dtype(dtype)
    if kind not in (np.float32, np.float16):
        raise TypeError(f"dtype is {kind}; factors are float32 or float16")
    held = float(squares[count - 1]) if count else 0.0
    left, right = _factors(wide, root, count, kind)
    if residual_bits is None:
        return LowRank(left, right, None, held)
    bits = check_int(residual_bits, "residual_bits", 2, 8)
    residual = _residual(wide, left, right, bits, group_size, stats)
    for _ in range(TURNS if count else 0):
        left, right = _factors(wide - residual.dequantize(dtype=np.float64), root, count, kind)
        residual = _residual(wide, left, right, bits, group_size, stats)
    return LowRank(left, right, residual, held)


def _factors(
    w: NDArray[np.float64], root: NDArray[np.float64] | None, rank: int, dtype: np.dtype[Any]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the factors of a rank that are nearest; with a root, in what they give."""
    left, values, right = stoppable(
        np.linalg.svd, w if root is None else product(w, root), full_matrices=False
    )
    root_values = np.sqrt(values[:rank])
    left = left[:, :rank] * root_values
    right = root_values[:, None] * right[:rank]
    if root is not None:
        right = stoppable(np.linalg.solve, root.T, right.T).T
    return left.astype(dtype), right.astype(dtype)


def _residual(
    w: NDArray[np.float64],
    left: NDArray[np.floating],
    right: NDArray[np.floating],
    bits: int,
    group_size: int | None,
    stats: InputStats | None,
) -> QTensor:
    """Return what the factors leave, in codes."""
    rest = (w - left.astype(np.float64) @ right.astype(np.float64)).astype(np.float32)
    axis = 0 if group_size is None else None
    fitted: dict[str, Any] = {"observer": "mse"}
    if stats is not None:
        fitted = {"algorithm": ALGORITHM, "stats": stats}
    return quantize(rest, bits=bits, axis=axis, group_size=group_size, **fitted)


def _rank(rank: int | None, energy: float | None, squares: NDArray[np.float64]) -> int:
    if (rank is None) == (energy is None):
        raise ArgumentError("rank", f"rank is {rank} and energy is {energy}; give one of them")
    if rank is not None:
        return check_int(rank, "rank", 0, len(squares))
    share = check_fraction(energy, "energy")
    # Rounding may leave the sum of all a hair below 1.
    return min(len(squares), int(np.searchsorted(squares, share * (1 - 1e-12))) + 1)


def _root(stats: InputStats, inputs: int) -> NDArray[np.float64]:
    """Return a matrix R with ``R Rᵀ`` next to XᵀX / count, of full rank."""
    if stats.gram.shape != (inputs, inputs):
        raise ValueError(f"w has {inputs} inputs; stats are of {len(stats.gram)}")
    gram = np.array(stats.gram, np.float64) / max(stats.count, 1)
    at = np.arange(inputs)
    mean = float(np.mean(gram[at, at]))
    gram[at, at] += 1e-6 * mean if mean else 1.0
    return np.asarray(stoppable(np.linalg.cholesky, gram), np.float64)
