"""PyTorch's linear stacks as networks, read through the module's own attributes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arrays import as_array
from qcore.arrays.params.qparams import QParams
from qcore.arrays.tensor.tensor import QTensor
from qcore.frameworks.affine import AffineChain
from qcore.nn.sequential import Sequential

__all__ = ["from_torch"]

_ACTIVATIONS = {"ReLU": "relu", "Sigmoid": "sigmoid", "Softmax": "softmax", "Tanh": "tanh"}
_PASSED = ("DeQuantize", "Dropout", "Flatten", "Identity")
_NORMS = ("BatchNorm1d", "LazyBatchNorm1d")


def from_torch(module: Any) -> Sequential:
    """Build a network from a PyTorch module.

    Parameters
    ----------
    module : torch.nn.Module
        A ``Linear``, or a ``Sequential`` (nested, or a module whose children are called in the
        order in which they were assigned) of ``Linear``, ``BatchNorm1d``, ``ReLU``, ``Sigmoid``,
        ``Tanh``, ``Softmax``, and what changes nothing in evaluation (``Dropout``, ``Flatten``,
        ``Identity``). Quantized ``Linear`` modules keep their int8 codes and scales: dynamic ones
        quantize their input row by row, static ones with the scale and zero point of the module
        before them.

    Returns
    -------
    Sequential
        Batch normalization is folded into the layers. What is outside modules, such as
        ``torch.relu`` in ``forward``, is not seen: compare the outputs.

    Raises
    ------
    TypeError
        If it is no module of PyTorch's.
    ValueError
        If a module does what dense layers cannot; names it.

    Notes
    -----
    PyTorch quantizes dynamically with one scale for the whole batch; here each row has its own, so
    outputs agree within the step of a code.
    """
    if not any(kind.__module__.partition(".")[0] == "torch" for kind in type(module).__mro__):
        raise TypeError(f"module is {type(module).__name__}; it must be a torch.nn.Module")
    chain = AffineChain()
    for name, part in _leaves(module, ""):
        try:
            _take(chain, part)
        except ValueError as error:
            raise ValueError(f"module {name or type(part).__name__!r}: {error}") from error
    return chain.network()


def _leaves(module: Any, name: str) -> Iterator[tuple[str, Any]]:
    children = list(module.named_children())
    if not children or "quantized" in type(module).__module__:
        yield name, module
        return
    for inner, child in children:
        yield from _leaves(child, f"{name}.{inner}" if name else inner)


def _take(chain: AffineChain, module: Any) -> None:
    kind = type(module).__name__
    if "quantized" in type(module).__module__:
        _take_quantized(chain, module, kind)
    elif kind in ("Linear", "NonDynamicallyQuantizableLinear"):
        chain.product(as_array(module.weight))
        if module.bias is not None:
            chain.affine(1.0, as_array(module.bias))
    elif kind in _ACTIVATIONS:
        if kind == "Softmax" and module.dim not in (None, 1, -1):
            raise ValueError(f"it is a softmax over axis {module.dim}; it must be the last")
        chain.activation(_ACTIVATIONS[kind])
    elif kind in _NORMS:
        _take_norm(chain, module)
    elif kind not in _PASSED:
        raise ValueError(f"{kind} does what no dense layer does")


def _take_norm(chain: AffineChain, module: Any) -> None:
    if module.running_mean is None:
        raise ValueError("it normalizes by the batch, also in evaluation")
    mean, variance = (
        as_array(x).astype(np.float64) for x in (module.running_mean, module.running_var)
    )
    factor = 1.0 / np.sqrt(variance + module.eps)
    shift = -mean * factor
    if module.affine:
        gain = as_array(module.weight).astype(np.float64)
        factor, shift = factor * gain, shift * gain + as_array(module.bias)
    chain.affine(factor, shift)


def _take_quantized(chain: AffineChain, module: Any, kind: str) -> None:
    if kind == "Quantize":
        chain.quantize_input(_input_qparams(module.scale, module.zero_point))
    elif kind in ("Linear", "LinearReLU"):
        dynamic = "dynamic" in type(module).__module__
        if dynamic:
            chain.quantize_input("dynamic")
        chain.product(_codes(module.weight()))
        bias = module.bias()
        if bias is not None:
            chain.affine(1.0, as_array(bias))
        if kind == "LinearReLU":
            chain.activation("relu")
        if not dynamic:
            chain.quantize_input(_input_qparams(module.scale, module.zero_point))
    elif kind in ("ReLU", "DeQuantize", "Dropout", "Identity"):
        if kind == "ReLU":
            pending, chain.pending_input = chain.pending_input, None
            chain.activation("relu")
            chain.pending_input = pending
    else:
        raise ValueError(f"quantized {kind} does what no dense layer does")


def _input_qparams(scale: Any, zero_point: Any) -> QParams:
    return QParams(
        np.float32(float(scale)).reshape(()),
        np.asarray(int(zero_point), np.int32),
        signed=False,
        symmetric=False,
    )


def _codes(weight: Any) -> QTensor:
    """Return a quantized weight's own codes and scales."""
    codes: NDArray[Any] = as_array(weight.int_repr())
    if "channel" in str(weight.qscheme()):
        scale = as_array(weight.q_per_channel_scales()).astype(np.float32)
        zero = as_array(weight.q_per_channel_zero_points()).astype(np.int32)
        return QTensor.from_parts(codes, scale, zero, axis=int(weight.q_per_channel_axis()))
    return QTensor.from_parts(codes, np.float32(weight.q_scale()), int(weight.q_zero_point()))
