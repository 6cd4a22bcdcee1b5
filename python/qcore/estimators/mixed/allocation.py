"""Which width each row of each layer gets under a budget: a multiple-choice knapsack, exactly.

Every row takes one of the widths; the sum of the costs may not pass the budget, and the sum of the
errors is to be least. Dynamic programming over the budget, in the greatest unit that all costs
share (Kellerer, Pferschy and Pisinger, "Knapsack Problems", 2004, section 11.5). Where the table
would be too large, costs are rounded up to a coarser unit: the budget still holds, and the result
is the best of those that hold it so counted. One table answers for all budgets below its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LayerChoice", "allocate", "allocate_each"]

#: The most cells of the table.
CELLS = 3 * 10**8

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LayerChoice:
    """What the rows of a layer can be.

    Attributes
    ----------
    costs : sequence of int
        What a row costs at each width.
    errors : ndarray of float64, (rows, widths)
        What each row loses at each width.
    """

    costs: Sequence[int]
    errors: Floats


def allocate(layers: Sequence[LayerChoice], budget: int) -> list[NDArray[np.intp]]:
    """Return, for each layer, the index of each row's width.

    Raises
    ------
    ValueError
        If nothing fits the budget.
    """
    return allocate_each(layers, [budget])[0]


def allocate_each(
    layers: Sequence[LayerChoice], budgets: Sequence[int]
) -> list[list[NDArray[np.intp]]]:
    """Return what `allocate` does for each budget, from one table."""
    if min(budgets) < 0:
        raise ValueError("the target is too low: not even the fewest bits fit it")
    unit = _unit(layers, max(budgets))
    best = np.full(max(budgets) // unit + 1, np.inf)
    best[0] = 0.0
    taken: list[list[NDArray[np.uint8]]] = []
    for layer in layers:
        choices: list[NDArray[np.uint8]] = []
        costs = [_units(cost, unit) for cost in layer.costs]
        for row in layer.errors:
            best, choice = _row(best, costs, row)
            choices.append(choice)
        taken.append(choices)
    found = []
    for budget in budgets:
        within = best[: budget // unit + 1]
        if not np.isfinite(within).any():
            raise ValueError("the target is too low: not even the fewest bits fit it")
        found.append(_traced(layers, taken, int(within.argmin()), unit))
    return found


def _row(best: Floats, costs: list[int], errors: Floats) -> tuple[Floats, NDArray[np.uint8]]:
    """Return the table after one more row, and the width that the row has in each cell."""
    found = np.full(best.shape, np.inf)
    choice = np.zeros(best.shape, np.uint8)
    for index, (cost, error) in enumerate(zip(costs, errors, strict=True)):
        other = _shifted(best, cost) + error
        better = other < found
        found[better] = other[better]
        choice[better] = index
    return found, choice


def _traced(
    layers: Sequence[LayerChoice], taken: list[list[NDArray[np.uint8]]], at: int, unit: int
) -> list[NDArray[np.intp]]:
    """Walk back from the cell of the least error."""
    found: list[NDArray[np.intp]] = []
    for layer, choices in zip(layers[::-1], taken[::-1], strict=True):
        rows = np.zeros(len(choices), np.intp)
        for index in range(len(choices) - 1, -1, -1):
            rows[index] = choices[index][at]
            at -= _units(layer.costs[rows[index]], unit)
        found.append(rows)
    return found[::-1]


def _unit(layers: Sequence[LayerChoice], budget: int) -> int:
    costs = {cost for layer in layers for cost in layer.costs}
    unit = max(1, int(np.gcd.reduce(np.array(sorted(costs), np.int64))))
    rows = sum(len(layer.errors) + 1 for layer in layers)
    while (budget // unit + 1) * rows > CELLS:
        unit *= 2
    return unit


def _units(cost: int, unit: int) -> int:
    return -(-cost // unit)


def _shifted(best: Floats, by: int) -> Floats:
    if by == 0:
        return np.array(best)
    moved: Floats = np.full(best.shape, np.inf)
    if by < len(best):
        moved[by:] = best[:-by]
    return moved
