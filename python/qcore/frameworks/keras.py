"""Keras' dense models as networks, read through ``get_weights`` and the layers' own settings."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from qcore.arrays.products.activations import DENSE
from qcore.frameworks.affine import AffineChain
from qcore.frameworks.keras_graph import functional_graph, is_functional
from qcore.nn.graph import Graph
from qcore.nn.sequential import Sequential

__all__ = ["from_keras", "is_keras"]

_PASSED = ("Dropout", "Flatten", "GaussianDropout", "GaussianNoise", "Identity", "InputLayer")


def from_keras(model: Any) -> Sequential | Graph:
    """Build a network from a Keras 3 model.

    Parameters
    ----------
    model : keras.Model
        A ``Sequential``, or a functional model that is one chain, of ``Dense`` (linear, relu,
        sigmoid, softmax or tanh), ``Activation``, ``ReLU``, ``Softmax``, ``BatchNormalization``,
        ``Rescaling``, ``Normalization``, and what changes nothing in inference (``Dropout``,
        ``Flatten``, ``Identity``).

        Or any functional model of these and of ``Conv2D``, ``DepthwiseConv2D``, pools, ``Add``,
        ``Multiply``, ``Concatenate``, ``LayerNormalization``, ``ZeroPadding2D`` and the like, with
        branches and layers that are used again.

    Returns
    -------
    Sequential or Graph
        A `Sequential` for a chain of dense layers, normalizations and scalings folded into them;
        else a `Graph`, whose images have their channels last as in Keras. Both are compared with
        the model's outputs once.

    Raises
    ------
    TypeError
        If it is no model of Keras'.
    ValueError
        If it is neither, or its outputs are others.
    UnsupportedError
        If it has layers that there are not: lists each with its count and the first.
    """
    if not is_keras(model):
        raise TypeError(f"model is {type(model).__name__}; it must be a keras.Model")
    try:
        return _chain(model)
    except ValueError:
        if not is_functional(model):
            raise
        return functional_graph(model)


def _chain(model: Any) -> Sequential:
    """Return a chain of dense layers."""
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
    network = chain.network()
    _check_outputs(model, network)
    return network


def is_keras(model: object) -> bool:
    """Whether a model is Keras', found out without importing it."""
    names = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(model).__mro__]
    return ("keras", "Model") in names


def _check_outputs(model: Any, network: Sequential) -> None:
    """Run both on a sample; ValueError where they differ, as where a layer is used twice."""
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or any(length is None for length in shape[1:]):
        return  # a model that was not built has no weights, and was refused
    rows = np.random.default_rng(0).standard_normal((4, *shape[1:])).astype(np.float32)
    wanted = np.asarray(model.predict_on_batch(rows), np.float64)
    found = network.predict_proba(rows.reshape(len(rows), -1))
    most = float(np.abs(wanted).max(initial=0.0))
    gap = np.inf
    if found.size == wanted.size:
        gap = float(np.abs(found - wanted.reshape(found.shape)).max(initial=0.0))
    if not gap <= 1e-3 * max(most, 1e-6):
        raise ValueError(
            f"model gives other outputs than the layers that were found in it: {gap:.3g} apart, of "
            f"{most:.3g}; is a layer used twice, or does one do what no dense layer does?"
        )


def _layers(model: Any) -> list[Any]:
    found = []
    for layer in model.layers:
        found.extend(_layers(layer) if hasattr(layer, "layers") else [layer])
    return found


def _take(chain: AffineChain, layer: Any) -> None:
    kind = type(layer).__name__
    weights = [np.asarray(weight, np.float64) for weight in layer.get_weights()]
    if kind == "Dense":
        if getattr(layer, "quantization_mode", None) is not None:
            raise ValueError(f"its weights are quantized ({layer.quantization_mode}) by Keras")
        chain.product(np.asarray(_numpy(layer.kernel), np.float64).T)  # adapters (LoRA) and all
        if layer.use_bias:
            chain.affine(1.0, np.asarray(_numpy(layer.bias), np.float64))
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
        mean, variance = (np.asarray(_numpy(x), np.float64) for x in (layer.mean, layer.variance))
        spread = np.maximum(np.sqrt(variance), 1e-7)  # Keras' epsilon
        if layer.invert:
            chain.affine(spread.reshape(-1), mean.reshape(-1))
        else:
            chain.affine((1 / spread).reshape(-1), (-mean / spread).reshape(-1))
    elif kind not in _PASSED:
        raise ValueError(f"{kind} does what no dense layer does")


def _numpy(value: Any) -> Any:
    """Return a tensor of any of Keras' backends as an array."""
    return sys.modules["keras"].ops.convert_to_numpy(value)  # the model is Keras', so it is there


def _activate(chain: AffineChain, name: str) -> None:
    if name not in DENSE:
        raise ValueError(f"its activation is {name}; known are {', '.join(DENSE)}")
    if name != "linear":
        chain.activation(name)
