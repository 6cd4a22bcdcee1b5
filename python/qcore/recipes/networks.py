"""A network from a file's arrays: scikit-learn's coefficients, Keras' or torch's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qcore.errors import ArgumentError
from qcore.nn.sequential import Sequential

__all__ = ["network_of"]


def network_of(
    arrays: Mapping[str, Any],
    *,
    layout: str | None = None,
    activation: str = "relu",
    output: str = "softmax",
) -> Sequential:
    """Build a network from named arrays.

    Parameters
    ----------
    arrays : mapping of str to array
        Arrays of two dimensions are weights, those of one are biases, each kind in the order of
        the layers.
    layout : {"out_in", "in_out"}
        Which axis of a weight is which: "out_in" is torch's, "in_out" scikit-learn's and Keras'.
    activation, output : str
        Of the hidden layers, and of the last one.

    Raises
    ------
    ValueError
        If the arrays are not those of dense layers; names the first that does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> arrays = {"coef_0": np.ones((3, 2), np.float32), "intercept_0": np.zeros(2, np.float32)}
    >>> network_of(arrays, layout="in_out").layers[0].out_features
    2
    """
    if layout is None:
        raise ValueError("layout is missing: out_in (torch) or in_out (scikit-learn, Keras)")
    weights: list[Any] = []
    biases: list[Any] = []
    for name, value in arrays.items():
        array = np.asarray(value)
        if array.dtype.kind != "f" or array.ndim not in (1, 2):
            found = f"{array.dtype} of shape {array.shape}"
            raise ValueError(f"{name} is {found}; a network has float weights (2-D) and biases")
        (weights if array.ndim == 2 else biases).append(array)
    if biases and len(biases) != len(weights):
        raise ValueError(f"there are {len(weights)} weights and {len(biases)} biases")
    given = biases or [None] * len(weights)
    options = {"activation": activation, "output": output}
    try:
        return Sequential.from_arrays(weights, given, layout=layout, **options)
    except ValueError as error:
        other = {"out_in": "in_out", "in_out": "out_in"}.get(layout, layout)
        try:
            Sequential.from_arrays(weights, given, layout=other, **options)
        except ValueError:
            raise error from None
        raise ArgumentError(
            "layout", f"layout is {layout!r}, with which {error}; the arrays fit {other!r}"
        ) from error
