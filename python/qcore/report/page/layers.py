"""How sensitive a network is to each layer: one at a time is that of the small network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["layer_losses"]

# Samples that are enough to rank layers.
_SAMPLES = 2048


def layer_losses(before: Any, after: Any, X: ArrayLike) -> list[dict[str, Any]]:
    """Return what the answers lose when one tensor alone is that of the small network.

    Parameters
    ----------
    before, after : Sequential
        The network, and what became of it.
    X : array_like, (n, inputs)
        Samples; of more than 2,048 about as many, in even steps.

    Returns
    -------
    list of dict
        For each tensor that changed: ``tensor``, ``sqnr`` of the logits in dB, and ``changed``,
        the share of labels that are others.
    """
    samples = np.asarray(X)
    samples = samples[:: max(1, math.ceil(len(samples) / _SAMPLES))]
    exact = before.predict_logits(samples).astype(np.float64)
    labels = before.predict(samples)
    signal = float(np.sum(exact**2))
    rows = []
    for name, weight in after.named_weights().items():
        decoded, exact_weight = np.asarray(weight, np.float32), before.named_weights().get(name)
        if exact_weight is None or decoded.shape != exact_weight.shape:
            continue  # neurons went: a layer of that shape does not fit between the others
        if np.array_equal(decoded, exact_weight):
            continue
        tried = before.with_weights({name: decoded})
        noise = float(np.sum((tried.predict_logits(samples) - exact) ** 2))
        rows.append(
            {
                "tensor": name,
                "sqnr": 10 * math.log10(signal / noise) if noise > 0 < signal else None,
                "changed": float(np.mean(tried.predict(samples) != labels)),
            }
        )
    return rows
