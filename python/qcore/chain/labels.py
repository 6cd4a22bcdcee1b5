"""What `y` says: labels of a classifier, as places among its outputs, or numbers to come near to.

The one reading of labels: training, scores, the comparison of networks and the command use it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.arrays import as_array
from qcore._arguments.validation import check_finite
from qcore.errors import ArgumentError

__all__ = ["are_labels", "classes_of", "label_codes", "target_rows"]

Codes = NDArray[np.intp]


def are_labels(
    y: NDArray[Any], outputs: int, activation: str, classes: NDArray[Any] | None
) -> bool:
    """Whether `y` names one class for each sample; else it has a number for each output.

    So it does where the network ends in softmax or one sigmoid; and where it ends in logits, if it
    has `classes`, or if there is one `y` for several outputs. One linear output without classes is
    a regression.
    """
    one_each = y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1)
    if activation == "softmax" or (activation == "sigmoid" and outputs == 1):
        return one_each
    if activation == "sigmoid" or not one_each:
        return False
    return outputs > 1 or classes is not None


def classes_of(labels: NDArray[Any], outputs: int) -> NDArray[Any]:
    """Return the classes that a network without any learns from labels."""
    count = max(outputs, 2)
    found = np.unique(labels)
    whole = found.dtype.kind in "iu" and found[0] >= 0 and found[-1] < count
    if not whole and len(found) < count:
        # Which output would mean which label, and the rest nothing, nobody could tell.
        wanted = f"0 to {count - 1}, or {count} different ones"
        raise ArgumentError(
            "y", f"y has the labels {found.tolist()}; of {outputs} outputs they must be {wanted}"
        )
    classes: NDArray[Any] = np.arange(count) if whole else found
    if len(classes) > count:
        raise ArgumentError(
            "y", f"y has {len(classes)} different labels; the network has {outputs} outputs"
        )
    return classes


def label_codes(y: ArrayLike, outputs: int, classes: NDArray[Any] | None) -> Codes:
    """Return the place of each label among the classes, (n,).

    Without classes, labels are the places themselves, 0 up to the number of outputs.

    Raises
    ------
    ValueError
        If a label is none of the classes; names the first.
    """
    labels = as_array(y, "y").reshape(-1)
    if labels.dtype.kind == "f":
        check_finite(labels, "y")
    if classes is None:
        if labels.dtype.kind not in "iufb":
            found = f"y[0] is {_shown(labels)}" if len(labels) else f"y has dtype {labels.dtype}"
            raise ArgumentError(
                "y",
                f"{found}; the network has no names for its {max(outputs, 2)} classes, so labels "
                "are whole numbers from 0: set its classes_",
            )
        classes = np.arange(max(outputs, 2))
    elif (labels.dtype.kind in "OUS") != (classes.dtype.kind in "OUS") and len(labels):
        raise ArgumentError(
            "y", f"y[0] is {_shown(labels)}, which is not one of {list(classes.tolist())}"
        )
    order = np.argsort(classes, kind="stable")
    places = np.searchsorted(classes, labels, sorter=order)
    codes = order[np.minimum(places, len(classes) - 1)]
    wrong = classes[codes] != labels
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ArgumentError(
            "y", f"y[{at}] is {_shown(labels, at)}, which is not one of {list(classes.tolist())}"
        )
    return codes


def target_rows(y: NDArray[Any], outputs: int) -> NDArray[Any]:
    """Return a number for each output of each sample, (n, outputs)."""
    if y.dtype == object and all(isinstance(value, (int, float)) for value in y.flat):
        y = y.astype(np.float64)
    if y.dtype.kind not in "fiub":
        raise TypeError(f"y has dtype {y.dtype}; targets must be numbers")
    rows = y.reshape(len(y), -1) if y.ndim else y
    if rows.ndim != 2 or rows.shape[1] != outputs:
        wanted = f"(n, {outputs})" if outputs > 1 else "(n,)"
        raise ArgumentError("y", f"y has shape {y.shape}; it must be {wanted}")
    check_finite(rows, "y")
    return rows


def _shown(labels: NDArray[Any], at: int = 0) -> str:
    value = labels[at]
    return repr(value.item() if isinstance(value, np.generic) else value)
