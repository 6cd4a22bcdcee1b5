"""What a network is trained towards: labels and numbers as rows of floats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.arrays import as_array
from qcore._arguments.validation import check_finite
from qcore.chain.labels import are_labels, classes_of, label_codes, target_rows

__all__ = ["encode_targets"]

Floats = NDArray[np.float32]


def encode_targets(
    y: ArrayLike, outputs: int, activation: str, classes: NDArray[Any] | None
) -> tuple[Floats, NDArray[Any] | None]:
    """Return targets (n, outputs) as floats, and the classes where `y` are labels."""
    values = as_array(y, "y")
    ends_in_classes = activation == "softmax" or (activation == "sigmoid" and outputs == 1)
    if ends_in_classes and are_labels(values, outputs, activation, classes):
        labels = values.reshape(-1)
        if labels.dtype.kind == "f":
            check_finite(labels, "y")
        if not labels.size:
            raise ValueError("y is empty; there must be a label for each sample")
        known = classes_of(labels, outputs) if classes is None else classes
        codes = label_codes(labels, outputs, known)
        if outputs == 1:
            return codes.astype(np.float32).reshape(-1, 1), known
        target = np.zeros((len(labels), outputs), np.float32)
        target[np.arange(len(labels)), codes] = 1.0
        return target, known
    return np.ascontiguousarray(target_rows(values, outputs), np.float32), classes
