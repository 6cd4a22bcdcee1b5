"""Weights, inputs and small networks that tests of layers share."""

from __future__ import annotations

import itertools

import numpy as np

import qcore as qc


def inputs(rows=500, columns=24, seed=0):
    """Inputs that depend on each other, and are not centred."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((rows, columns // 2)) @ rng.standard_normal((columns // 2, columns))
    return np.maximum(mixed + 0.3 * rng.standard_normal((rows, columns)), 0).astype(np.float32)


def weights(rows=6, columns=24, seed=1):
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def output_error(w, q, x):
    off = x.astype(np.float64) @ (w.astype(np.float64) - q.dequantize(dtype=np.float64)).T
    return float(np.sum(off**2))


def network(seed=0):
    rng = np.random.default_rng(seed)
    sizes = [24, 16, 12, 5]
    layers = []
    for before, after in itertools.pairwise(sizes):
        w = rng.standard_normal((after, before)).astype(np.float32) / np.sqrt(before)
        layers.append((w, rng.standard_normal(after).astype(np.float32) * 0.1))
    weights, biases = zip(*layers, strict=True)
    return qc.nn.Sequential.from_arrays(weights, biases, layout="out_in")
