"""The quantized types of GGUF: blocks of elements of a row, each with its own scales.

`TYPES` has them all; what they decode to is in ``rust/qcore-kernels/src/ggml``. Two of them are
codes with groups of 32, and a third is written, too:

======  ===========================  =========================================
type    a block                      an element
======  ===========================  =========================================
Q8_0    f16 d, 32 int8               d · q
Q4_0    f16 d, 32 nibbles            d · (q - 8)
Q4_1    f16 d, f16 m, 32 nibbles     d · q + m
======  ===========================  =========================================

Nibbles: byte i holds element i in its low half and element i + 16 in its high half.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore import _core
from qcore._arguments.validation import check_one_of, float_array
from qcore.arrays.tensor.tensor import QTensor

__all__ = [
    "AS_CODES", "BLOCK", "TYPES", "BlockType", "decode_blocks", "encode_blocks", "encode_rows",
    "no_blocks",
    "quantize_blocks",
]  # fmt: skip


class BlockType(NamedTuple):
    """A type of blocks: its number in files, elements and bytes of a block, if it is written."""

    number: int
    elements: int
    nbytes: int
    written: bool


#: The types that are read, by name.
TYPES = {kind[0]: BlockType(*kind[1:]) for kind in _core.ggml_types()}
#: Those that load as a `QTensor`, with the width of their codes; others load as float32.
AS_CODES = {"Q8_0": 8, "Q4_0": 4}
#: Elements of a block of the types that are written.
BLOCK = 32
_WRITTEN = ("Q8_0", "Q4_0", "Q4_1")


def decode_blocks(
    kind: str, data: NDArray[np.uint8], shape: tuple[int, ...]
) -> QTensor | NDArray[np.float32]:
    """Return blocks as a tensor with groups of 32 where they are codes, else as float32."""
    if kind not in AS_CODES:
        out = np.empty(shape, np.float32)
        _core.ggml_decode(kind, data.reshape(-1), out)
        return out
    blocks = data.reshape(-1, TYPES[kind].nbytes)
    step = blocks[:, :2].copy().view("<f2").astype(np.float32)
    groups = (*shape[:-1], shape[-1] // BLOCK)
    if kind == "Q8_0":
        step, wide = _positive(step, blocks[:, 2:].view(np.int8).astype(np.int16))
        if wide.size and wide.max() > 127:  # -128 of a negative step
            return np.asarray((step * wide).reshape(shape), np.float32)
        return QTensor.from_parts(
            wide.astype(np.int8).reshape(shape), step.reshape(groups), group_size=BLOCK
        )
    nibbles = _nibbles(blocks[:, -16:])
    # d(q - 8) of a negative d is |d|((15 - q) - 7).
    negative = step < 0
    zero = np.where(negative, 7, 8)
    codes = np.where(negative, 15 - nibbles, nibbles).astype(np.uint8)
    codes = np.where(step == 0, 8, codes).astype(np.uint8)
    return QTensor.from_parts(
        codes.reshape(shape),
        np.where(step == 0, 1, np.abs(step)).reshape(groups),
        zero.reshape(groups),
        group_size=BLOCK,
        bits=4,
        signed=False,
    )


def no_blocks(shape: tuple[int, ...]) -> str | None:
    """Return why GGUF has no blocks for a tensor of this shape; None if it has.

    Examples
    --------
    >>> no_blocks((4, 33)), no_blocks((4, 64))
    ('its rows have 33 values; blocks of GGUF have 32', None)
    """
    if not shape:
        return "it is one value; blocks of GGUF have 32"
    if shape[-1] % BLOCK:
        return f"its rows have {shape[-1]} values; blocks of GGUF have {BLOCK}"
    return None


def encode_blocks(q: QTensor, kind: str | None = None) -> tuple[str, NDArray[np.uint8]]:
    """Return the type and the blocks of a tensor; exactly, but for the least value of Q4_1.

    Codes of 4 bits whose zero points are anywhere become Q4_1, which has a float16 of the
    least value in the zero point's place: what they decode to moves by less than 2^-11 of it.

    Raises
    ------
    ValueError
        If no type of GGUF holds it: says what one would hold.
    """
    whole = q.ndim and q.shape[-1] % BLOCK == 0 and q.group_size == BLOCK
    if q.scheme != "affine" or q.bits not in (4, 8) or not whole:
        raise ValueError(
            f"{q!r} has no type in GGUF: it has to be affine, of 4 or 8 bits, with group_size=32 "
            "and rows of a multiple of 32"
        )
    step = q.scale.reshape(-1, 1)
    half = step.astype("<f2")
    if not np.array_equal(half.astype(np.float32), step):
        raise ValueError(
            f"{q!r} has scales that are not float16, as GGUF's are: quantize with "
            "scale_dtype='float16'"
        )
    codes, zero = q.values.reshape(-1, BLOCK), q.zero_point.reshape(-1, 1)
    middle = 8 if q.signed else 0
    plain = np.isin(zero + middle, (7, 8)).all()
    if q.bits == 4 and (kind == "Q4_1" or (kind is None and not plain)):
        least = _half(-step * (zero + middle))
        nibbles = (codes.astype(np.int16) + middle).astype(np.uint8)
        return "Q4_1", np.concatenate([half.view(np.uint8), least, _packed(nibbles)], axis=1)
    if q.bits == 8:
        if not q.signed or zero.any():
            raise ValueError(f"{q!r} has no type in GGUF: 8-bit codes are signed and symmetric")
        return "Q8_0", np.concatenate([half.view(np.uint8), codes.view(np.uint8)], axis=1)
    centred = codes.astype(np.int16) - zero
    if centred.size and (centred.min() < -8 or centred.max() > 8):
        raise ValueError(f"{q!r} has no type in GGUF: its zero points are not in the middle")
    flipped = (centred == 8).any(axis=1, keepdims=True)
    if (flipped & (centred == -8).any(axis=1, keepdims=True)).any():
        raise ValueError(f"{q!r} has no type in GGUF: its zero points are not in the middle")
    flipped |= (zero == 7) & (not q.signed)
    nibbles = (np.where(flipped, -centred, centred) + 8).astype(np.uint8)
    signed_half = np.where(flipped, -half, half).astype("<f2")
    return "Q4_0", np.concatenate([signed_half.view(np.uint8), _packed(nibbles)], axis=1)


def encode_rows(x: ArrayLike, kind: str, importance: ArrayLike | None = None) -> NDArray[np.uint8]:
    """Encode rows of floats as blocks that lose least.

    Parameters
    ----------
    x : array_like of float, (..., columns)
        Rows of a multiple of the block's elements; finite.
    kind : str
        A type that is written.
    importance : array_like of float, (columns,), optional
        What the squared error of each column counts; default: all the same.

    Returns
    -------
    ndarray of uint8, (bytes,)

    Raises
    ------
    ValueError
        If rows do not fit, or a value is not finite.
    OverflowError
        If a scale is beyond float16.
    """
    array = np.ascontiguousarray(float_array(x, "x"), np.float32)
    block = TYPES[kind]
    if not array.ndim or array.shape[-1] % block.elements or not array.size:
        raise ValueError(f"x has shape {array.shape}; {kind} has rows of {block.elements}s")
    counts = np.ones(array.shape[-1], np.float32) if importance is None else importance
    out = np.empty(array.size // block.elements * block.nbytes, np.uint8)
    _core.ggml_encode(kind, array, np.ascontiguousarray(counts, np.float32), out)
    return out


def quantize_blocks(x: ArrayLike, kind: str) -> NDArray[np.uint8]:
    """Quantize rows of floats as llama.cpp does: the blocks of a tensor.

    Parameters
    ----------
    x : array_like of float
        Rows of a multiple of 32 elements; computed in float32.
    kind : {"Q8_0", "Q4_0", "Q4_1"}

    Returns
    -------
    ndarray of uint8, (blocks, bytes of a block)

    References
    ----------
    ggml's quantize_row_q8_0_ref, quantize_row_q4_0_ref and quantize_row_q4_1_ref.
    """
    check_one_of(kind, "kind", _WRITTEN)
    array = float_array(x, "x").astype(np.float32, copy=False)
    if not array.ndim or array.shape[-1] % BLOCK:
        raise ValueError(f"x has shape {array.shape}; GGUF's blocks need rows of a multiple of 32")
    blocks = array.reshape(-1, BLOCK)
    if kind == "Q8_0":
        step = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
        scaled = blocks * _inverse(step)
        codes = np.copysign(np.floor(np.abs(scaled) + np.float32(0.5)), scaled).astype(np.int8)
        return np.concatenate([_half(step), codes.view(np.uint8)], axis=1)
    if kind == "Q4_0":
        largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)
        step = largest / np.float32(-8)
        shifted, parts = blocks * _inverse(step) + np.float32(8.5), [_half(step)]
    else:
        least = blocks.min(axis=1, keepdims=True)
        step = (blocks.max(axis=1, keepdims=True) - least) / np.float32(15)
        shifted = (blocks - least) * _inverse(step) + np.float32(0.5)
        parts = [_half(step), _half(least)]
    nibbles = np.minimum(np.trunc(shifted), 15).astype(np.uint8)
    return np.concatenate([*parts, _packed(nibbles)], axis=1)


def _packed(nibbles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    packed: NDArray[np.uint8] = nibbles[:, :16] | np.left_shift(nibbles[:, 16:], np.uint8(4))
    return packed


def _nibbles(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate([packed & 15, packed >> 4], axis=1)


def _positive(
    step: NDArray[np.float32], codes: NDArray[np.int16]
) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """Return the same values with steps above 0; a step of 0 is all zeros."""
    codes = np.where(step == 0, 0, np.where(step < 0, -codes, codes))
    return np.where(step == 0, np.float32(1), np.abs(step)), codes


def _inverse(step: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(divide="ignore"):
        found: NDArray[np.float32] = np.where(step == 0, np.float32(0), np.float32(1) / step)
    return found


def _half(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    with np.errstate(over="ignore"):
        found: NDArray[Any] = values.astype("<f2")
    return found.view(np.uint8)
