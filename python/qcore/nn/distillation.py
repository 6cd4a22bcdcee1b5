"""Distillation: a student learns from what its teachers answer, not from labels alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore.nn.activations import softmax

if TYPE_CHECKING:
    from qcore.nn.sequential import Sequential

__all__ = ["Teacher", "soft_targets"]

#: A trained network, or any function from samples (n, inputs) to logits (n, outputs).
Teacher = "Sequential | Callable[[NDArray[np.float32]], NDArray[Any]]"


def soft_targets(
    teacher: Sequential | Callable[[NDArray[np.float32]], NDArray[Any]],
    X: NDArray[np.float32],
    outputs: int,
    temperature: float,
) -> NDArray[np.float32]:
    """Return ``softmax(teacher's logits / T)`` for every sample, computed once, block by block.

    Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """
    ask = teacher if callable(teacher) else teacher.predict_logits
    targets = np.empty((len(X), outputs), np.float32)
    for start in range(0, len(X), 4096):
        block = X[start : start + 4096]
        logits = np.asarray(ask(block), np.float32)
        if logits.shape != (len(block), outputs):
            wanted = (len(block), outputs)
            raise ValueError(f"teacher gave logits of shape {logits.shape}; they must be {wanted}")
        if not np.isfinite(logits).all():
            raise ValueError("teacher gave logits that are not finite")
        targets[start : start + 4096] = softmax(logits, temperature)
    return targets
