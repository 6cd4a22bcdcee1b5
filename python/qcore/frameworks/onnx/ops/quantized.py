"""The quantized spellings of ONNX and ONNX Runtime: integers, and what they stand for.

Weights become codes (`QTensor`). Between other integers and floats stand QuantizeLinear and
DequantizeLinear, as in the model or for what one of the QLinear ops takes and gives;
`qcore.graph.passes.quantized` then says which values are codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.tensor import QTensor
from qcore.frameworks.onnx.model.codes import fitting_scales
from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, same, unwritten, write_plain
from qcore.frameworks.onnx.ops.scaled import (
    codes_of,
    floats_of,
    from_codes,
    in_groups,
    to_codes,
)

__all__ = ["OPS", "matmul_integer"]

_FLOAT, _UINT8, _INT32 = 1, 2, 6
_MIDDLE = 128


def _dequantize(node: SourceNode, reader: Reader) -> None:
    codes = reader.constant_value(node.inputs[0])
    scale, zero = reader.constant_value(node.inputs[1]), reader.constant_value(node.input(2))
    axis, block = int(node.get("axis", 1)), int(node.get("block_size", 0))
    if codes is None or scale is None or (node.input(2) and zero is None):
        if block or not _is_fixed(node, reader):
            from_codes(node, reader)
            return
        reader.add("DequantizeLinear", node.inputs, node.outputs, axis=axis)
        return
    grouped: Any = in_groups(codes, scale, zero, axis, block) if block else None
    if grouped is not None and axis % codes.ndim == 0:
        name = reader.fresh(f"{node.inputs[0]}:codes")
        reader.constants[name] = grouped
        reader.add("Transpose", [name], node.outputs, perm=(1, 0))
        return
    found: Any = decoded(codes, scale, zero, axis, block) if grouped is None else grouped
    reader.constants[node.outputs[0]] = found
    reader.names.add(node.outputs[0])


def decoded(
    codes: NDArray[Any],
    scale: NDArray[Any],
    zero: NDArray[Any] | None,
    axis: int = 1,
    block: int = 0,
) -> Any:
    """Return constant codes as a QTensor, if they are int8 or uint8 around 0, else as floats."""
    scale = np.asarray(scale, np.float32)
    steps, points, axis = fitting_scales(codes.shape, scale, zero, axis, block)
    zeros = np.zeros(steps.shape, np.int64) if points is None else points.astype(np.int64)
    if codes.dtype == np.uint8 and (zeros == _MIDDLE).all():
        # In two's complement half of the range is taken away by turning the highest bit.
        codes, zeros = (codes ^ np.uint8(_MIDDLE)).view(np.int8), np.zeros_like(zeros)
    if codes.dtype == np.int8 and not zeros.any() and not block:
        return QTensor.from_parts(
            codes, steps, bits=8, signed=True, axis=axis if steps.ndim else None
        )
    wide: Any = codes.astype(np.float64)
    if block:
        places = np.arange(codes.shape[axis]) // block
        steps, zeros = np.take(steps, places, axis=axis), np.take(zeros, places, axis=axis)
    elif steps.ndim:
        shape = [1] * codes.ndim
        shape[axis] = -1
        steps, zeros = steps.reshape(shape), zeros.reshape(shape)
    return np.asarray((wide - zeros) * steps.astype(np.float64), np.float32)


def _is_fixed(node: SourceNode, reader: Reader) -> bool:
    """Whether the scale and the zero point of a node are constants."""
    return all(reader.constant_value(name) is not None for name in node.inputs[1:] if name)


def _quantize(node: SourceNode, reader: Reader) -> None:
    inputs = list(node.inputs)
    if not node.input(2):
        kind = int(node.get("output_dtype", 0)) or _UINT8
        name = {_UINT8: np.uint8, 3: np.int8}.get(kind)
        if name is None:
            reader.miss(f"{node.op} to type {kind}", node.name)
            return
        inputs[2:] = [reader.constant(np.zeros((), name))]
    if not _is_fixed(node, reader) or node.get("block_size", 0):
        to_codes(node, reader, inputs)
        return
    axis = int(node.get("axis", 1))
    reader.add("QuantizeLinear", inputs, node.outputs, axis=axis)


def _real(reader: Reader, x: str, scale: str, zero: str, *, axis: int = 0) -> str:
    """Return what an operand of a QLinear op stands for; several scales are those of an axis."""
    codes, steps = reader.constant_value(x), reader.constant_value(scale)
    zeros = reader.constant_value(zero) if zero else None
    if codes is not None and steps is not None and (zeros is not None or not zero):
        name = reader.fresh(f"{x}:real")
        reader.constants[name] = decoded(codes, steps, zeros, axis=0)
        return name
    if steps is None or (zeros is None and zero):
        scale, zero = (_by_axis(reader, x, part, axis) for part in (scale, zero))
        return floats_of(reader, x, scale, zero)
    return reader.add("DequantizeLinear", [x, scale, zero])


def _by_axis(reader: Reader, x: str, part: str, axis: int) -> str:
    """Return scales or zero points along an axis of the values that have them."""
    rank, known = reader.rank(x), reader.value(part) if part else None
    if rank is None or known is None or known.ndim != 1 or known.shape == (1,):
        return part
    shape = [1] * rank
    shape[axis] = -1
    return reader.add("Reshape", [part, reader.ints(shape)])


def _made(reader: Reader, value: str, scale: str, zero: str, outputs: Sequence[str]) -> None:
    """Make codes of what a QLinear op gives."""
    if reader.constant_value(scale) is None or (zero and reader.constant_value(zero) is None):
        codes_of(reader, value, scale, zero, outputs)
        return
    reader.add("QuantizeLinear", [value, scale, zero], outputs)


def _linear(
    op: str, operands: Sequence[tuple[int, int, int]], output: tuple[int, int],
    others: Callable[[SourceNode, Reader], Sequence[str]] | None = None,
    attributes: Sequence[str] = (),
) -> Callable[[SourceNode, Reader], None]:  # fmt: skip
    """Return what reads an op that takes codes, does `op` with floats, and gives codes."""

    def read(node: SourceNode, reader: Reader) -> None:
        inputs = [
            _real(reader, node.inputs[x], node.inputs[scale], node.input(zero))
            for x, scale, zero in operands
        ]
        inputs += others(node, reader) if others is not None else ()
        kept = {name: node.get(name) for name in attributes}
        value = reader.add(op, inputs, **kept)
        scale, zero = output
        _made(reader, value, node.inputs[scale], node.input(zero), node.outputs)

    return read


def _conv_bias(node: SourceNode, reader: Reader) -> list[str]:
    """Return the bias of a QLinearConv as floats."""
    name = node.input(8)
    if not name:
        return []
    parts = [reader.constant_value(part) for part in (name, node.inputs[1], node.inputs[4])]
    if any(part is None for part in parts):
        raise ValueError(f"node {node.name!r} (QLinearConv) has a bias that is not constant")
    bias, x, w = (np.asarray(part, np.float64) for part in parts)
    return [reader.constant(np.asarray(bias * (x.reshape(()) * w.reshape(-1)), np.float32))]


def _per_column(node: SourceNode, reader: Reader) -> None:
    """Read a QLinearMatMul, whose second operand may have a scale for each column."""
    a = _real(reader, *(node.input(at) for at in (0, 1, 2)))
    codes, scale, zero = (reader.constant_value(node.input(at)) for at in (3, 4, 5))
    if codes is not None and scale is not None:
        b = reader.fresh(f"{node.inputs[3]}:real")
        reader.constants[b] = decoded(codes, scale, zero, axis=-1)
    else:
        b = _real(reader, *(node.input(at) for at in (3, 4, 5)), axis=-1)
    value = reader.add("MatMul", [a, b])
    _made(reader, value, node.inputs[6], node.input(7), node.outputs)


def _qgemm(node: SourceNode, reader: Reader) -> None:
    """Read ONNX Runtime's QGemm: a, b, c, y with their scales and zero points."""
    inputs = [
        _real(reader, *(node.input(at) for at in range(first, first + 3))) for first in (0, 3)
    ]
    if node.input(6):
        c, a, b = (reader.constant_value(node.inputs[at]) for at in (6, 1, 4))
        if c is None or a is None or b is None:
            raise ValueError(f"node {node.name!r} (QGemm) has a bias that is not constant")
        alpha = float(node.get("alpha", 1.0))
        unit = np.float64(a.reshape(())) * b.reshape(-1).astype(np.float64) * alpha
        inputs.append(reader.constant(np.asarray(c * unit, np.float32)))
    kept = {name: node.get(name) for name in ("alpha", "transA", "transB")}
    value = reader.add("Gemm", inputs, **kept)
    if node.input(7):
        _made(reader, value, node.inputs[7], node.input(8), node.outputs)
    else:
        reader.add("Identity", [value], node.outputs)


