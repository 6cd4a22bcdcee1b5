"""How a network runs: each layer's kernel is chosen once, then whole batches go through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qcore.nn.activations import activate

if TYPE_CHECKING:
    from qcore.nn.sequential import Sequential

__all__ = ["Executable", "compile_network"]


class Executable:
    """A network in the form that runs."""

    kernels: list[str]

    def run(self, x: NDArray[np.float32], *, logits: bool = False) -> NDArray[np.float32]:
        """Return the output for samples (n, inputs); `logits`: before the activation."""
        raise NotImplementedError


class FloatExecutable(Executable):
    """A float network, on NumPy's BLAS."""

    def __init__(self, net: Sequential) -> None:
        self.layers = [
            (layer.dense_weight().T, layer.bias, layer.activation) for layer in net.layers
        ]
        self.kernels = ["NumPy float32"] * len(self.layers)

    def run(self, x: NDArray[np.float32], *, logits: bool = False) -> NDArray[np.float32]:
        """Return the output for samples; see `Executable.run`."""
        last = len(self.layers) - 1
        for index, (weight, bias, activation) in enumerate(self.layers):
            x = np.matmul(x, weight)
            activate(x, bias, "linear" if logits and index == last else activation)
        return x


def compile_network(net: Sequential) -> Executable:
    """Return the form in which `net` runs."""
    return FloatExecutable(net)
