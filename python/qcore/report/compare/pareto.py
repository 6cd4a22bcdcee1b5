"""The Pareto front: what is not beaten in both respects at once."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["TIME_TIE", "pareto_front"]

#: Times of one sample that differ by less, as a share, are the same: so much they differ by run.
TIME_TIE = 0.05


def pareto_front(
    accuracies: Sequence[float],
    costs: Sequence[float],
    ties: Sequence[Sequence[bool]] | None = None,
    slack: float = 0.0,
) -> list[bool]:
    """Tell which points lie on the front of high accuracy against low cost.

    A point lies on it unless another is at least as good in both respects and better in one. Equal
    points stand or fall together. A tie in accuracy is no victory: it goes to what costs less.

    Parameters
    ----------
    accuracies : sequence of float
        More is better.
    costs : sequence of float
        Less is better; as many as accuracies.
    ties : sequence of sequence of bool, optional
        Whether the accuracies of two points differ by no more than chance.
    slack : float, default 0
        Costs that differ by less, as a share, are equal.

    Returns
    -------
    list of bool
        For each point, whether it lies on the front.

    Examples
    --------
    >>> pareto_front([0.97, 0.96, 0.95], [400, 100, 200])
    [True, True, False]

    The first is better by luck alone:

    >>> tied = [[True, True], [True, True]]
    >>> pareto_front([0.971, 0.970], [400, 100], tied)
    [False, True]
    """
    points = list(enumerate(zip(accuracies, costs, strict=True)))

    def beats(i: int, j: int) -> bool:
        (_, (accuracy, cost)), (_, (other, paid)) = points[i], points[j]
        tied = ties is not None and ties[i][j]
        cheaper = cost * (1 + slack) < paid
        not_dearer = cost <= paid * (1 + slack)
        return (cheaper and (accuracy >= other or tied)) or (
            not_dearer and accuracy > other and not tied
        )

    return [not any(beats(i, j) for i, _ in points) for j, _ in points]