def _concat(node: SourceNode, reader: Reader) -> None:
    parts = [node.inputs[at : at + 3] for at in range(2, len(node.inputs), 3)]
    inputs = [_real(reader, *part) for part in parts]
    value = reader.add("Concat", inputs, axis=node.get("axis"))
    _made(reader, value, node.inputs[0], node.inputs[1], node.outputs)


def _wide(reader: Reader, x: str, zero: str, to: int) -> str:
    """Return integers counted from their zero point, in a wider type."""
    value = reader.add("Cast", [x], to=to)
    return reader.add("Sub", [value, reader.add("Cast", [zero], to=to)]) if zero else value


def _is_plain_product(reader: Reader, operands: Sequence[str]) -> bool:
    """Whether a product is by a constant matrix, with one zero point for all rows."""
    _, weight_name, first_name, zero_name = operands
    weight, zero = (reader.constant_value(name) for name in (weight_name, zero_name))
    if weight is None or weight.ndim != 2 or (zero_name and zero is None):
        return False
    first = reader.constant_value(first_name)
    one = not first_name or reader.rank(first_name) == 0
    columns = zero is None or zero.size in (1, weight.shape[1])
    return columns and (one or (first is not None and first.size == 1))


def matmul_integer(
    reader: Reader, operands: Sequence[str], outputs: Sequence[str] | None = None
) -> str:
    """Add a product of integers: both, and the zero point of each ("" for 0)."""
    if _is_plain_product(reader, operands):
        return reader.add("MatMulInteger", operands, outputs)
    wide = [_wide(reader, operands[at], operands[at + 2], _INT32) for at in (0, 1)]
    return reader.add("MatMul", wide, outputs)


