"""A chain quantized layer by layer: each layer sees what those before it leave of the samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qcore._display.progress import EpochProgress
from qcore.arrays.layerwise.nested import upper_half
from qcore.arrays.params.observer import Observer
from qcore.arrays.params.qparams import QParams
from qcore.estimators.calibration.calibration import Walk

if TYPE_CHECKING:
    from qcore.chain.chain import Chain
    from qcore.estimators.quantizer.coder import Coder

__all__ = ["activation_qparams", "quantize_layers"]


def quantize_layers(
    coder: Coder, net: Chain, samples: NDArray[np.float32], modes: Mapping[str, str | None]
) -> None:
    """Calibrate and quantize layer by layer: each sees what those before it leave of X."""
    value = net.normalized(samples)
    walk, upper_walk = Walk(value), Walk(value)
    algorithms = {name: coder._algorithm(name, True) for name in coder.bits_}
    plain = not any(algorithms.values()) and coder._pruner is None
    if "static" not in modes.values() and plain:
        return
    with EpochProgress(coder.progress, len(net.layers), "quantize") as ticker:
        for done, layer in enumerate(net.layers):
            name = f"{layer.name}.weight"
            ticker.update(done, layer.name)
            if name not in coder.bits_:
                walk.through(layer, layer, None)
                if coder.nested is not None:
                    upper_walk.through(layer, layer, None)
                continue
            coder.input_qparams_[layer.name] = modes[name]
            if modes[name] == "static":
                seen = coder._observer(layer.name)
                walk.observe(seen)
                coder.input_qparams_[layer.name] = activation_qparams(seen)
            source = coder.input_qparams_[layer.name]
            quantized = layer.copy()
            if algorithms[name] or coder._pruner is not None:
                coder.stats_[name] = walk.stats(source)
                if coder.nested is not None:
                    coder._upper_stats[name] = upper_walk.stats(source)
            weight = layer.dense_weight()
            q, bias = coder.fitted(name, weight, net.named_weights())
            quantized.weight = q
            quantized.bias = layer.bias if bias is None else bias
            coder._known[name] = (weight, q, bias)
            walk.through(layer, quantized, source)
            if coder.nested is not None:
                halved = quantized.copy()
                halved.weight = upper_half(q)
                upper_walk.through(layer, halved, source)


def activation_qparams(seen: Observer) -> QParams:
    """Return the parameters of a layer's input: codes of 8 bits without a sign."""
    return seen.qparams(signed=False, symmetric=False)
