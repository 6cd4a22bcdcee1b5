"""PyTorch's linear stacks as networks, read through the module's own attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.arrays import as_array
from qcore.arrays.params.qparams import QParams
from qcore.arrays.products.activations import names_in
from qcore.arrays.tensor.tensor import QTensor
from qcore.frameworks.affine import AffineChain
from qcore.frameworks.torch_graph import exported_graph
from qcore.frameworks.torch_run import Step, output_of, run_once
from qcore.nn.graph import Graph
from qcore.nn.sequential import Sequential

__all__ = ["from_torch", "is_module"]

_ACTIVATIONS = names_in("torch")
_PASSED = ("DeQuantize", "Dropout", "Flatten", "Identity")
_NORMS = ("BatchNorm1d", "LazyBatchNorm1d")


def from_torch(module: Any, sample: Any = None) -> Sequential | Graph:
    """Build a network from a PyTorch module.

    The module is run once, in evaluation, on a sample: its parts are taken in the order in which
    they act, with the weights that they have then, and the network has to give what it gave.

    Parameters
    ----------
    module : torch.nn.Module
        A ``Linear``, or any module that calls, one on what the one before gave, ``Linear``,
        ``BatchNorm1d``, ``ReLU``, ``Sigmoid``, ``Tanh``, ``Softmax``, and what changes nothing in
        evaluation (``Dropout``, ``Flatten``, ``Identity``), each as often as it likes. Weights may
        be made of others (pruning, weight normalization, parametrizations). Quantized ``Linear``
        modules keep their int8 codes and scales: dynamic ones quantize their input row by row,
        static ones with the scale and zero point of the module before them.
    sample : array_like, tensor, or tuple of tensors, optional
        What to run it on: rows for a stack of linear layers (default: random ones, as wide as the
        first layer takes). A tuple holds the example inputs of any module, which torch.export then
        follows; so does a sample where the module is no such stack.

    Returns
    -------
    Sequential or Graph
        A `Sequential` for a stack of linear layers, with batch normalization folded into them. Any
        other module is a `Graph` if there is a sample; it is compared with the module's outputs
        once. Its first dim is named "batch" where the sample has more than one row.

    Raises
    ------
    TypeError
        If it is no module of PyTorch's.
    ValueError
        If a module does what dense layers cannot, if something is done between modules
        (``torch.relu`` in ``forward``, a residual sum), or if the module cannot be run; names it.

    Notes
    -----
    PyTorch quantizes dynamically with one scale for the whole batch; here each row has its own, so
    outputs agree within the step of a code.
    """
    if not is_module(module):
        raise TypeError(f"module is {type(module).__name__}; it must be a torch.nn.Module")
    module = getattr(module, "_orig_mod", module)  # what torch.compile wraps
    if "Script" in type(module).__name__:
        raise ValueError(f"module is a {type(module).__name__}; give the module it was made from")
    if isinstance(sample, (tuple, list)) and all(hasattr(part, "detach") for part in sample):
        if len(sample) != 1 or sample[0].ndim != 2:
            return _graph(module, sample)
        sample = sample[0]
    try:
        return _chain(module, sample)
    except ValueError:
        if sample is None:
            raise
        return _graph(module, (sample,))


def _graph(module: Any, examples: Any) -> Graph:
    """Return a module as a graph, by way of torch.export; in evaluation, and as it was after."""
    import torch

    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        return exported_graph(module, [torch.as_tensor(example) for example in examples])
    finally:
        for part in training:
            part.training = True


def _chain(module: Any, sample: Any) -> Sequential:
    """Return a stack of linear layers."""
    chain = AffineChain()
    follower = _Follower(chain)
    rows, output, steps = run_once(module, sample, follower.take)
    if not steps:
        raise ValueError("module has no part that acts: there is no layer with weights")
    follower.check_ends(rows, output)
    network = chain.network()
    quantized = any(isinstance(layer.weight, QTensor) for layer in network.layers)
    # Codes of an input may differ by one where PyTorch has one scale for all rows.
    close = 0.1 if quantized else 0.05 if follower.halves(module) else 1e-3
    found = network.predict_proba(rows.reshape(len(rows), -1))
    most = float(np.abs(output).max(initial=0.0))
    gap = float(np.abs(found - output.reshape(found.shape)).max(initial=0.0))
    if not gap <= close * max(most, 1e-6):
        raise ValueError(
            f"module gives other outputs than the layers that were found in it: {gap:.3g} apart, "
            f"of {most:.3g}; a part of it does what no dense layer does"
        )
    if not quantized:  # codes saturate by the ranges that a network was calibrated on
        for other in (-3 * rows, 10 * np.abs(rows), -10 * np.abs(rows), np.zeros_like(rows)):
            _check_other_rows(module, network, other, close)
    return network


def _check_other_rows(module: Any, network: Sequential, rows: Any, close: float) -> None:
    """Refuse a module that takes another way with other samples: one run shows one way only."""
    output = output_of(module, rows)
    if output is None or not np.isfinite(output).all():
        return
    found = network.predict_proba(rows.reshape(len(rows), -1))
    most = float(np.abs(output).max(initial=0.0))
    if output.size != found.size or not (
        np.abs(found - output.reshape(found.shape)).max(initial=0.0) <= close * max(most, 1e-6)
    ):
        raise ValueError(
            "module gives other outputs than the layers that were found in it on other samples: "
            "what it does depends on their values"
        )


def is_module(model: object) -> bool:
    """Whether a model is PyTorch's, found out without importing it."""
    names = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(model).__mro__]
    # Keras' models are modules, too, where PyTorch is its backend.
    return ("torch", "Module") in names and not any(package == "keras" for package, _ in names)


