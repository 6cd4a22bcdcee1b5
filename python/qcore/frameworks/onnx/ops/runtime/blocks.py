"""ONNX Runtime's products by weights in blocks of few bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.tensor import QTensor
from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, unwritten
from qcore.graph.lowering.operands import DYNAMIC

__all__ = ["OPS"]

#: What `accuracy_level` says of a product that takes its input as int8.
_INT8 = 4


def _read(node: SourceNode, reader: Reader) -> None:
    """Read a MatMulNBits: a MatMul by codes in groups of inputs.

    Its input becomes int8 row by row where the node asks for that and no group has a zero point
    of its own; else weights are floats.
    """
    inner, outer = int(node.get("K", 0)), int(node.get("N", 0))
    bits, block = int(node.get("bits", 4)), int(node.get("block_size", 32))
    if bits not in (2, 4, 8) or block < 16 or block & (block - 1) or inner < 1 or outer < 1:
        raise ValueError(
            f"node {node.name!r} (MatMulNBits) is {inner} x {outer} of {bits} bits in blocks of "
            f"{block}; bits are 2, 4 or 8, blocks a power of 2 from 16 on"
        )
    blocks = -(-inner // block)
    packed, scales, zeros, order, bias = (
        reader.constant_value(node.input(at)) if node.input(at) else None for at in range(1, 6)
    )
    if packed is None or scales is None:
        reader.miss("MatMulNBits by weights that are computed", node.name)
        return
    codes = _unpacked(packed.reshape(outer, -1), bits, inner, node.name)
    steps = np.asarray(scales, np.float32)
    if steps.size != outer * blocks:
        raise ValueError(f"node {node.name!r} (MatMulNBits) has {steps.size} scales")
    steps = steps.reshape(outer, blocks)
    half = 1 << (bits - 1)
    middle: NDArray[Any] = np.full((outer, blocks), half, np.float32)
    if zeros is not None:
        whole = zeros.dtype == np.uint8
        rows = zeros.reshape(outer, -1)
        middle = _unpacked(rows, bits, blocks, node.name) if whole else rows[:, :blocks]
    places = np.arange(inner) // block
    if order is not None and order.size:
        places = np.asarray(order, np.int64).reshape(-1)[:inner]
        if len(places) != inner or places.min() < 0 or places.max() >= blocks:
            raise ValueError(f"node {node.name!r} (MatMulNBits) has g_idx beyond {blocks} blocks")
    middle = np.asarray(middle, np.float32)
    weight: Any
    attributes = {}
    if (order is None or not order.size) and (middle == middle.round()).all():
        signed = (codes.astype(np.int16) - half).astype(np.int8)
        weight = QTensor.from_parts(
            signed, steps, (middle - half).astype(np.int32), bits=bits, signed=True,
            group_size=block,
        )  # fmt: skip
        if int(node.get("accuracy_level", 0)) == _INT8 and bits <= 4 and (middle == half).all():
            attributes[DYNAMIC] = 1
    else:
        weight = (codes.astype(np.float32) - middle[:, places]) * steps[:, places]
    name = reader.fresh(f"{node.input(1)}:codes")
    reader.constants[name] = weight
    across = reader.add("Transpose", [name], perm=(1, 0))
    inputs = [node.inputs[0], across, node.input(5) if bias is not None else ""]
    if node.input(5) and bias is None:
        value = reader.add("MatMul", inputs[:2], **attributes)
        reader.add("Add", [value, node.input(5)], node.outputs)
        return
    reader.add("MatMul", inputs, node.outputs, **attributes)


def _unpacked(rows: NDArray[Any], bits: int, count: int, name: str) -> NDArray[np.uint8]:
    """Return the first codes of each row, the lowest bits of a byte first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (rows[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    flat: NDArray[np.uint8] = codes.reshape(len(rows), -1)
    if flat.shape[1] < count:
        raise ValueError(f"node {name!r} (MatMulNBits) has {flat.shape[1]} codes for {count}")
    return np.ascontiguousarray(flat[:, :count])


OPS: dict[str, Op] = {"com.microsoft::MatMulNBits": Op(_read, unwritten, (3, 6), 1, None)}
