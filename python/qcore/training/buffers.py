"""The memory that a training step writes, allocated once a batch size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from qcore.chain.chain import Chain

__all__ = ["Buffers"]

Floats = NDArray[np.float32]


class Buffers:
    """What a step writes, for one batch size.

    Without fake quantization and dropout the output of a layer is the input of the next, the same
    memory.
    """

    def __init__(self, net: Chain, rows: int, fake: bool, dropout: bool) -> None:
        layers = net.layers
        self.sums = [np.empty((rows, layer.out_features), np.float32) for layer in layers]
        self.deltas = [np.empty_like(sums) for sums in self.sums]
        self.target = np.empty_like(self.sums[-1])
        self.inputs = [np.empty((rows, layers[0].in_features), np.float32)]
        # What each output is multiplied by, so that some are left out.
        self.dropped = [self.inputs[0]]
        self.inside: list[Floats | None] = [None] * len(layers)
        for index in range(1, len(layers)):
            before = self.sums[index - 1]
            self.inputs.append(np.empty_like(before) if fake or dropout else before)
            self.dropped.append(np.ones_like(before) if dropout else before)
            self.inside[index] = np.ones_like(before) if fake else None
