"""Codes in an ONNX graph, as the tensors that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.tensor import QTensor
from qcore.frameworks.onnx.model.constants import kind_of_tensor

__all__ = ["attributes_of", "decoded_blocks", "dequantized", "fitting_scales"]

#: Types of codes that a QTensor holds, by ONNX's number: bits, signed.
_CODES = {
    2: (8, False), 3: (8, True), 4: (16, False), 5: (16, True), 21: (4, False), 22: (4, True),
    25: (2, False), 26: (2, True),
}  # fmt: skip

Arrays = Callable[[Any], NDArray[Any]]


def attributes_of(node: Any) -> dict[str, Any]:
    """Return the attributes of a node, by name."""
    from onnx import helper

    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def dequantized(
    node: Any, codes: Any, scale: Any, zero: Any | None, array_of: Arrays
) -> QTensor | NDArray[np.float32]:
    """Return what a DequantizeLinear makes of constants.

    Parameters
    ----------
    node : NodeProto
    codes, scale, zero : TensorProto
    array_of : callable
        Gives a tensor's array.

    Returns
    -------
    QTensor or ndarray
        Decoded where the codes are floats, of 32 bits, or in blocks that do not lie in rows.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    values, steps = array_of(codes), array_of(scale).astype(np.float32)
    zeros = None if zero is None else array_of(zero)
    options = attributes_of(node)
    axis, block = int(options.get("axis", 1)), int(options.get("block_size", 0))
    found = _CODES.get(codes.data_type)
    steps, zeros, axis = fitting_scales(values.shape, steps, zeros, axis, block)
    layout: dict[str, Any] = {"axis": axis} if steps.ndim else {}
    if found is None or block:
        return _decoded(values, steps, zeros, axis, block, found)
    if zeros is not None:
        zeros = zeros.astype(np.int32)
    return QTensor.from_parts(values, steps, zeros, bits=found[0], signed=found[1], **layout)


def fitting_scales(
    shape: tuple[int, ...],
    steps: NDArray[np.float32],
    zeros: NDArray[Any] | None,
    axis: int,
    block: int,
) -> tuple[NDArray[np.float32], NDArray[Any] | None, int]:
    """Return scales and zero points that fit codes of a shape, and their axis counted from 0.

    One for all comes without dims.

    Raises
    ------
    ValueError
        If they are neither one for all, nor one along the axis, nor one for each block of it.
    """
    if zeros is not None and zeros.size != steps.size:
        raise ValueError(f"there are {zeros.size} zero points for {steps.size} scales")
    if steps.size == 1 and not block:
        return steps.reshape(()), None if zeros is None else zeros.reshape(()), 0
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"the axis is {axis}, of codes of {len(shape)} dims")
    if block < 0:
        raise ValueError(f"block_size is {block}; it must not be negative")
    axis %= len(shape)
    wanted = shape[axis : axis + 1]
    if block:
        wanted = (*shape[:axis], -(-shape[axis] // block), *shape[axis + 1 :])
    if steps.shape != wanted:
        raise ValueError(
            f"scales of shape {steps.shape} are not those of axis {axis} of {shape}; they must be "
            f"of shape {wanted}"
        )
    return steps, None if zeros is None else zeros.reshape(wanted), axis


def _decoded(
    values: NDArray[Any],
    steps: NDArray[np.float32],
    zeros: NDArray[Any] | None,
    axis: int,
    block: int,
    found: tuple[int, bool] | None,
) -> QTensor | NDArray[np.float32]:
    if block:
        rows = axis == values.ndim - 1
        if found is not None and rows:
            zeros = None if zeros is None else zeros.astype(np.int32)
            return QTensor.from_parts(
                values, steps, zeros, bits=found[0], signed=found[1], group_size=block
            )
        places = np.arange(values.shape[axis]) // block
        steps = np.take(steps, places, axis=axis)
        zeros = None if zeros is None else np.take(zeros, places, axis=axis)
    elif steps.ndim:
        shape = [1] * values.ndim
        shape[axis] = -1
        steps = steps.reshape(shape)
        zeros = None if zeros is None else zeros.reshape(shape)
    wide = np.float64 if values.dtype == np.int32 else np.float32
    real = values.astype(wide)
    if zeros is not None:
        real -= zeros.astype(wide)
    return np.asarray(real * steps, np.float32)


def decoded_blocks(node: Any, tensors: list[Any], array_of: Arrays) -> NDArray[np.float32]:
    """Return the weight (K, N) of a MatMulNBits.

    Parameters
    ----------
    node : NodeProto
    tensors : list of (TensorProto or None)
        Its inputs from the second on: codes, scales, zero points, order of groups, bias.
    array_of : callable

    Raises
    ------
    ValueError
        If its shapes do not fit.
    """
    options = attributes_of(node)
    inner, outer = int(options["K"]), int(options["N"])
    bits, block = int(options.get("bits", 4)), int(options["block_size"])
    packed, scales, zeros, order, _ = [*tensors, None, None, None, None, None][:5]
    if bits not in (2, 4, 8) or block < 1 or inner < 1 or outer < 1:
        raise ValueError(f"MatMulNBits {node.name!r} is of {bits} bits in blocks of {block}")
    blocks = -(-inner // block)
    codes = _unpacked(array_of(packed).reshape(outer, -1), bits, inner)
    steps = array_of(scales).reshape(outer, blocks).astype(np.float32)
    middle: Any = np.full((outer, blocks), 1 << bits - 1, np.float32)
    if zeros is not None:
        stored = array_of(zeros)
        if kind_of_tensor(zeros).name == "uint8":
            middle = _unpacked(stored.reshape(outer, -1), bits, blocks).astype(np.float32)
        else:
            middle = stored.reshape(outer, blocks).astype(np.float32)
    places = np.arange(inner) // block
    if order is not None and array_of(order).size:
        places = array_of(order).reshape(-1)[:inner].astype(np.intp)
        if places.shape != (inner,) or (inner and not 0 <= places.min() <= places.max() < blocks):
            raise ValueError(f"MatMulNBits {node.name!r} has g_idx beyond its {blocks} groups")
    real = (codes.astype(np.float32) - middle[:, places]) * steps[:, places]
    return np.ascontiguousarray(real.T)


def _unpacked(rows: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """Return the first codes of each row, the lowest bits of a byte first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (rows[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    flat = codes.reshape(len(rows), -1)
    if flat.shape[1] < count:
        raise ValueError(f"rows of {flat.shape[1]} codes; there must be {count}")
    return np.asarray(flat[:, :count])
