"""Low rank, alone and with codes, beside codes of as many bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import qcore as qc
from qcore.arrays.pruning.low_rank import ALGORITHM
from qcore.experiments.ablation.bench import Bench, table_rows
from qcore.experiments.common import LENET, Row

__all__ = ["factorize"]


def factorize(bench: Bench) -> list[Row]:
    """Return the error of the logits where each layer but the last is stored another way."""
    regimes = {f"{bits + 0.5} bits a weight": bits for bits in (2, 3, 4)}
    fitted: dict[str, Any] = {"algorithm": ALGORITHM}
    methods: dict[str, Callable[[Any, Any, int], Any]] = {
        "codes, groups of 32": lambda w, stats, bits: qc.quantize(
            w, bits=bits, group_size=32, observer="mse"
        ),
        "GPTQ, groups of 32": lambda w, stats, bits: qc.quantize(
            w, bits=bits, group_size=32, stats=stats, **fitted
        ),
        "low rank": lambda w, stats, bits: qc.factorize(
            w, rank=_rank(w, bits + 0.5), stats=stats, dtype=np.float16
        ),
        "low rank and codes": lambda w, stats, bits: qc.factorize(
            w, rank=_rank(w, 0.5), residual_bits=bits, dtype=np.float16
        ),
        "low rank and GPTQ": lambda w, stats, bits: qc.factorize(
            w, rank=_rank(w, 0.5), residual_bits=bits, stats=stats, dtype=np.float16
        ),
    }
    found: dict[str, dict[str, list[float]]] = {}
    for method, stored in methods.items():
        found[method] = {}
        for regime, bits in regimes.items():
            found[method][regime] = [
                bench.lost(net, _stored(bench, net, stored, bits))
                for net in (bench.dense(LENET, seed) for seed in bench.seeds)
            ]
    return table_rows("error of the logits", found, regimes, "4f", least=True)


def _stored(bench: Bench, net: qc.nn.Sequential, stored: Any, bits: int) -> qc.nn.Sequential:
    new, value = {}, bench.samples
    for layer in net.layers[:-1]:
        stats = qc.InputStats().update(value)
        name = f"{layer.name}.weight"
        new[name] = np.asarray(stored(layer.dense_weight(), stats, bits), np.float32)
        value = layer.forward(value)
    return net.with_weights(new)


def _rank(w: Any, bits: float) -> int:
    """Return the rank whose float16 factors take as many bytes as codes of so many bits."""
    rows, columns = w.shape
    rank: int = max(1, round(rows * columns * bits / (16 * (rows + columns))))
    return rank
