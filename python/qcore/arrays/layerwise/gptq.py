"""GPTQ: columns are rounded one by one, and those that are left make up for each error.

Frantar, Ashkboos, Hoefler and Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", ICLR 2023. Columns go in the order of falling diagonals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._runtime.interrupt import stoppable

__all__ = ["Factor", "factored", "gptq_levels"]

Matrix = NDArray[np.float64]
Levels = NDArray[np.int32]

#: The upper factor R⁻¹ of the inverse, and the order of the columns.
Factor = tuple[Matrix, NDArray[np.int64]]


def factored(hessian: Matrix) -> Factor:
    """Return what GPTQ needs of the second moment of the inputs; once for all steps tried."""
    order = np.argsort(-np.diag(hessian), kind="stable").astype(np.int64)
    # H = R Rᵀ with R upper, by Cholesky from the other end; so H⁻¹ = (R⁻¹)ᵀ R⁻¹.
    backwards = order[::-1]
    root = stoppable(np.linalg.cholesky, hessian[np.ix_(backwards, backwards)])[::-1, ::-1]
    return np.ascontiguousarray(np.triu(stoppable(np.linalg.inv, root))), order


def gptq_levels(
    target: Matrix, factor: Factor, scale: Matrix, low: Levels, high: Levels,
    pruned: NDArray[np.bool_], group: int,
) -> Levels:  # fmt: skip
    """Return levels (rows, columns) that make up for each other's errors.

    `scale`, `low` and `high` are (rows, groups); what is pruned keeps level 0.
    """
    levels = np.empty(target.shape, np.int32)
    _core.gptq(target, *factor, scale, low, high, pruned, group, levels)
    return levels
