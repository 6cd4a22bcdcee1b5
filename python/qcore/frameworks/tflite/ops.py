"""TFLite's ops: how each is read. Images have channels last there, first in a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qcore.arrays.tensor.tensor import QTensor

__all__ = ["FIXED", "OPS", "transposed"]

# As TFLite's schema numbers them: what follows an op in the same node.
_ACTIVATIONS: dict[int, tuple[str, tuple[float, float] | None] | None] = {
    0: None, 1: ("Relu", None), 2: ("Clip", (-1.0, 1.0)), 3: ("Clip", (0.0, 6.0)),
    4: ("Tanh", None),
}  # fmt: skip
_PADDING = {0: "SAME_UPPER", 1: "VALID"}


def _activated(value: str, number: int, node: Any, reader: Any) -> str:
    if number not in _ACTIVATIONS:
        reader.miss(f"activation {number}", node.name)
    found = _ACTIVATIONS.get(number)
    if found is None:
        return value
    op, limits = found
    inputs = [value]
    if limits is not None:
        inputs += [reader.constant(np.float32(limit)) for limit in limits]
    return str(reader.add(op, inputs))


def _finish(node: Any, reader: Any, value: str, number: int = 0) -> None:
    """Give a value the name that the source has for it, behind its activation."""
    reader.call(_activated(value, number, node, reader), node.outputs[0])


def _finish_first(node: Any, reader: Any, value: str, number: int = 0) -> None:
    first = reader.fresh(f"{node.outputs[0]}:channels first")
    reader.call(_activated(value, number, node, reader), first)
    reader.made_first(node.outputs[0], first)


def _conv(node: Any, reader: Any) -> None:
    options = node.options("Conv2DOptions")
    weight = _weight(node, reader, (0, 3, 1, 2))
    _add_conv(node, reader, options, weight, 1)


def _depthwise(node: Any, reader: Any) -> None:
    options = node.options("DepthwiseConv2DOptions")
    weight = _weight(node, reader, (3, 0, 1, 2))
    groups = reader.signatures[node.inputs[0]][3]
    _add_conv(node, reader, options, weight, groups)


def _weight(node: Any, reader: Any, order: tuple[int, ...]) -> Any:
    weight = reader.constants.get(node.inputs[1])
    if weight is None or weight.ndim != 4:
        raise ValueError(f"{node.kind} {node.name!r} has weights that are not constant")
    return transposed(weight, order)


def _add_conv(node: Any, reader: Any, options: Any, weight: Any, groups: int) -> None:
    name = node.inputs[1]
    inputs = [
        reader.first(node.inputs[0]),
        _as_constant(name, weight, reader),
        *_bias(node, reader),
    ]
    value = reader.add(
        "Conv", inputs, group=groups, auto_pad=_PADDING[options.Padding()],
        strides=(options.StrideH(), options.StrideW()),
        dilations=(options.DilationHFactor(), options.DilationWFactor()),
    )  # fmt: skip
    _finish_first(node, reader, value, options.FusedActivationFunction())


def transposed(weight: Any, order: tuple[int, ...]) -> Any:
    """Return a weight with its axes in another order, codes and their parameters too."""
    if not isinstance(weight, QTensor):
        return np.ascontiguousarray(weight.transpose(order))
    axis = None if weight.axis is None else order.index(weight.axis)
    codes = np.ascontiguousarray(weight.values.transpose(order))
    scale: Any
    zero: Any
    scale, zero = weight.scale.reshape(-1), weight.zero_point.reshape(-1)
    if axis is None:
        scale, zero = scale.reshape(()), zero.reshape(())
    return QTensor.from_parts(codes, scale, zero, axis=axis, bits=8, signed=True)


def _as_constant(name: str, array: Any, reader: Any) -> str:
    found = reader.fresh(name)
    reader.constants[found] = array
    return str(found)


def _bias(node: Any, reader: Any) -> list[str]:
    """Return the name of the bias, as floats, if there is one."""
    if len(node.inputs) < 3 or not node.inputs[2]:
        return []
    return [reader.bias(node)]


def _dense(node: Any, reader: Any) -> None:
    options = node.options("FullyConnectedOptions")
    if options.WeightsFormat() != 0:
        reader.miss("FULLY_CONNECTED of shuffled weights", node.name)
    weight = reader.constant_value(node.inputs[1])
    if weight is None or weight.ndim != 2:
        raise ValueError(f"{node.kind} {node.name!r} has weights that are not constant")
    x = reader.last(node.inputs[0])
    rank = reader.rank(node.inputs[0])
    if options.KeepNumDims() and rank != 2:
        whole = reader.constants[node.inputs[1]]
        matrix = _as_constant(node.inputs[1], transposed(whole, (1, 0)), reader)
        value = reader.add("MatMul", [x, matrix])
        for bias in _bias(node, reader):
            value = reader.add("Add", [value, bias])
    else:
        if rank != 2:
            x = reader.add("Reshape", [x, reader.ints([-1, weight.shape[1]])])
        value = reader.add("Gemm", [x, node.inputs[1], *_bias(node, reader)], transB=1)
    _finish(node, reader, value, options.FusedActivationFunction())


def _pool(op: str) -> Callable[[Any, Any], None]:
    def read(node: Any, reader: Any) -> None:
        options = node.options("Pool2DOptions")
        value = reader.add(
            op, [reader.first(node.inputs[0])], auto_pad=_PADDING[options.Padding()],
            kernel_shape=(options.FilterHeight(), options.FilterWidth()),
            strides=(options.StrideH(), options.StrideW()),
        )  # fmt: skip
        _finish_first(node, reader, value, options.FusedActivationFunction())

    return read


def _binary(op: str, options_kind: str | None) -> Callable[[Any, Any], None]:
    def read(node: Any, reader: Any) -> None:
        options = node.options(options_kind) if options_kind and node.table is not None else None
        number = 0 if options is None else options.FusedActivationFunction()
        forms = [_first_form(name, reader) for name in node.inputs[:2]]
        if all(form is not None for form in forms) and any(map(reader.has_first, node.inputs[:2])):
            value = reader.add(op, [str(form) for form in forms])
            _finish_first(node, reader, value, number)
        else:
            names = [reader.last(name) for name in node.inputs[:2]]
            _finish(node, reader, reader.add(op, names), number)

    return read


def _first_form(name: str, reader: Any) -> str | None:
    """Return an operand with channels first: a value that is so, or a constant turned."""
    if reader.has_first(name):
        return str(reader.first(name))
    array = reader.constant_value(name)
    if array is None or array.ndim > 4:
        return None
    if array.size == 1:
        return name
    wide = array.reshape((1,) * (4 - array.ndim) + array.shape).transpose(0, 3, 1, 2)
    return _as_constant(name, np.ascontiguousarray(wide), reader)


def _unary(op: str, **attributes: Any) -> Callable[[Any, Any], None]:
    def read(node: Any, reader: Any) -> None:
        if reader.has_first(node.inputs[0]):
            value = reader.add(op, [reader.first(node.inputs[0])], **attributes)
            _finish_first(node, reader, value)
        else:
            _finish(node, reader, reader.add(op, [node.inputs[0]], **attributes))

    return read


def _clip(low: float, high: float) -> Callable[[Any, Any], None]:
    def read(node: Any, reader: Any) -> None:
        first = reader.has_first(node.inputs[0])
        x = reader.first(node.inputs[0]) if first else node.inputs[0]
        limits = [reader.constant(np.float32(limit)) for limit in (low, high)]
        (_finish_first if first else _finish)(node, reader, reader.add("Clip", [x, *limits]))

    return read


def _softmax(node: Any, reader: Any) -> None:
    beta = float(node.options("SoftmaxOptions").Beta())
    x = reader.last(node.inputs[0])
    if beta not in (0.0, 1.0):
        x = reader.add("Mul", [x, reader.constant(np.float32(beta))])
    reader.add("Softmax", [x], node.outputs[:1], axis=-1)


def _reshape(node: Any, reader: Any) -> None:
    shape = list(reader.signatures[node.outputs[0]])
    if sum(dim < 0 for dim in shape) > 1:
        found = reader.constant_value(node.inputs[1]) if len(node.inputs) > 1 else None
        if found is None:
            raise ValueError(f"RESHAPE {node.name!r} has no constant shape")
        shape = [int(dim) for dim in found]
    batch = reader.signatures[node.inputs[0]]
    if batch and batch[0] < 0 and shape and shape[0] == 1 and -1 not in shape:
        shape[0] = -1  # the converter wrote the batch that it was given
    reader.add("Reshape", [reader.last(node.inputs[0]), reader.ints(shape)], node.outputs[:1])


def _mean(node: Any, reader: Any) -> None:
    keep = int(node.options("ReducerOptions").KeepDims())
    axes = reader.constant_value(node.inputs[1])
    if axes is None:
        raise ValueError(f"MEAN {node.name!r} has axes that are not constant")
    counted = sorted(int(axis) % reader.rank(node.inputs[0]) for axis in np.atleast_1d(axes))
    if counted == [1, 2] and reader.has_first(node.inputs[0]):
        inputs = [reader.first(node.inputs[0]), reader.ints([2, 3])]
        value = reader.add("ReduceMean", inputs, keepdims=keep)
        (_finish_first if keep else _finish)(node, reader, value)
        return
    inputs = [reader.last(node.inputs[0]), reader.ints(counted)]
    reader.add("ReduceMean", inputs, node.outputs[:1], keepdims=keep)


def _pad(node: Any, reader: Any) -> None:
    sizes = reader.constant_value(node.inputs[1])
    if sizes is None or sizes.ndim != 2:
        raise ValueError(f"{node.kind} {node.name!r} has sizes that are not constant")
    value = list(node.inputs[2:3])
    if reader.has_first(node.inputs[0]) and len(sizes) == 4:
        turned = reader.ints(sizes[[0, 3, 1, 2]].T.reshape(-1))
        found = reader.add("Pad", [reader.first(node.inputs[0]), turned, *value])
        _finish_first(node, reader, found)
        return
    turned = reader.ints(sizes.T.reshape(-1))
    reader.add("Pad", [reader.last(node.inputs[0]), turned, *value], node.outputs[:1])


def _concat(node: Any, reader: Any) -> None:
    options = node.options("ConcatenationOptions")
    rank = reader.rank(node.outputs[0])
    axis = int(options.Axis()) % rank
    if rank == 4 and all(map(reader.has_first, node.inputs)):
        inputs = [reader.first(name) for name in node.inputs]
        value = reader.add("Concat", inputs, axis=(0, 2, 3, 1)[axis])
        _finish_first(node, reader, value, options.FusedActivationFunction())
        return
    value = reader.add("Concat", [reader.last(name) for name in node.inputs], axis=axis)
    _finish(node, reader, value, options.FusedActivationFunction())


def _transpose(node: Any, reader: Any) -> None:
    order = reader.constant_value(node.inputs[1])
    if order is None:
        raise ValueError(f"TRANSPOSE {node.name!r} has an order that is not constant")
    perm = tuple(int(axis) for axis in order)
    reader.add("Transpose", [reader.last(node.inputs[0])], node.outputs[:1], perm=perm)


def _dequantize(node: Any, reader: Any) -> None:
    """DEQUANTIZE: of codes, which stand for floats anyway, or of float16, which is float32 here."""
    if node.inputs[0] in reader.codes:
        _unary("Identity")(node, reader)
        return
    reader.add("Cast", [reader.last(node.inputs[0])], node.outputs[:1], to=1)


OPS: dict[str, Callable[[Any, Any], None]] = {
    "ABS": _unary("Abs"),
    "ADD": _binary("Add", "AddOptions"),
    "AVERAGE_POOL_2D": _pool("AveragePool"),
    "CONCATENATION": _concat,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEQUANTIZE": _dequantize,
    "DIV": _binary("Div", "DivOptions"),
    "ELU": _unary("Elu"),
    "EXP": _unary("Exp"),
    "FULLY_CONNECTED": _dense,
    "GELU": _unary("Gelu"),
    "HARD_SWISH": _unary("HardSwish"),
    "LOGISTIC": _unary("Sigmoid"),
    "MAXIMUM": _binary("Max", None),
    "MAX_POOL_2D": _pool("MaxPool"),
    "MEAN": _mean,
    "MINIMUM": _binary("Min", None),
    "MUL": _binary("Mul", "MulOptions"),
    "NEG": _unary("Neg"),
    "PAD": _pad,
    "PADV2": _pad,
    "QUANTIZE": _unary("Identity"),
    "RELU": _unary("Relu"),
    "RELU6": _clip(0.0, 6.0),
    "RELU_N1_TO_1": _clip(-1.0, 1.0),
    "RESHAPE": _reshape,
    "SOFTMAX": _softmax,
    "SQRT": _unary("Sqrt"),
    "SUB": _binary("Sub", "SubOptions"),
    "TANH": _unary("Tanh"),
    "TRANSPOSE": _transpose,
}

#: Ops whose integers there are to the bit.
FIXED = frozenset({
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED",
    "MAX_POOL_2D", "PAD", "RESHAPE", "SOFTMAX", "TRANSPOSE",
})  # fmt: skip
