"""Coordinate descent: one code at a time, where that lowers the error of the output.

In turn, the step of each group goes to where it is best for its codes.

Nair and Suggala, "CDQuant: Accurate Post-training Weight Quantization of Large Pre-trained Models
using Greedy Coordinate Descent", 2024.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qcore import _core

__all__ = ["ROUNDS", "descend"]

Matrix = NDArray[np.float64]
Levels = NDArray[np.int32]

#: Rounds over all columns.
ROUNDS = 4


def descend(
    product: Matrix, hessian: Matrix, scale: Matrix, low: Levels, high: Levels,
    pruned: NDArray[np.bool_], group: int, levels: Levels, rounds: int, *, refit: bool,
) -> Matrix:  # fmt: skip
    """Improve levels (rows, columns) in place; returns the steps that go with them.

    `product` is the target times `hessian`; `scale`, `low` and `high` are (rows, groups). Steps
    move only where `refit` is True.
    """
    found = np.empty_like(scale)
    _core.descend(product, hessian, scale, low, high, pruned, group, rounds, refit, found, levels)
    return found
