"""How a network runs: each layer's kernel is chosen once, then whole batches go through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._runtime.interrupt import product
from qcore.arrays.layerwise.float_rows import coded_rows
from qcore.arrays.params.qparams import QParams
from qcore.arrays.products.weights import packed_weights, sparse_form, sparse_matrix, sparse_weights
from qcore.arrays.tensor.tensor import QTensor
from qcore.chain.activations import activate

if TYPE_CHECKING:
    from qcore.chain.layers import Dense

__all__ = ["Executable", "compile_network"]


class Executable(ABC):
    """A network in the form that runs.

    Attributes
    ----------
    kernels : list of str
        What runs each layer.
    """

    kernels: list[str]

    @abstractmethod
    def run(self, x: NDArray[np.float32], *, logits: bool = False) -> NDArray[np.float32]:
        """Return the output for samples (n, inputs); `logits`: before the activation."""


class BlasExecutable(Executable):
    """A float network as it was trained: on NumPy's BLAS, the yardstick of all others."""

    def __init__(self, layers: Sequence[Dense]) -> None:
        self.layers = [(layer.dense_weight().T, layer.bias, layer.activation) for layer in layers]
        self.kernels = ["BLAS float32"] * len(self.layers)

    def run(self, x: NDArray[np.float32], *, logits: bool = False) -> NDArray[np.float32]:
        """Return the output for samples; see `Executable.run`."""
        last = len(self.layers) - 1
        for index, (weight, bias, activation) in enumerate(self.layers):
            x = product(x, weight)
            activate(x, bias, "linear" if logits and index == last else activation)
        return x


class KernelExecutable(Executable):
    """Layers on qcore's own kernels, in one call for all."""

    def __init__(self, layers: Iterable[Dense]) -> None:
        builder = _core.ProgramBuilder()
        for layer in layers:
            _add(builder, layer)
        self.program = builder.build()
        self.kernels = self.program.kernels

    def run(self, x: NDArray[np.float32], *, logits: bool = False) -> NDArray[np.float32]:
        """Return the output for samples; see `Executable.run`."""
        out = np.empty((len(x), self.program.outputs), np.float32)
        self.program.run(x, logits, out)
        return out


class SplitLayer(Executable):
    """A layer of which some rows are codes and take integers, and some are floats and take floats.

    Each part runs on its own kernel; the activation follows when both are there.
    """

    def __init__(self, layer: Dense) -> None:
        floats, weight = layer.float_rows, layer.weight
        assert floats is not None
        assert isinstance(weight, QTensor)
        self.activation = layer.activation
        self.outputs = layer.out_features
        bias = np.zeros(self.outputs, np.float32) if layer.bias is None else layer.bias
        self.parts: list[tuple[NDArray[np.bool_], KernelExecutable]] = []
        for rows, matrix in ((~floats, coded_rows(weight)), (floats, weight.float_rows)):
            part = type(layer)(layer.in_features, max(1, int(np.count_nonzero(rows))))
            part.weight, part.bias = matrix, np.ascontiguousarray(bias[rows])
            part.input_qparams = layer.input_qparams if matrix is not weight.float_rows else None
            if rows.any():
                self.parts.append((rows, KernelExecutable([part])))
        self.kernels = [" and ".join(name for _, part in self.parts for name in part.kernels)]

    def run(self, x: NDArray[np.float32], *, logits: bool = False) -> NDArray[np.float32]:
        """Return the output for samples; see `Executable.run`."""
        out = np.empty((len(x), self.outputs), np.float32)
        for rows, part in self.parts:
            out[:, rows] = part.run(x)
        activate(out, None, "linear" if logits else self.activation)
        return out


class ChainExecutable(Executable):
    """Several one after the other: a network in which layers are split."""

    def __init__(self, layers: Sequence[Dense]) -> None:
        self.links: list[Executable] = []
        for split, run in groupby(layers, _is_split):
            if split:
                self.links += [SplitLayer(layer) for layer in run]
            else:
                self.links.append(KernelExecutable(run))
        self.kernels = [name for link in self.links for name in link.kernels]

    def run(self, x: NDArray[np.float32], *, logits: bool = False) -> NDArray[np.float32]:
        """Return the output for samples; see `Executable.run`."""
        for link in self.links[:-1]:
            x = link.run(x)
        return self.links[-1].run(x, logits=logits)


def compile_network(layers: Sequence[Dense]) -> Executable:
    """Return the form in which layers run: BLAS if all is dense float, else our own kernels."""
    if all(_is_dense_float(layer) for layer in layers):
        return BlasExecutable(layers)
    if any(_is_split(layer) for layer in layers):
        return ChainExecutable(layers)
    return KernelExecutable(layers)


def _is_split(layer: Dense) -> bool:
    return layer.input_qparams is not None and layer.float_rows is not None


def _is_dense_float(layer: Dense) -> bool:
    return isinstance(layer.weight, np.ndarray) and sparse_form(layer.weight) is None


def _add(builder: _core.ProgramBuilder, layer: Dense) -> None:
    """Add a layer in the form that its weights and its input call for."""
    weight, source = layer.weight, layer.input_qparams
    bias = np.zeros(layer.out_features, np.float32) if layer.bias is None else layer.bias
    if isinstance(weight, QTensor) and source is not None:
        _add_integer(builder, layer, weight, source, bias)
        return
    values = layer.dense_weight()
    form = sparse_form(values)
    if form is not None:
        packed = sparse_weights(sparse_matrix(values, form), None)
        builder.packed(packed, bias, layer.activation, None)
    elif isinstance(weight, QTensor):
        builder.packed(packed_weights(weight, None), bias, layer.activation, None)
    else:
        builder.float(values, bias, layer.activation)


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
