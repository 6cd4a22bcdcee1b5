"""What a weight is judged by: one score for each, the least of which go.

A new criterion is a function that scores, and a line in `CRITERIA`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.validation import check_finite, check_one_of, first_position, float_array
from qcore._runtime.interrupt import by_rows
from qcore.arrays.params.input_stats import InputStats

__all__ = [
    "CRITERIA",
    "Criterion",
    "Evidence",
    "find_criterion",
    "refuse_nan",
]


@dataclass(frozen=True)
class Evidence:
    """What a criterion may ask for besides the weights.

    Attributes
    ----------
    stats : InputStats or None
        Of the layer's inputs.
    gradient : ndarray or None
        Of the loss, with respect to the weights; of their shape.
    rng : Generator
    """

    stats: InputStats | None = None
    gradient: NDArray[Any] | None = None
    rng: np.random.Generator = field(default_factory=np.random.default_rng)


@dataclass(frozen=True)
class Criterion:
    """How weights are ranked.

    Attributes
    ----------
    name : str
    score : callable
        From weights and evidence to scores of the weights' shape; by their magnitude.
    power : int
        Blocks and neurons are judged by the mean of ``abs(score) ** power``.
    needs : str
        The evidence without which there is no score; "" for none.
    by_row : bool
        Whether each row loses the same share, within the scope "layer".
    updates : bool
        Whether what stays moves too, so that a score is not all there is; see
        `qcore.arrays.pruning.obs`.
    """

    name: str
    score: Callable[[NDArray[Any], Evidence], NDArray[Any]]
    power: int = 1
    needs: str = ""
    by_row: bool = False
    updates: bool = False


def _magnitude(w: NDArray[Any], evidence: Evidence) -> NDArray[Any]:
    return w


def _random(w: NDArray[Any], evidence: Evidence) -> NDArray[Any]:
    return evidence.rng.random(w.shape)


def _taylor(w: NDArray[Any], evidence: Evidence) -> NDArray[Any]:
    gradient = float_array(evidence.gradient, "gradient")  # type: ignore[arg-type]
    if gradient.shape != w.shape:
        raise ValueError(f"gradient has shape {gradient.shape}; it must be w's, {w.shape}")
    check_finite(gradient, "gradient")
    scores: NDArray[Any] = w.astype(np.float64) * gradient
    return scores


def _wanda(w: NDArray[Any], evidence: Evidence) -> NDArray[Any]:
    assert evidence.stats is not None
    powers = np.diagonal(evidence.stats.gram) / max(evidence.stats.count, 1)
    if w.ndim != 2 or w.shape[1] != len(powers):
        raise ValueError(f"w has shape {w.shape}; stats are of {len(powers)} inputs")
    scores: NDArray[Any] = w.astype(np.float64) * np.sqrt(powers)
    return scores


#: Every criterion by name. "magnitude" is "l2": for single weights the two and "l1" are one.
CRITERIA = {
    criterion.name: criterion
    for criterion in (
        Criterion("magnitude", _magnitude, power=2),
        Criterion("l1", _magnitude),
        Criterion("l2", _magnitude, power=2),
        Criterion("random", _random),
        Criterion("taylor", _taylor, needs="gradient"),
        Criterion("wanda", _wanda, needs="stats", by_row=True),
        Criterion("sparsegpt", _magnitude, needs="stats", updates=True),
    )
}


def find_criterion(criterion: object) -> Criterion:
    """Return the criterion of that name."""
    check_one_of(criterion, "criterion", CRITERIA)
    return CRITERIA[str(criterion)]


def refuse_nan(w: NDArray[Any], name: str) -> None:
    """Refuse an array with NaN, which has no rank, naming the first."""
    nan = by_rows(np.isnan, w)
    if nan.any():
        raise ValueError(f"{name}{first_position(nan)} is NaN; a NaN has no rank to prune by")
