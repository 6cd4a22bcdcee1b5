"""Scales that move between layers: what is hard to quantize on one side is made easy by the other.

A hidden unit's output may be divided by any positive number if the weights that read it are
multiplied by it: ReLU and linear units commute with that, so the network computes the same. The
methods differ in how they choose the number; each has a file of its own:

smoothquant
    By the greatest outputs and weights, so that neither side needs steps much larger than its
    neighbours'.
cross_layer_equalization
    By the greatest weights before and after; without samples.
awq
    By the outputs' size to a power that is best for rounding the weights that read them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.params.input_stats import InputStats
from qcore.estimators.calibration.calibration import layer_inputs
from qcore.estimators.equalization.awq import activation_aware_scale
from qcore.estimators.equalization.cross_layer_equalization import cross_layer_scale
from qcore.estimators.equalization.smoothquant import smoothing_scale

if TYPE_CHECKING:
    from qcore.chain.chain import Chain
    from qcore.chain.layers import Dense

__all__ = ["equalizing_scales", "scaled"]

Floats = NDArray[np.float32]

#: From the name of a weight to how it will be quantized, as in `qcore.quantize`.
OptionsOf = Callable[[str], Mapping[str, Any]]


def equalizing_scales(
    net: Chain, method: str, samples: Floats | None, options_of: OptionsOf
) -> dict[str, Floats]:
    """Return what each hidden layer's outputs are to be divided by, powers of two, by its name."""
    if method != "cross_layer_equalization" and samples is None:
        raise ValueError(f"{method} needs samples: give X, or use cross_layer_equalization")
    seen = _seen(net, samples) if samples is not None else {}
    scales: dict[str, Floats] = {}
    last = np.ones(1, np.float32)
    for before, after in zip(net.layers, net.layers[1:], strict=False):
        if before.activation not in ("relu", "linear") or not _are_float(before, after):
            last = np.ones(1, np.float32)
            continue
        weight = after.dense_weight()
        scale: NDArray[Any]
        if method == "smoothquant":
            scale = smoothing_scale(weight, seen[after.name])
        elif method == "awq":
            options = options_of(f"{after.name}.weight")
            # Weights are multiplied by what outputs are divided by.
            scale = activation_aware_scale(weight, seen[after.name], powers_of_two=True, **options)
        else:
            scale = cross_layer_scale(before.dense_weight() * last, weight)
        # A power of two, so that not a bit is lost.
        last = scales[before.name] = np.exp2(np.rint(np.log2(scale))).astype(np.float32)
    return scales


def scaled(net: Chain, scales: Mapping[str, Floats]) -> Chain:
    """Return a network that computes the same, with its hidden units divided by scales."""
    weights = {
        name: np.array(w) for name, w in net.named_weights().items() if isinstance(w, np.ndarray)
    }
    for before, after in zip(net.layers, net.layers[1:], strict=False):
        scale = scales.get(before.name)
        if scale is None:
            continue
        weights[f"{before.name}.weight"] /= scale[:, None]
        weights[f"{after.name}.weight"] *= scale
        if f"{before.name}.bias" in weights:
            weights[f"{before.name}.bias"] /= scale
    return net.with_weights(weights)


def _seen(net: Chain, samples: Floats) -> dict[str, InputStats]:
    return {layer.name: InputStats().update(value) for layer, value in layer_inputs(net, samples)}


def _are_float(*layers: Dense) -> bool:
    return all(isinstance(layer.weight, np.ndarray) for layer in layers)
