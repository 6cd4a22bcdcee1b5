"""How much a network's logits move when an output of a layer does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qcore.estimators.calibration.calibration import layer_inputs

if TYPE_CHECKING:
    from qcore.chain.chain import Chain

__all__ = ["output_weights"]

Floats = NDArray[np.float32]

#: Samples that are looked at, and directions in the space of the logits, at most.
SAMPLES, DIRECTIONS = 1000, 16


def output_weights(net: Chain, samples: Floats) -> list[NDArray[np.float64]]:
    """Return, for each layer, the mean over samples of each output's squared effect on the logits.

    That is the squared norm of the derivatives of all logits by the output, before its activation:
    the diagonal of the Gauss-Newton matrix (Schraudolph, "Fast Curvature Matrix-Vector Products",
    2002). Of more than `DIRECTIONS` logits, random sums of them are taken.
    """
    samples = samples[:SAMPLES]
    sums = [layer.sums(value) for layer, value in layer_inputs(net, samples)]
    logits = net.layers[-1].out_features
    directions = np.eye(logits, dtype=np.float32)
    if logits > DIRECTIONS:
        rng = np.random.default_rng(0)
        signs = np.array([-1.0, 1.0], np.float32)
        directions = rng.choice(signs, (DIRECTIONS, logits)).astype(np.float32)
        directions /= np.float32(np.sqrt(DIRECTIONS))
    totals = [np.zeros(layer.out_features) for layer in net.layers]
    for direction in directions:
        delta = np.broadcast_to(direction, (len(samples), logits))
        for index in range(len(net.layers) - 1, -1, -1):
            totals[index] += np.mean(delta.astype(np.float64) ** 2, axis=0)
            if index:
                slope = _slope(sums[index - 1], net.layers[index - 1].activation)
                delta = (delta @ net.layers[index].dense_weight()) * slope
    return totals


def _slope(sums: Floats, activation: str) -> Floats:
    """Return the derivative of an activation."""
    if activation == "relu":
        return (sums > 0).astype(np.float32)
    if activation == "tanh":
        return 1 - np.tanh(sums) ** 2
    if activation == "sigmoid":
        value = 1 / (1 + np.exp(-sums))
        return np.asarray(value * (1 - value), np.float32)
    return np.ones_like(sums)
