"""Training shared weights: the codes stay, the values that they stand for are trained.

Weights of one code are one parameter; its gradient is the sum over all of them. They lie apart in
memory, but start alike and get the same gradient at every step, so every optimizer that works
element by element keeps them alike. The code of 0 stays 0: pruned weights stay pruned.

Han, Mao and Dally, "Deep Compression", ICLR 2016, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.names import matches, matches_any
from qcore.arrays.tensor.functions import quantize
from qcore.arrays.tensor.tensor import QTensor

if TYPE_CHECKING:
    from qcore.chain.chain import Chain
    from qcore.training.settings import WeightQuantizer

__all__ = ["SharedWeights"]

Floats = NDArray[np.float32]


class SharedWeights:
    """What training shared weights keeps beside the network: which weights are one.

    Parameters
    ----------
    net : Sequential
        Weights that are k-means codes for a whole tensor keep their codes; others are given codes,
        by the quantizer.
    quantizer : Quantizer
        Of scheme "kmeans".

    Attributes
    ----------
    start : dict of str to QTensor
        Each layer's shared weight as training starts, by the weight's name.
    """

    def __init__(self, net: Chain, quantizer: WeightQuantizer) -> None:
        self.start: dict[str, QTensor] = {}
        self._members: dict[str, tuple[NDArray[np.intp], NDArray[np.intp]]] = {}
        for layer in net.layers:
            name = f"{layer.name}.weight"
            if matches_any(name, quantizer.ignore):
                continue
            weight = layer.weight
            if not (isinstance(weight, QTensor) and weight.scheme == "kmeans"):
                levels = _levels_of(name, quantizer.levels)
                weight = quantize(layer.dense_weight(), scheme="kmeans", levels=levels, axis=None)
            if weight.levels is None or weight.levels.ndim != 1:
                raise ValueError(f"{name} has levels by row; training knows one set a tensor")
            self.start[name] = weight
            codes = weight.values.reshape(-1).astype(np.intp)
            moving = np.flatnonzero(weight.levels[codes] != 0)
            self._members[name] = moving, codes[moving]

    def share(self, gradients: Mapping[str, Floats]) -> None:
        """Replace each weight's gradient by the sum over the weights that it is one with."""
        for name, (places, codes) in self._members.items():
            flat = gradients[name].reshape(-1)
            sums = np.bincount(codes, weights=flat[places])
            flat.fill(0.0)
            flat[places] = sums[codes]

    def export(self, net: Chain) -> Chain:
        """Return the network with codes, and the levels that its weights have now."""
        small = net.copy()
        for layer in small.layers:
            name = f"{layer.name}.weight"
            if name not in self.start:
                continue
            before = self.start[name]
            places, codes = self._members[name]
            levels = np.array(before.levels, np.float32)
            levels[codes] = layer.dense_weight().reshape(-1)[places]
            layer.weight = shared_tensor(before.values, levels)
        return small


def _levels_of(name: str, levels: int | Mapping[str, int] | None) -> int | None:
    """Return how many levels a tensor is to have; a mapping goes by the first pattern that fits."""
    if not isinstance(levels, Mapping):
        return levels
    return next((count for pattern, count in levels.items() if matches(name, pattern)), None)


def shared_tensor(codes: NDArray[Any], levels: Floats) -> QTensor:
    """Return codes and levels as a tensor, the levels ascending and each of them used."""
    used, flat = np.unique(codes, return_inverse=True)
    found, order = np.unique(levels[used], return_inverse=True)
    bits = max(1, int(found.size - 1).bit_length())
    new = order[flat].reshape(codes.shape).astype(np.uint8)
    return QTensor.from_parts(new, 1.0, bits=bits, signed=False, scheme="kmeans", levels=found)
