"""Codes by scales that are computed, or by one scale for each block: read as arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.tensor import QTensor
from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Reader
from qcore.frameworks.onnx.ops.attending import size_of

__all__ = ["codes_of", "floats_of", "from_codes", "in_groups", "to_codes"]

_FLOAT, _INT32 = 1, 6
#: The least and the largest code, and ONNX's number, of the types of codes that run.
_CODES = {"uint8": (0, 255, 2), "int8": (-128, 127, 3)}


def in_groups(
    codes: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any] | None, axis: int, block: int
) -> QTensor | None:
    """Return a constant matrix with one scale for each block of an axis, that axis last.

    None where there is no such weight: it becomes floats.
    """
    if codes.ndim != 2 or scale.ndim != 2 or codes.dtype not in (np.int8, np.uint8):
        return None
    if not -2 <= axis < 2 or block < 1:
        return None
    rows, steps = (x if axis % 2 == 1 else x.T for x in (codes, scale))
    zeros = np.zeros(steps.shape, np.int32)
    if zero is not None:
        if zero.shape != scale.shape:
            return None
        zeros = (zero if axis % 2 == 1 else zero.T).astype(np.int32)
    if steps.shape != (rows.shape[0], -(-rows.shape[1] // block)):
        return None
    narrow = rows.min(initial=0) >= -8 and rows.max(initial=0) <= (
        7 if rows.dtype == np.int8 else 15
    )
    bits = 4 if narrow else 8
    half = 0 if rows.dtype == np.int8 else 1 << (bits - 1)
    try:
        return QTensor.from_parts(
            np.ascontiguousarray(rows.astype(np.int16) - half).astype(np.int8),
            np.ascontiguousarray(steps, np.float32), np.ascontiguousarray(zeros - half),
            bits=bits, signed=True, group_size=block,
        )  # fmt: skip
    except (ValueError, OverflowError):
        return None


def _aligned(node: SourceNode, reader: Reader, x: str, part: str, axis: int, block: int) -> str:
    """Return scales or zero points so that they broadcast with the values that have them."""
    rank, own = reader.rank(x), reader.rank(part)
    if own == 0:
        return part
    if rank is None or own is None or (not block and own != 1) or (block and own != rank):
        reader.miss(f"{node.op} of values or by scales of unknown dims", node.name)
        return part
    if not -rank <= axis < rank:
        raise ValueError(f"node {node.name!r} ({node.op}) has axis {axis} of {rank} dims")
    axis %= rank
    if not block:
        shape = [1] * rank
        shape[axis] = -1
        return reader.add("Reshape", [part, reader.ints(shape)])
    many = [1] * (rank + 1)
    many[axis + 1] = block
    apart = reader.add("Unsqueeze", [part, reader.ints(axis + 1)])
    apart = reader.add("Expand", [apart, reader.ints(many)])
    sizes = [reader.add("Shape", [part], start=at, end=at + 1) for at in range(rank)]
    sizes[axis] = reader.add("Mul", [sizes[axis], reader.ints(block)])
    whole = reader.add("Reshape", [apart, reader.add("Concat", sizes, axis=0)])
    end = reader.add("Unsqueeze", [size_of(reader, x, axis), reader.ints(0)])
    return reader.add("Slice", [whole, reader.ints(0), end, reader.ints(axis)])


def floats_of(
    reader: Reader, x: str, scale: str, zero: str, outputs: Sequence[str] | None = None
) -> str:
    """Add what codes stand for; scale and zero point broadcast with them."""
    value = reader.add("Cast", [x], to=_INT32)
    if zero:
        value = reader.add("Sub", [value, reader.add("Cast", [zero], to=_INT32)])
    return reader.add("Mul", [reader.add("Cast", [value], to=_FLOAT), scale], outputs)


def codes_of(
    reader: Reader, x: str, scale: str, zero: str, outputs: Sequence[str], kind: str = ""
) -> str:
    """Add the codes of floats; scale and zero point broadcast with them.

    Raises
    ------
    ValueError
        If the zero point is of a type that codes are not.
    """
    known = reader.value(zero) if zero else None
    kind = kind or (known.running_dtype if known is not None else "uint8")
    if kind not in _CODES:
        raise ValueError(f"the zero point is {kind}; it must be {' or '.join(_CODES)}")
    low, high, to = _CODES[kind]
    value = reader.add("Round", [reader.add("Div", [x, scale])])
    if zero:
        value = reader.add("Add", [value, reader.add("Cast", [zero], to=_FLOAT)])
    limits = [reader.constant(np.float32(limit)) for limit in (low, high)]
    return reader.add("Cast", [reader.add("Clip", [value, *limits])], outputs, to=to)


def from_codes(node: SourceNode, reader: Reader) -> None:
    """Read a DequantizeLinear as arithmetic."""
    x, axis, block = node.inputs[0], int(node.get("axis", 1)), int(node.get("block_size", 0))
    scale, zero = (
        _aligned(node, reader, x, name, axis, block) if name else ""
        for name in (node.inputs[1], node.input(2))
    )
    floats_of(reader, x, scale, zero, node.outputs)


def to_codes(node: SourceNode, reader: Reader, inputs: Sequence[str]) -> None:
    """Read a QuantizeLinear as arithmetic."""
    x, axis, block = inputs[0], int(node.get("axis", 1)), int(node.get("block_size", 0))
    known = reader.value(inputs[2])
    kind = "" if known is None else known.running_dtype
    if kind not in _CODES:
        reader.miss(f"{node.op} to codes of a type that is not known", node.name)
        return
    scale, zero = (_aligned(node, reader, x, name, axis, block) for name in inputs[1:3])
    codes_of(reader, x, scale, zero, node.outputs, kind)
