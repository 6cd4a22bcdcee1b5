"""What draws weights to 0 while a network trains, and leaves some of them there.

A regularizer is a proximal step after each step of the optimizer, of the length of the learning
rate: what comes to 0 is exactly 0. Adam does not scale it, as it does not scale AdamW's decay, so a
strength is one of steps: 1 moves a weight as far as Adam's greatest step does.

Parikh and Boyd, "Proximal Algorithms", Foundations and Trends in Optimization 1(3), 2014.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qcore.errors import ArgumentError

__all__ = ["L1", "GroupLasso", "Regularizer"]

Weights = Mapping[str, NDArray[np.float32]]


class Regularizer(Protocol):
    """What `fit` asks of a regularizer."""

    def shrink(self, weights: Weights, learning_rate: float) -> None:
        """Draw weights nearer to 0, in place, after a step at this learning rate."""


@dataclass(frozen=True)
class L1:
    """Draws weights, but not biases, to 0: the proximal step of ``strength * sum(abs(w))``.

    Parameters
    ----------
    strength : float
        0 or more.

    References
    ----------
    Tibshirani, "Regression Shrinkage and Selection via the Lasso", JRSS B 58(1), 1996.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> w = np.array([[0.5, -0.01]], np.float32)
    >>> qc.nn.L1(0.2).shrink({"fc1.weight": w}, learning_rate=0.1)
    >>> w
    array([[0.48, 0.  ]], dtype=float32)
    """

    strength: float

    def __post_init__(self) -> None:
        _check_strength(self.strength)

    def shrink(self, weights: Weights, learning_rate: float) -> None:
        """Draw each weight nearer to 0 by the same."""
        by = np.float32(self.strength * learning_rate)
        for w in weights.values():
            if w.ndim >= 2:
                w -= np.clip(w, -by, by)


@dataclass(frozen=True)
class GroupLasso:
    """Draws hidden neurons to 0: the proximal step of ``strength * sqrt(inputs) * norm`` of each.

    Neurons that do little go as a whole, and `qcore.compact` then makes the arrays smaller. The
    last layer, whose neurons are the outputs, is left.

    Parameters
    ----------
    strength : float
        0 or more.

    References
    ----------
    Yuan and Lin, "Model selection and estimation in regression with grouped variables", JRSS B
    68(1), 2006. Wen et al., "Learning Structured Sparsity in Deep Neural Networks", NIPS 2016.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> w = np.array([[0.3, 0.4], [0.01, 0.0]], np.float32)
    >>> qc.nn.GroupLasso(1.0).shrink({"fc1.weight": w, "fc2.weight": np.ones((1, 2))}, 0.1)
    >>> w.round(3)
    array([[0.215, 0.287],
           [0.   , 0.   ]], dtype=float32)
    """

    strength: float

    def __post_init__(self) -> None:
        _check_strength(self.strength)

    def shrink(self, weights: Weights, learning_rate: float) -> None:
        """Draw each hidden neuron's weights nearer to 0 by the same distance."""
        matrices = [w for w in weights.values() if w.ndim >= 2]
        for w in matrices[:-1]:
            norms = np.sqrt(np.einsum("ij,ij->i", w, w))
            by = np.float32(self.strength * learning_rate * np.sqrt(w.shape[1]))
            w *= np.maximum(0, 1 - by / np.maximum(norms, np.finfo(np.float32).tiny))[:, None]


def _check_strength(strength: object) -> None:
    if isinstance(strength, (bool, str)) or not isinstance(strength, (int, float, np.number)):
        raise TypeError(f"strength is {strength!r}; it must be a number")
    if not 0 <= float(strength) < float("inf"):
        raise ArgumentError("strength", f"strength is {strength}; it must be 0 or more")
