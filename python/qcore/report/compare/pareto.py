"""The Pareto front: what is not beaten in both respects at once."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["pareto_front"]


def pareto_front(accuracies: Sequence[float], costs: Sequence[float]) -> list[bool]:
    """Tell which points lie on the front of high accuracy against low cost.

    A point lies on it unless another is at least as good in both respects and better in one. Equal
    points stand or fall together.

    Parameters
    ----------
    accuracies : sequence of float
        More is better.
    costs : sequence of float
        Less is better; as many as accuracies.

    Returns
    -------
    list of bool
        For each point, whether it lies on the front.

    Examples
    --------
    >>> pareto_front([0.97, 0.96, 0.95], [400, 100, 200])
    [True, True, False]
    """
    points = list(zip(accuracies, costs, strict=True))
    return [not any(_beats(other, point) for other in points) for point in points]


def _beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] >= b[0] and a[1] <= b[1] and a != b
