"""Keras' dense models as networks, read through ``get_weights`` and the layers' own settings."""

from __future__ import annotations

from typing import Any

import numpy as np

from qcore.chain.activations import ACTIVATIONS
from qcore.frameworks.affine import AffineChain
from qcore.nn.sequential import Sequential

__all__ = ["from_keras"]

_PASSED = ("Dropout", "Flatten", "GaussianDropout", "GaussianNoise", "Identity", "InputLayer")


def from_keras(model: Any) -> Sequential:
    """Build a network from a Keras 3 model.

    Parameters
    ----------
    model : keras.Model
        A ``Sequential``, or a functional model that is one chain, of ``Dense`` (linear, relu,
        sigmoid, softmax or tanh), ``Activation``, ``ReLU``, ``Softmax``, ``BatchNormalization``,
        ``Rescaling``, ``Normalization``, and what changes nothing in inference (``Dropout``,
        ``Flatten``, ``Identity``).

    Returns
    -------
    Sequential
        Normalizations and scalings are folded into the layers.

    Raises
    ------
    TypeError
        If it is no model of Keras'.
    ValueError
        If a layer does what dense layers cannot; names it.
    """
    if not any(kind.__module__.partition(".")[0] == "keras" for kind in type(model).__mro__):
        raise TypeError(f"model is {type(model).__name__}; it must be a keras.Model")
    chain = AffineChain()
    before = None
    for layer in _layers(model):
        if before is not None and layer.input is not before.output:
            raise ValueError(f"layer {layer.name!r} is not fed by {before.name!r}: no chain")
        try:
            _take(chain, layer)
        except ValueError as error:
            raise ValueError(f"layer {layer.name!r}: {error}") from error
        before = layer
    return chain.network()


def _layers(model: Any) -> list[Any]:
    found = []
    for layer in model.layers:
        found.extend(_layers(layer) if hasattr(layer, "layers") else [layer])
    return found


def _take(chain: AffineChain, layer: Any) -> None:
    kind = type(layer).__name__
    weights = [np.asarray(weight, np.float64) for weight in layer.get_weights()]
    if kind == "Dense":
        chain.product(weights[0].T)
        if layer.use_bias:
            chain.affine(1.0, weights[1])
        _activate(chain, layer.activation.__name__)
    elif kind == "Activation":
        _activate(chain, layer.activation.__name__)
    elif kind == "ReLU":
        if layer.max_value is not None or layer.negative_slope or layer.threshold:
            raise ValueError("a ReLU with a limit, a slope or a threshold has no layer here")
        chain.activation("relu")
    elif kind == "Softmax":
        if layer.axis not in (-1, 1):
            raise ValueError(f"it is a softmax over axis {layer.axis}; it must be the last")
        chain.activation("softmax")
    elif kind == "BatchNormalization":
        rest = iter(weights)
        gain = next(rest) if layer.scale else 1.0
        shift = next(rest) if layer.center else 0.0
        mean, variance = next(rest), next(rest)
        factor = gain / np.sqrt(variance + layer.epsilon)
        chain.affine(factor, shift - mean * factor)
    elif kind == "Rescaling":
        chain.affine(layer.scale, layer.offset)
    elif kind == "Normalization":
        mean, variance = (np.asarray(x, np.float64) for x in (layer.mean, layer.variance))
        factor = 1.0 / np.maximum(np.sqrt(variance), 1e-7)  # Keras' epsilon
        chain.affine(factor.reshape(-1), (-mean * factor).reshape(-1))
    elif kind not in _PASSED:
        raise ValueError(f"{kind} does what no dense layer does")


def _activate(chain: AffineChain, name: str) -> None:
    if name not in ACTIVATIONS:
        raise ValueError(f"its activation is {name}; known are {', '.join(ACTIVATIONS)}")
    if name != "linear":
        chain.activation(name)