class _Follower:
    """Takes the parts of a module as they act, if each acts on what the one before gave."""

    def __init__(self, chain: AffineChain) -> None:
        self.chain = chain
        self.last: Any = None
        self.first: Any = None
        self.name = ""

    def take(self, step: Step) -> None:
        """Add what a part does to the chain."""
        name = step.name or type(step.module).__name__
        if self.name and not _same(self.last, step.before):
            raise ValueError(
                f"between modules {self.name!r} and {name!r} something is done that is no module's "
                "(a function in forward, a sum): make it a module, or export the model to ONNX"
            )
        if not self.name:
            self.first = step.before
        try:
            _take(self.chain, step.module)
        except ValueError as error:
            raise ValueError(f"module {name!r}: {error}") from error
        self.last, self.name = step.after, name

    def check_ends(self, rows: Any, output: Any) -> None:
        """Check that nothing is done before the first part, or behind the last."""
        if not _same(rows, self.first):
            raise ValueError("something is done to the input before the first module: make it one")
        if output is None or not _same(self.last, output):
            raise ValueError(
                f"behind module {self.name!r} something is done that is no module's (a function in "
                "forward, a sum): make it a module, or export the model to ONNX"
            )

    def halves(self, module: Any) -> bool:
        """Whether the module computes in floats of 16 bits."""
        return any("16" in str(p.dtype) for p in module.parameters())


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same rows; flattened ones are."""
    if one is None or other is None or one.size != other.size or len(one) != len(other):
        return False
    return bool(np.array_equal(one.reshape(-1), other.reshape(-1), equal_nan=True))


def _kind(module: Any) -> str:
    """Return which of PyTorch's own modules one is: itself, or one with parametrized weights."""
    kind = type(module)
    if kind.__name__.startswith("Parametrized") and hasattr(module, "parametrizations"):
        kind = kind.__mro__[1]
    return kind.__name__ if kind.__module__.partition(".")[0] == "torch" else f"{kind.__name__} "


def _take(chain: AffineChain, module: Any) -> None:
    kind = _kind(module)
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
        raise ValueError(f"{kind.strip()} does what no dense layer does")


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
        weight = module.weight()
        if dynamic and weight.is_quantized:
            chain.quantize_input("dynamic")
        # A dynamic module of float16 has weights of that type, and computes in float32.
        chain.product(_codes(weight) if weight.is_quantized else as_array(weight.float()))
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
