"""Scales that move between layers: what is hard to quantize on one side is made easy by the other.

A hidden unit's output may be divided by any positive number if the weights that read it are
multiplied by it: ReLU and linear units commute with that, so the network computes the same. The
number is chosen so that no unit needs steps much larger than its neighbours'.

smoothquant
    From the greatest outputs seen on samples, a, and the greatest weights that read them, w:
    sqrt(a / w) (Xiao et al., "SmoothQuant", ICML 2023, with alpha 1/2). It helps where a few units
    are far larger than the rest.
cross_layer_equalization
    From the greatest weights before and after, r and w: sqrt(r / w); without samples (Nagel et al.,
    "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qcore.quantization.calibration import layer_inputs

if TYPE_CHECKING:
    from qcore.nn.sequential import Sequential

__all__ = ["EQUALIZERS", "equalizing_scales", "scaled"]

#: What ``algorithm=`` may name to be done to a network before its layers are quantized.
EQUALIZERS = ("smoothquant", "cross_layer_equalization")

Floats = NDArray[np.float32]


def equalizing_scales(net: Sequential, method: str, samples: Floats | None) -> dict[str, Floats]:
    """Return what each hidden layer's outputs are to be divided by, powers of two, by its name."""
    if method == "smoothquant" and samples is None:
        raise ValueError("smoothquant needs samples: give X, or use cross_layer_equalization")
    greatest = _greatest_inputs(net, samples) if method == "smoothquant" else {}
    scales: dict[str, Floats] = {}
    last = np.ones(1, np.float32)
    for before, after in zip(net.layers, net.layers[1:], strict=False):
        first, second = before.weight, after.weight
        if before.activation not in ("relu", "linear") or not (_is_float(first, second)):
            last = np.ones(1, np.float32)
            continue
        rows = np.abs(before.dense_weight() * last).max(axis=1)
        outputs = greatest.get(after.name, rows).astype(np.float64)
        readers = np.abs(after.dense_weight()).max(axis=0).astype(np.float64)
        usable = (outputs > 0) & (readers > 0)
        ratio = np.sqrt(np.where(usable, outputs, 1) / np.where(usable, readers, 1))
        # A power of two, so that not a bit is lost.
        last = scales[before.name] = np.exp2(np.rint(np.log2(ratio))).astype(np.float32)
    return scales


def scaled(net: Sequential, scales: Mapping[str, Floats]) -> Sequential:
    """Return a network that computes the same, with its hidden units divided by scales."""
    weights = {name: np.array(w) for name, w in net.named_weights().items() if _is_float(w)}
    for before, after in zip(net.layers, net.layers[1:], strict=False):
        scale = scales.get(before.name)
        if scale is None:
            continue
        weights[f"{before.name}.weight"] /= scale[:, None]
        weights[f"{after.name}.weight"] *= scale
        if f"{before.name}.bias" in weights:
            weights[f"{before.name}.bias"] /= scale
    return net.with_weights(weights)


def _greatest_inputs(net: Sequential, samples: Floats | None) -> dict[str, Floats]:
    assert samples is not None
    return {layer.name: np.abs(value).max(axis=0) for layer, value in layer_inputs(net, samples)}


def _is_float(*weights: object) -> bool:
    return all(isinstance(weight, np.ndarray) for weight in weights)
