"""Prune a network layer by layer: what stays makes up for what goes, here and in layers before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.validation import single_samples
from qcore.arrays.layerwise.bias_correction import corrected_bias
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.pruning.obs import Surgeon
from qcore.arrays.pruning.patterns import Mask, Pattern, parse_pattern
from qcore.estimators.calibration.calibration import Walk
from qcore.estimators.pruner.sensitivity import Trial

if TYPE_CHECKING:
    from qcore._display.progress import Progress
    from qcore.chain.chain import Chain
    from qcore.chain.layers import Dense

__all__ = ["lone_surgery", "prune_layers"]

Tensors = dict[str, NDArray[Any]]


def prune_layers(
    net: Chain,
    X: ArrayLike,
    shares: Mapping[str, tuple[Pattern, float]],
    progress: Progress,
) -> tuple[Tensors, dict[str, Mask]]:
    """Prune the weights that `shares` names, each on what the pruned layers before it give.

    Returns
    -------
    updated : dict of str to ndarray
        Weights and biases.
    masks : dict of str to ndarray of bool
    """
    from qcore._display.progress import EpochProgress

    updated: Tensors = {}
    masks: dict[str, Mask] = {}
    walk = Walk(net.normalized(single_samples(X, net.layers[0].in_features)))
    with EpochProgress(progress, len(net.layers), "prune") as ticker:
        for done, layer in enumerate(net.layers):
            ticker.update(done, layer.name)
            name, pruned = f"{layer.name}.weight", layer
            if name in shares:
                stats = walk.stats(None)
                surgeon = Surgeon(layer.dense_weight(), stats, centred=layer.bias is not None)
                new, masks[name] = _operate(layer, stats, surgeon, *shares[name])
                updated |= new
                pruned = layer.copy()
                pruned.weight = new[name]
                pruned.bias = new.get(f"{layer.name}.bias")
            walk.through(layer, pruned, None)
    return updated, masks


def lone_surgery(net: Chain, X: ArrayLike, pattern: str) -> Trial:
    """Return the function that prunes one layer of a network as it is: what changes by that."""
    samples = single_samples(X, net.layers[0].in_features)
    last: dict[str, tuple[Dense, InputStats, Surgeon]] = {}

    def trial(name: str, sparsity: float) -> Tensors:
        if name not in last:
            last.clear()  # one at a time: a surgeon of n inputs holds n² floats twice
            last[name] = _prepared(net, name, samples)
        layer, stats, surgeon = last[name]
        share = parse_pattern(pattern, sparsity)
        return _operate(layer, stats, surgeon, *share)[0]

    return trial


def _prepared(
    net: Chain, name: str, samples: NDArray[np.float32]
) -> tuple[Dense, InputStats, Surgeon]:
    walk = Walk(net.normalized(samples))
    for layer in net.layers:
        if f"{layer.name}.weight" == name:
            break
        walk.through(layer, layer, None)
    stats = walk.stats(None)
    return layer, stats, Surgeon(layer.dense_weight(), stats, centred=layer.bias is not None)


def _operate(
    layer: Dense, stats: InputStats, surgeon: Surgeon, pattern: Pattern, sparsity: float
) -> tuple[Tensors, Mask]:
    """Return the tensors of a layer once a surgeon has pruned it, and the mask of its weight.

    The bias, where there is one, keeps the mean of the outputs.
    """
    weight = layer.dense_weight()
    pruned, mask = surgeon.prune(pattern, sparsity)
    new: Tensors = {f"{layer.name}.weight": pruned.astype(weight.dtype)}
    if layer.bias is not None:
        new[f"{layer.name}.bias"] = corrected_bias(weight, pruned, layer.bias, stats)
    return new, mask
