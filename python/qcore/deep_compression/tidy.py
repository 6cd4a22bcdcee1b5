"""What leaves a network's function as it is and its file shorter."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from qcore.arrays.tensor.tensor import QTensor
from qcore.estimators.pruner.compact import compact
from qcore.training.shared_weights import shared_tensor

if TYPE_CHECKING:
    from qcore.nn.sequential import Sequential

__all__ = ["as_stored", "tidied"]

# The greatest float16.
_MOST = 65504.0


def tidied(net: Sequential) -> Sequential:
    """Return the network without dead neurons, those with the most weights first.

    Hidden neurons may stand in any order. Sorted, their rows, and the next layer's columns, are as
    full as their neighbours, which the coder's contexts learn from.
    """
    small = compact(net)
    for layer, reader in pairwise(small.layers):
        weight, reads = layer.dense_weight(), reader.dense_weight()
        fullness = np.count_nonzero(weight, axis=1)
        order = np.argsort(-fullness, kind="stable")
        layer.weight = np.ascontiguousarray(weight[order])
        reader.weight = np.ascontiguousarray(reads[:, order])
        layer.bias = None if layer.bias is None else np.ascontiguousarray(layer.bias[order])
    small.classes_ = net.classes_
    small.one_versus_rest = net.one_versus_rest
    return small


def as_stored(net: Sequential, bias_bits: int) -> Sequential:
    """Return the network with the few bits that its file gives to biases and levels.

    Biases become multiples of ``2**-bias_bits``, levels of shared weights float16. It is saved
    packed.
    """
    small = net.copy()
    small.packed = True
    for layer in small.layers:
        if layer.bias is not None:
            units = np.rint(np.ldexp(layer.bias, bias_bits)) + np.float32(0)  # no minus zeros
            layer.bias = np.ldexp(units, -bias_bits).astype(np.float32)
        weight = layer.weight
        if isinstance(weight, QTensor) and weight.levels is not None:
            levels = np.clip(weight.levels, -_MOST, _MOST).astype(np.float16)
            layer.weight = shared_tensor(weight.values, levels.astype(np.float32))
    return small
