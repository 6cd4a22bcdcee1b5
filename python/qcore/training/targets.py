"""What a network is trained towards: labels and numbers as rows of floats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._validation import check_finite

__all__ = ["encode_targets"]

Floats = NDArray[np.float32]


def encode_targets(
    y: ArrayLike, outputs: int, activation: str, classes: NDArray[Any] | None
) -> tuple[Floats, NDArray[Any] | None]:
    """Return targets (n, outputs) as floats, and the classes where `y` are labels."""
    values = np.asarray(y)
    if values.ndim == 1 and (activation == "softmax" or (activation == "sigmoid" and outputs == 1)):
        return _encode_labels(values, outputs, classes)
    if values.dtype.kind not in "fiub":
        raise TypeError(f"y has dtype {values.dtype}; targets must be numbers")
    target = values.astype(np.float32).reshape(len(values), -1)
    if target.shape[1] != outputs:
        raise ValueError(f"y has shape {values.shape}; it must be (n, {outputs})")
    check_finite(target, "y")
    return np.ascontiguousarray(target), classes


def _encode_labels(
    labels: NDArray[Any], outputs: int, classes: NDArray[Any] | None
) -> tuple[Floats, NDArray[Any]]:
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        check_finite(labels, "y")
    count = max(outputs, 2)
    if classes is None:
        found = np.unique(labels)
        whole = found.dtype.kind in "iu" and found[0] >= 0 and found[-1] < count
        if not whole and len(found) < count:
            # Which output would mean which label, and the rest nothing, nobody could tell.
            labels_are = f"0 to {count - 1}, or {count} different ones"
            raise ValueError(
                f"y has the labels {found.tolist()}; of {outputs} outputs they must be {labels_are}"
            )
        classes = np.arange(count) if whole else found
    if len(classes) > count:
        raise ValueError(
            f"y has {len(classes)} different labels; the network has {outputs} outputs"
        )
    codes = np.searchsorted(classes, labels)
    codes[codes == len(classes)] = 0
    wrong = classes[codes] != labels
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ValueError(f"y[{at}] is {labels[at]!r}, which is not one of {list(classes)}")
    if outputs == 1:
        return codes.astype(np.float32).reshape(-1, 1), classes
    target = np.zeros((len(labels), outputs), np.float32)
    target[np.arange(len(labels)), codes] = 1.0
    return target, classes
