"""Which kernel reads which quantized weights: the one place for it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._core import PackedWeights
from qcore.arrays.products.blocks import BsrMatrix, block_pattern
from qcore.arrays.products.crossover import crossover
from qcore.arrays.products.matrix import SparseMatrix
from qcore.arrays.products.n_of_m import NmMatrix, n_of_m_pattern
from qcore.arrays.products.sparse import CsrMatrix
from qcore.arrays.schemes.binary import signs
from qcore.arrays.tensor.tensor import QTensor

__all__ = [
    "integer_codes",
    "output_scale",
    "packed_weights",
    "sparse_form",
    "sparse_matrix",
    "sparse_weights",
]

#: The share of weights that are not zero, from which on nobody has pruned them.
_PRUNED = 0.8

#: The longest sum of products of int8 that int32 is certain to hold.
LONGEST = 131_071


def packed_weights(w: QTensor, activations: str | None) -> PackedWeights:
    """Return weights (out, in) laid out for their kernel; made once for each tensor.

    `activations`: "dynamic" or "static" for integer kernels where there is one for such weights and
    such inputs, or None.
    """
    if w.ndim != 2:
        raise ValueError(f"w has shape {w.shape}; it must be (out, in)")
    make = _float
    codes = None if activations is None else integer_codes(w)
    if codes is not None and _form(w) is not None:
        make = _sparse_integer
    elif activations == "dynamic" and _is_int4(w):
        make = _int4
    elif codes is not None:
        make = _integer
    packed: PackedWeights = w._cached(make.__name__, lambda: make(w))
    return packed


def sparse_form(values: NDArray[np.generic]) -> str | None:
    """Return the sparse form in which weights (out, in), float32 or int8, are the fastest.

    "csr", an N:M pattern or blocks; None if they are faster dense, whatever the number of rows.
    """
    stored = values != 0
    count, kind = int(np.count_nonzero(stored)), values.dtype.name
    if not values.size or count >= _PRUNED * values.size:
        return None
    share = count / values.size
    found = {"csr": crossover(f"csr {kind}", share)}
    if pattern := n_of_m_pattern(stored):
        found[pattern] = crossover(f"{pattern} {kind}", share)
    if block := block_pattern(stored):
        found[block] = crossover(f"{_band(block)} {kind}", share)
    speeds = {form: entry.speed for form, entry in found.items() if entry}
    return max(speeds, key=lambda form: speeds[form]) if speeds else None


def sparse_matrix(values: NDArray[Any], form: str) -> SparseMatrix:
    """Return weights in one of the forms of `sparse_form`."""
    if form == "csr":
        return CsrMatrix.from_dense(values)
    return (NmMatrix if ":" in form else BsrMatrix).from_dense(values, form)


def sparse_weights(matrix: SparseMatrix, scale: NDArray[np.float32] | None) -> PackedWeights:
    """Return a sparse matrix (out, in) as weights, dense for so few rows that this is faster."""
    kind = matrix.dtype.name
    if isinstance(matrix, NmMatrix):
        # As integers they are chosen for their bytes, which a dense form would take back.
        rows = 0 if kind == "int8" else _rows(f"{matrix.pattern} {kind}", matrix.density)
        return PackedWeights.n_of_m(matrix._matrix, scale, rows)
    if isinstance(matrix, BsrMatrix):
        rows = _rows(f"{_band(matrix.pattern)} {kind}", matrix.density)
        return PackedWeights.blocks(matrix._matrix, scale, rows)
    rows = _rows(f"csr {kind}", matrix.density)
    return PackedWeights.csr(matrix._matrix, scale, rows)


def _rows(kind: str, density: float) -> int:
    entry = crossover(kind, density)
    return sys.maxsize if entry is None else entry.rows


def _band(block: str) -> str:
    """Return what the speed of blocks depends on: how many rows share what they read."""
    height = int(block.split("x")[0])
    return f"blocks of {4 if height % 4 == 0 else 2 if height > 1 else 1}"


def _sparse_integer(w: QTensor) -> PackedWeights:
    codes, form = integer_codes(w), _form(w)
    assert codes is not None
    assert form is not None
    return sparse_weights(sparse_matrix(codes, form), output_scale(w))


def _form(w: QTensor) -> str | None:
    """Return the sparse form of integer weights, if they have one; found once for each tensor."""
    codes = integer_codes(w)
    form: str | None = w._cached(
        "sparse form", lambda: None if codes is None else sparse_form(codes)
    )
    return form


def _is_int4(w: QTensor) -> bool:
    """Whether the 4-bit kernel can read such weights: groups are whole lines of 8 inputs."""
    if w.scheme != "affine" or w.bits > 4 or not w.signed or w.zero_point.any():
        return False
    if w.float_rows is not None:
        return False
    if w.group_size is not None:
        return w.group_size % 8 == 0 or w.group_size >= w.shape[1]
    return w.bits == 4 and w.axis in (0, None) and w.shape[1] <= LONGEST


def _int4(w: QTensor) -> PackedWeights:
    inputs = max(1, w.shape[1])
    codes = np.ascontiguousarray(w.values)
    if w.group_size is None:
        return PackedWeights.int4(codes, output_scale(w), inputs)
    return PackedWeights.int4(codes, w.scale, w.group_size)


def integer_codes(w: QTensor) -> NDArray[np.int8] | None:
    """Return codes (out, in) whose 0 is 0, if an integer kernel can read such weights, or None."""
    codes: NDArray[np.int8] | None = w._cached("integer codes", lambda: _integer_codes(w))
    return codes


def _integer_codes(w: QTensor) -> NDArray[np.int8] | None:
    if w.scheme not in ("affine", "binary") or w.bits > 8 or w.float_rows is not None:
        return None
    if w.group_size is not None or w.axis not in (0, None) or w.shape[1] > LONGEST:
        return None
    if w.scheme == "binary":
        return signs(w)
    codes, zeros = w.values, w.zero_point
    if zeros.any() or not w.signed:
        wide = codes.astype(np.int16) - (zeros[:, None] if zeros.ndim else zeros)
        if wide.size and (wide.min() < -128 or wide.max() > 127):
            return None
        codes = wide.astype(np.int8)
    return np.ascontiguousarray(codes)


def output_scale(w: QTensor) -> NDArray[np.float32]:
    """Return a scale for each output of weights with a scale for each, or one."""
    return np.ascontiguousarray(np.broadcast_to(w.scale, (w.shape[0],)))


def _integer(w: QTensor) -> PackedWeights:
    codes = integer_codes(w)
    assert codes is not None
    return PackedWeights.integer(codes, output_scale(w))


def _float(w: QTensor) -> PackedWeights:
    codes = np.ascontiguousarray(w.values)
    if w.bits > 8 or w.float_rows is not None:
        return PackedWeights.float(w.dequantize())
    if w.scheme == "binary":
        codes = signs(w)
    elif w.scheme != "affine":
        return _codebook(w, codes)
    zeros = w.zero_point if w.zero_point.any() else np.empty(0, np.int32)
    if w.axis == 1:
        return PackedWeights.codes(codes, w.scale, zeros, None)
    scale = w.scale if w.group_size is not None else output_scale(w)
    if zeros.size and w.group_size is None:
        zeros = np.ascontiguousarray(np.broadcast_to(zeros, (w.shape[0],)))
    group = max(1, w.shape[1]) if w.group_size is None else w.group_size
    return PackedWeights.codes(codes, scale.reshape(-1), zeros.reshape(-1), group)


def _codebook(w: QTensor, codes: NDArray[np.uint8]) -> PackedWeights:
    if w.levels is not None and w.group_size is not None:
        return PackedWeights.scaled_codebook(codes, w.levels, w.scale, w.group_size)
    if w.levels is not None:
        levels, axis = w.levels, w.axis
        if levels.ndim == 1:
            levels = np.ascontiguousarray(w.scale[..., None] * levels)
            axis = axis if w.scale.ndim else None
        return PackedWeights.codebook(codes, levels, levels.shape[-1], axis)
    # Any other scheme of one parameter set: what each of its codes decodes to.
    low = -(2 ** (w.bits - 1)) if w.signed else 0
    every = np.arange(low, low + 2**w.bits).astype(codes.dtype)
    levels = QTensor._make(
        every, w.scale, w.zero_point, bits=w.bits, signed=w.signed, scheme=w.scheme,
        offset=w.offset, reconstruct=w.reconstruct,
    ).dequantize()  # fmt: skip
    indices = (codes.astype(np.int16) - low).astype(np.uint8)
    return PackedWeights.codebook(indices, levels, len(levels), None)
