"""Which width each row of each layer gets under a budget: a multiple-choice knapsack, exactly.

Every row takes one of the integer widths, or its whole layer stays a float; the sum of the costs
may not pass the budget, and the sum of the errors is to be least. Dynamic programming over the
budget, in the greatest unit that all costs share (Kellerer, Pferschy and Pisinger, "Knapsack
Problems", 2004, section 11.5). Where the table would be too large, costs are rounded up to a
coarser unit: the budget still holds, and the result is the best of those that hold it so counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["LayerChoice", "allocate"]

#: The most cells of the table.
CELLS = 3 * 10**8

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LayerChoice:
    """What a layer can be.

    Attributes
    ----------
    costs : sequence of int
        What a row costs at each width.
    errors : ndarray of float64, (rows, widths)
        What each row loses at each width.
    base_cost : int
        What the layer costs besides, if its rows are integers.
    base_error : float
        What it loses besides, if its rows are integers: by its integer input.
    floats : dict of str to (int, float)
        Types in which the layer may stay a float: cost and error.
    """

    costs: Sequence[int]
    errors: Floats
    base_cost: int = 0
    base_error: float = 0.0
    floats: dict[str, tuple[int, float]] = field(default_factory=dict)


def allocate(layers: Sequence[LayerChoice], budget: int) -> list[NDArray[np.intp] | str]:
    """Return, for each layer, the index of each row's width, or the type it stays in.

    Raises
    ------
    ValueError
        If nothing fits the budget.
    """
    unit = _unit(layers, budget)
    room = budget // unit
    best = np.full(room + 1, np.inf)
    best[0] = 0.0
    taken: list[list[NDArray[np.uint8]]] = []
    kept: list[NDArray[np.uint8]] = []
    for layer in layers:
        before = best
        best = _shifted(before, _units(layer.base_cost, unit)) + layer.base_error
        choices: list[NDArray[np.uint8]] = []
        for row in layer.errors:
            best, choice = _row(best, [_units(cost, unit) for cost in layer.costs], row)
            choices.append(choice)
        as_float = np.zeros(room + 1, np.uint8)
        for place, (cost, error) in enumerate(layer.floats.values(), 1):
            other = _shifted(before, _units(cost, unit)) + error
            better = other < best
            best = np.where(better, other, best)
            as_float[better] = place
        taken.append(choices)
        kept.append(as_float)
    if not np.isfinite(best).any():
        raise ValueError("the target is too low: not even the fewest bits fit it")
    return _traced(layers, taken, kept, int(best.argmin()), unit)


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
    layers: Sequence[LayerChoice],
    taken: list[list[NDArray[np.uint8]]],
    kept: list[NDArray[np.uint8]],
    at: int,
    unit: int,
) -> list[NDArray[np.intp] | str]:
    """Walk back from the cell of the least error."""
    found: list[NDArray[np.intp] | str] = []
    for layer, choices, as_float in zip(layers[::-1], taken[::-1], kept[::-1], strict=True):
        if as_float[at]:
            name = list(layer.floats)[as_float[at] - 1]
            at -= _units(layer.floats[name][0], unit)
            found.append(name)
            continue
        rows = np.zeros(len(choices), np.intp)
        for index in range(len(choices) - 1, -1, -1):
            rows[index] = choices[index][at]
            at -= _units(layer.costs[rows[index]], unit)
        at -= _units(layer.base_cost, unit)
        found.append(rows)
    return found[::-1]


def _unit(layers: Sequence[LayerChoice], budget: int) -> int:
    costs = {cost for layer in layers for cost in (*layer.costs, layer.base_cost)}
    costs |= {cost for layer in layers for cost, _ in layer.floats.values()}
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
