"""Columns of raw samples in units of their own, brought to one range before they become integers.

The first layer's integer input has one scale for all columns. Where these come in mixed units, the
small ones would be rounded away: what each column is divided by goes into the weights that read it,
and the network computes the same, on ``(x - mean) * scale``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qcore.chain.chain import Chain
from qcore.chain.normalization import Normalization

__all__ = ["input_normalization", "normalized"]

Floats = NDArray[np.float32]

#: The rounding of the input that its product may lose, as a share of the product's variance.
_TOLERATED = 1e-3
#: How many times less it must become for columns to be scaled.
_WORTH = 4.0
#: How many times the greatest weight of a column may exceed that of others, without samples.
_SPREAD = 100.0
#: Samples that are looked at.
_ROWS = 4096


def input_normalization(net: Chain, samples: Floats | None) -> Normalization | None:
    """Return what is to be done to the first layer's input before it is rounded; None if nothing.

    Parameters
    ----------
    net : Chain
    samples : ndarray of float32, (n, inputs), optional
        Raw samples; without any, the columns' units are guessed from the weights that read them.
    """
    weight = net.layers[0].weight
    if not isinstance(weight, np.ndarray):
        return None
    exact = weight.astype(np.float64)
    if samples is None:
        return _by_weights(exact)
    value = net.normalized(samples[:: -(-len(samples) // _ROWS)]).astype(np.float64)
    low, high = value.min(axis=0), value.max(axis=0)
    signal = float((value @ exact.T).var(axis=0).sum())
    power = np.square(exact).sum(axis=0)
    step = (max(float(high.max()), 0.0) - min(float(low.min()), 0.0)) / 255
    lost = float(power.sum()) * step**2 / 12
    if not np.isfinite(signal) or lost <= _TOLERATED * signal:
        return None
    half = (high - low) / 2
    half[half <= np.finfo(np.float32).tiny] = 1.0
    if float(power @ half**2) * (2 / 255) ** 2 / 12 * _WORTH > lost:
        return None
    return Normalization((low + high) / 2, 1 / half)


def _by_weights(weight: NDArray[np.float64]) -> Normalization | None:
    size = np.abs(weight).max(axis=0)
    used = size[size > 0]
    if not used.size or used.max() <= _SPREAD * np.quantile(used, 0.1):
        return None
    # Unused columns change nothing, and must not stretch the range of the others.
    return Normalization(0.0, size)


def normalized(net: Chain, normalization: Normalization) -> Chain:
    """Return a network that computes the same, with its input normalized (more than before)."""
    layers = [layer.copy() for layer in net.layers]
    first = layers[0]
    weight = first.dense_weight().astype(np.float64)
    inputs = (first.in_features,)
    mean, scale = (np.broadcast_to(x, inputs) for x in (normalization.mean, normalization.scale))
    first.weight = np.asarray(weight / np.where(scale == 0, 1.0, scale), np.float32)
    if mean.any():
        bias = weight @ mean + (0.0 if first.bias is None else first.bias)
        first.bias, first.use_bias = np.asarray(bias, np.float32), True
    new = net.with_layers(layers)
    new.normalization = normalization.after(net.normalization)
    return new
