"""Which constants of a graph are weights, and along which axis their outputs lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qcore.frameworks.onnx.model.codes import attributes_of
from qcore.frameworks.onnx.model.constants import FLOATS, shape_of
from qcore.frameworks.onnx.model.scopes import Constant, Scope, Use

__all__ = ["Weight", "find_weights"]

_MAIN = ("", "ai.onnx")
# Which axis of an operator's weight has its outputs, by operator and place of the input.
_OUTPUT_AXES = {
    ("Conv", 1): 0, ("ConvTranspose", 1): 1, ("Gather", 0): 0, ("Gemm", 1): 1, ("MatMul", 1): -1,
    ("MatMul", 0): -2, ("Gemm", 0): 0, ("LSTM", 1): 1, ("LSTM", 2): 1, ("GRU", 1): 1,
    ("GRU", 2): 1, ("RNN", 1): 1, ("RNN", 2): 1,
}  # fmt: skip
# Operators that hand their first input on, and that keep its axes, or move them in ways of their
# own; the axis of the outputs is lost behind these.
_SAME_AXES = ("Cast", "Identity")
_OTHER_AXES = ("Concat", "Flatten", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze")
_DEEPEST = 16


@dataclass(frozen=True)
class Weight:
    """A constant that every reader reads as a weight.

    Attributes
    ----------
    constant : Constant
    axis : int
        That of its outputs.
    only_matmul : bool
        Whether it is the right operand of products of matrices, and nothing else.
    quantizer : NodeProto or None
        The QuantizeLinear that is its only reader, in a graph that was trained for integers.
    """

    constant: Constant
    axis: int
    only_matmul: bool
    quantizer: Any = None


def find_weights(scopes: list[Scope]) -> tuple[dict[str, Weight], dict[str, str]]:
    """Return the weights by their keys and, of other floats of two axes and more, what they are."""
    weights: dict[str, Weight] = {}
    others: dict[str, str] = {}
    for scope in scopes:
        for constant in scope.constants.values():
            shape = shape_of(constant.tensor)
            if constant.tensor.data_type not in FLOATS or len(shape) < 2 or 0 in shape:
                continue
            found = _judge(constant, len(shape))
            if isinstance(found, str):
                others[constant.key] = found
            else:
                weights[constant.key] = found
    return weights, others


def _judge(constant: Constant, ndim: int) -> Weight | str:
    """Return a constant as a weight, or why it is none."""
    uses = constant.uses
    if len(uses) == 1 and uses[0].node is not None and uses[0].node.op_type == "QuantizeLinear":
        return Weight(constant, 0, only_matmul=False, quantizer=uses[0].node)
    ways: list[int | str] = []
    for use in uses:
        ways.extend(_ways(use, tuple(range(ndim)), 0))
    if not ways:
        return "no node reads it"
    for way in ways:
        if isinstance(way, str):
            return way
    axes = {int(way) for way in ways}
    if len(axes) > 1:
        return "its readers have their outputs along different axes of it"
    matmul = ndim == 2 and all(
        use.node.op_type == "MatMul" and use.place == 1 and use.node.domain in _MAIN for use in uses
    )
    return Weight(constant, axes.pop(), only_matmul=matmul)


def _ways(use: Use, axes: tuple[int, ...] | None, depth: int) -> list[int | str]:
    """Return, for each operator that a value reaches, its axis of outputs, or why there is none.

    `axes` says which axis of the constant each axis of the value is; None: it is not known.
    """
    node = use.node
    if node is None:
        return ["it is an output of a graph"]
    kind = node.op_type
    if node.domain not in _MAIN:
        return [f"{kind} of {node.domain} reads it"]
    if (kind, use.place) in _OUTPUT_AXES:
        if axes is None:
            return [0]
        options = attributes_of(node)
        axis = _OUTPUT_AXES[kind, use.place]
        if kind == "Gemm" and options.get("transB" if use.place else "transA", 0):
            axis = 1 - axis
        if kind == "Gather":
            axis = int(options.get("axis", 0))
        return [axes[axis % len(axes)]] if -len(axes) <= axis < len(axes) else [0]
    after: tuple[int, ...] | None = None
    if kind == "Transpose":
        order = attributes_of(node).get("perm")
        if axes is not None:
            order = list(range(len(axes)))[::-1] if order is None else order
            after = tuple(axes[int(place)] for place in order if 0 <= int(place) < len(axes))
    elif kind in _SAME_AXES:
        after = axes
    elif kind not in _OTHER_AXES or (use.place and kind != "Concat"):
        return [f"{kind} reads it, of which it is no weight"]
    if depth == _DEEPEST:
        return ["it is read through too many nodes"]
    found: list[int | str] = []
    for name in node.output:
        home = use.scope.home_of(name) if name else None
        for reader in home.readers.get(name, []) if home is not None else []:
            found.extend(_ways(reader, after, depth + 1))
    return found or [f"{kind} hands it on to no operator that has weights"]
