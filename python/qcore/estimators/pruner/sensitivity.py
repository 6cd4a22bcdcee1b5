"""How sparse each layer may be: by what pruning it alone does to the network's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.validation import single_samples
from qcore._display.progress import EpochProgress, Progress
from qcore.chain.chain import Chain

__all__ = ["FINE", "GRID", "Trial", "sensitive_targets", "shared_out"]

#: From a tensor's name and a sparsity to the tensors that pruning it so far changes.
Trial = Callable[[str, float], Mapping[str, NDArray[Any]]]

#: The most samples on which damage is measured.
SAMPLES = 4096

#: The sparsities at which each layer is tried.
GRID = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 1.0)
#: Those where a try costs next to nothing.
FINE = tuple(step / 40 for step in range(41))


def sensitive_targets(
    net: Chain,
    targets: Mapping[str, float],
    X: ArrayLike,
    trial: Trial,
    progress: Progress = False,
) -> dict[str, float]:
    """Return a sparsity for each tensor that keeps as many weights as `targets` in sum.

    Each tensor is pruned alone at every sparsity of a grid, and the mean squared change of the
    logits measured; the damages add up nearly enough, so the sum is least where a further weight
    costs the same everywhere. Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017,
    section 3.2, look at such curves by eye.

    Parameters
    ----------
    net : Sequential
    targets : mapping of str to float
        The tensors, and the sparsity that they are to have together.
    X : array_like, (n, inputs)
        Samples, of which some thousand are used.
    trial : callable
        From a tensor's name and a sparsity to the tensors that change.
    progress : bool, "auto" or callable
        As in `Sequential.fit`.
    """
    samples = single_samples(X, net.layers[0].in_features)
    samples = samples[:: -(-len(samples) // SAMPLES)]
    weights = net.named_weights()
    before = net.predict_logits(samples).astype(np.float64)

    def damage(name: str, sparsity: float) -> float:
        changed = net.with_weights(trial(name, sparsity))
        return float(np.mean((changed.predict_logits(samples) - before) ** 2))

    sizes = {name: int(weights[name].size) for name in targets}
    return shared_out(targets, sizes, damage, progress)


def shared_out(
    targets: Mapping[str, float],
    sizes: Mapping[str, int],
    damage: Callable[[str, float], float],
    progress: Progress = False,
    grid: Sequence[float] = GRID,
) -> dict[str, float]:
    """Return a sparsity for each tensor that keeps as many weights as `targets` in sum.

    Parameters
    ----------
    targets, sizes : mapping of str to number
        The sparsity that the tensors are to have together, and how many weights each has.
    damage : callable
        From a tensor's name and a sparsity to what pruning it alone does to the output.
    progress
    grid : sequence of float
        The sparsities that are tried, from 0 to 1.
    """
    budget = sum((1.0 - share) * sizes[name] for name, share in targets.items())
    curves: dict[str, NDArray[np.float64]] = {}
    with EpochProgress(progress, len(targets), "sensitivity") as ticker:
        for name in targets:
            ticker.update(len(curves), name)
            curves[name] = np.maximum.accumulate(np.array([damage(name, s) for s in grid]))
    return _allocate(curves, sizes, budget, grid)


def _allocate(
    curves: Mapping[str, NDArray[np.float64]],
    sizes: Mapping[str, int],
    budget: float,
    grid: Sequence[float],
) -> dict[str, float]:
    """Minimize the sum of the damages; between the points of the grid they are lines.

    The lower convex hull of each curve is what a Lagrange multiplier can reach; taking its pieces
    by damage per weight, the cheapest first, is the optimum.
    """
    pieces = []
    for name, damage in curves.items():
        hull = _convex_hull(damage, grid)
        for left, right in pairwise(hull):
            length = (grid[right] - grid[left]) * sizes[name]
            pieces.append(((damage[right] - damage[left]) / length, name, length))
    left_over = sum(sizes.values()) - budget
    pruned = dict.fromkeys(curves, 0.0)
    for _, name, length in sorted(pieces):
        part = min(length, left_over)
        pruned[name] += part
        left_over -= part
    return {name: min(1.0, max(0.0, pruned[name] / max(sizes[name], 1))) for name in curves}


def _convex_hull(damage: NDArray[np.float64], grid: Sequence[float]) -> list[int]:
    hull: list[int] = []
    for index in range(len(grid)):
        while len(hull) > 1 and _is_above(damage, grid, hull[-2], hull[-1], index):
            hull.pop()
        hull.append(index)
    return hull


def _is_above(
    damage: NDArray[np.float64], grid: Sequence[float], left: int, middle: int, right: int
) -> bool:
    """Whether the middle point does not lie below the line through the others."""
    share = (grid[middle] - grid[left]) / (grid[right] - grid[left])
    return bool(damage[middle] >= damage[left] + share * (damage[right] - damage[left]))
