"""How a network runs: each layer's kernel is chosen once, then whole batches go through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore.compute.weights import is_sparse, packed_weights
from qcore.nn.activations import activate
from qcore.quantization.qparams import QParams
from qcore.quantization.tensor import QTensor

if TYPE_CHECKING:
    from qcore.nn.layers import Dense
    from qcore.nn.sequential import Sequential

__all__ = ["Executable", "compile_network"]


class Executable:
    """A network in the form that runs.

    Attributes
    ----------
    kernels : list of str
        What runs each layer.
    """

    kernels: list[str]

    def run(self, x: NDArray[np.float32], *, logits: bool = False) -> NDArray[np.float32]:
        """Return the output for samples (n, inputs); `logits`: before the activation."""
        raise NotImplementedError


class BlasExecutable(Executable):
    """A float network as it was trained: on NumPy's BLAS, the yardstick of all others."""

    def __init__(self, net: Sequential) -> None:
        self.layers = [
            (layer.dense_weight().T, layer.bias, layer.activation) for layer in net.layers
        ]
        self.kernels = ["BLAS float32"] * len(self.layers)

    def run(self, x: NDArray[np.float32], *, logits: bool = False) -> NDArray[np.float32]:
        """Return the output for samples; see `Executable.run`."""
        last = len(self.layers) - 1
        for index, (weight, bias, activation) in enumerate(self.layers):
            x = np.matmul(x, weight)
            activate(x, bias, "linear" if logits and index == last else activation)
        return x


class KernelExecutable(Executable):
    """A network on qcore's own kernels, in one call for all layers."""

    def __init__(self, net: Sequential) -> None:
        builder = _core.ProgramBuilder()
        for layer in net.layers:
            _add(builder, layer)
        self.program = builder.build()
        self.kernels = self.program.kernels

    def run(self, x: NDArray[np.float32], *, logits: bool = False) -> NDArray[np.float32]:
        """Return the output for samples; see `Executable.run`."""
        out = np.empty((len(x), self.program.outputs), np.float32)
        self.program.run(x, logits, out)
        return out


def compile_network(net: Sequential) -> Executable:
    """Return the form in which `net` runs: BLAS if all is dense float, else our own kernels."""
    if all(_is_dense_float(layer) for layer in net.layers):
        return BlasExecutable(net)
    return KernelExecutable(net)


def _is_dense_float(layer: Dense) -> bool:
    return isinstance(layer.weight, np.ndarray) and not is_sparse(layer.weight, "float32")


def _add(builder: _core.ProgramBuilder, layer: Dense) -> None:
    """Add a layer in the form that its weights and its input call for."""
    weight, source = layer.weight, layer.input_qparams
    bias = np.zeros(layer.out_features, np.float32) if layer.bias is None else layer.bias
    if isinstance(weight, QTensor) and source is not None:
        _add_integer(builder, layer, weight, source, bias)
        return
    values = layer.dense_weight()
    sparse = is_sparse(values, "float32")
    if isinstance(weight, QTensor) and not sparse:
        builder.packed(packed_weights(weight, None), bias, layer.activation, None)
    else:
        builder.float(values, bias, layer.activation, sparse)


def _add_integer(
    builder: _core.ProgramBuilder,
    layer: Dense,
    weight: QTensor,
    source: QParams | str,
    bias: NDArray[np.float32],
) -> None:
    static = None
    if isinstance(source, QParams):
        static = (float(source.scale), int(source.zero_point), source.signed)
    packed = packed_weights(weight, "dynamic" if static is None else "static")
    if not packed.is_integer:
        raise ValueError(f"{layer.name}: {weight!r} cannot run on integer activations")
    builder.packed(packed, bias, layer.activation, static)