def _matmul_integer(node: SourceNode, reader: Reader) -> None:
    matmul_integer(reader, [node.input(at) for at in range(4)], node.outputs)


def _conv_integer(node: SourceNode, reader: Reader) -> None:
    """Read a ConvInteger: codes with steps of 1, whose sums are integers."""
    one = reader.constant(np.float32(1))
    x = _real(reader, node.inputs[0], one, node.input(2))
    zeros = reader.value(node.input(3)) if node.input(3) else None
    count = zeros.shape[0] if zeros is not None and zeros.shape else 1
    if isinstance(count, int) and count > 1:
        one = reader.constant(np.ones(count, np.float32))
    w = _real(reader, node.inputs[1], one, node.input(3))
    kept = {name: node.get(name) for name in _CONV}
    reader.add("Cast", [reader.add("Conv", [x, w], **kept)], node.outputs, to=_INT32)


_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_WINDOW = (*_CONV[:2], *_CONV[3:], "ceil_mode", "count_include_pad")
_TWO = ((0, 1, 2), (3, 4, 5))
_ONE = ((0, 1, 2),)


def _op(
    read: Callable[[SourceNode, Reader], None], inputs: tuple[int, int | None], n: int = 1
) -> Op:
    return Op(read, unwritten, inputs, n, None)


_RUNTIME = "com.microsoft::"
_plain = same("axis", inputs=(2, 3))

OPS: dict[str, Op] = {
    "ConvInteger": _op(_conv_integer, (2, 4)),
    "DequantizeLinear": Op(_dequantize, _plain.write, (2, 3), 1, None),
    "DynamicQuantizeLinear": same(inputs=1, outputs=3),
    "MatMulInteger": Op(_matmul_integer, write_plain, (2, 4), 1, frozenset()),
    "QLinearConv": _op(
        _linear("Conv", ((0, 1, 2), (3, 4, 5)), (6, 7), _conv_bias, _CONV), (8, 9)
    ),
    "QLinearMatMul": _op(_per_column, (8, 8)),
    "QuantizeLinear": Op(_quantize, _plain.write, (2, 3), 1, None),
    f"{_RUNTIME}DequantizeLinear": Op(_dequantize, _plain.write, (2, 3), 1, None),
    f"{_RUNTIME}QGemm": _op(_qgemm, (6, 9)),
    f"{_RUNTIME}QLinearAdd": _op(_linear("Add", _TWO, (6, 7)), (7, 8)),
    f"{_RUNTIME}QLinearAveragePool": _op(
        _linear("AveragePool", _ONE, (3, 4), None, _WINDOW), (4, 5)
    ),
    f"{_RUNTIME}QLinearConcat": _op(_concat, (5, None)),
    f"{_RUNTIME}QLinearGlobalAveragePool": _op(_linear("GlobalAveragePool", _ONE, (3, 4)), (4, 5)),
    f"{_RUNTIME}QLinearLeakyRelu": _op(
        _linear("LeakyRelu", _ONE, (3, 4), None, ("alpha",)), (4, 5)
    ),
    f"{_RUNTIME}QLinearMul": _op(_linear("Mul", _TWO, (6, 7)), (7, 8)),
    f"{_RUNTIME}QLinearSigmoid": _op(_linear("Sigmoid", _ONE, (3, 4)), (4, 5)),
    f"{_RUNTIME}QuantizeLinear": Op(_quantize, _plain.write, (2, 3), 1, None),
}  # fmt: skip
