"""The activations, on NumPy arrays, as training and calibration compute them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core

__all__ = ["activate", "softmax"]


def softmax(logits: NDArray[np.floating[Any]], temperature: float = 1.0) -> NDArray[Any]:
    """Return ``exp(logits / T)`` of each row, scaled to sum to 1."""
    scaled: NDArray[Any] = logits / np.float32(temperature)
    scaled -= scaled.max(axis=-1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=-1, keepdims=True)
    return scaled


def activate(z: NDArray[np.float32], bias: NDArray[np.float32] | None, activation: str) -> None:
    """Compute ``z = activation(z + bias)`` in place, for rows of a C-contiguous float32 array."""
    _core.finish_rows(z, z.shape[-1], bias, activation)
