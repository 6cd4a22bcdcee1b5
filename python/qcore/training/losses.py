"""Losses: their value and their gradient with respect to the last layer's sums."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._arguments.validation import check_one_of
from qcore.errors import ArgumentError

__all__ = ["LOSSES", "loss_and_gradient", "resolve_loss"]

Floats = NDArray[np.float32]

#: Every loss by name, and the output activations that it goes with.
LOSSES = {
    "cross_entropy": ("softmax",),
    "binary_cross_entropy": ("sigmoid",),
    "mse": ("linear", "relu", "sigmoid", "tanh"),
}


def resolve_loss(loss: str, activation: str) -> str:
    """Return the loss for a network that ends in `activation`; "auto" is the one it goes with."""
    if loss == "auto":
        by_output = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}
        return by_output.get(activation, "mse")
    check_one_of(loss, "loss", ("auto", *LOSSES))
    if activation not in LOSSES[loss]:
        raise ArgumentError(
            "loss", f"loss is {loss!r}, which does not go with an output of {activation!r}"
        )
    return loss


def loss_and_gradient(
    loss: str,
    activation: str,
    sums: Floats,
    output: Floats,
    target: Floats,
    weight: float,
    delta: Floats,
) -> float:
    """Add the gradient of ``weight * loss`` to `delta`; return the weighted loss, a mean over rows.

    `sums` are the last layer's values before its activation, `output` those after it.
    """
    rows, cols = sums.shape
    if loss == "cross_entropy":
        return _core.softmax_loss(sums, target, cols, 1.0, weight, delta)
    if loss == "binary_cross_entropy":
        delta += np.float32(weight / rows) * (output - target)
        # log(1 + exp(-|z|)) does not overflow.
        terms = np.maximum(sums, 0) - sums * target + np.log1p(np.exp(-np.abs(sums)))
        total = float(terms.sum(dtype=np.float64))
        return float(weight * total / rows)
    difference = output - target
    gradient = np.float32(2 * weight / (rows * cols)) * difference
    if activation != "linear":
        _core.multiply_derivative(gradient, output, activation)
    delta += gradient
    return weight * float(np.mean(difference.astype(np.float64) ** 2))
