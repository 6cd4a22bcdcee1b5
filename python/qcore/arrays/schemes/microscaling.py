"""Small floats with a small float for the scale of each group of a row.

============  ========  ======  ===================================  ===========================
scheme        elements  groups  scales                               standard
============  ========  ======  ===================================  ===========================
mxfp4         E2M1      32      E8M0: powers of two                  OCP Microscaling Formats 1.0
mxfp6_e2m3    E2M3      32      the same                             the same
mxfp6_e3m2    E3M2      32      the same                             the same
mxfp8_e4m3    E4M3      32      the same                             the same
mxfp8_e5m2    E5M2      32      the same                             the same
nvfp4         E2M1      16      E4M3, times a float32 of the tensor  NVIDIA's NVFP4
============  ========  ======  ===================================  ===========================

Codes are the formats' own bit patterns. A scale is the power of two that the greatest magnitude of
its group has, divided by the one that the greatest value of the format has (section 6.3 of the
specification); values round to nearest, half to even, and saturate. NVFP4's tensor scale maps the
greatest magnitude of all to 6 · 448; a group's scale is its greatest magnitude over 6, rounded to
E4M3, and never to 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._arguments.validation import check_number, nan_error, positive_array
from qcore.arrays.params.layout import scale_shape
from qcore.arrays.params.qparams import finite_range
from qcore.arrays.params.scale_codes import decode_scales, encode_scales, nearest_codes
from qcore.arrays.params.small_floats import SMALL_FLOATS, SmallFloat, code_values
from qcore.arrays.schemes.codebook import decode
from qcore.arrays.tensor.options import Options
from qcore.arrays.tensor.scheme import Scheme
from qcore.arrays.tensor.tensor import QTensor, new_codes
from qcore.errors import ArgumentError

__all__ = ["FORMATS", "KINDS", "Microscaling", "quantize"]

_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Microscaling:
    """A format: what its elements are, how many share a scale, and what that is.

    Attributes
    ----------
    element, scale : str
        As safetensors calls the types.
    group_size : int
    """

    element: str
    group_size: int
    scale: str

    @property
    def float(self) -> SmallFloat:
        """What an element is."""
        return SMALL_FLOATS[self.element]

    @property
    def greatest(self) -> np.float32:
        """The greatest value of an element."""
        value: np.float32 = code_values(self.element)[self.float.top]
        return value


#: The formats by the names of their schemes.
KINDS = {
    "mxfp4": Microscaling("F4", 32, "F8_E8M0"),
    "mxfp6_e2m3": Microscaling("F6_E2M3", 32, "F8_E8M0"),
    "mxfp6_e3m2": Microscaling("F6_E3M2", 32, "F8_E8M0"),
    "mxfp8_e4m3": Microscaling("F8_E4M3", 32, "F8_E8M0"),
    "mxfp8_e5m2": Microscaling("F8_E5M2", 32, "F8_E8M0"),
    "nvfp4": Microscaling("F4", 16, "F8_E4M3"),
}


def quantize(scheme: str, x: NDArray[Any], options: Options) -> QTensor:
    """Quantize to small floats, with the scales that are given, or those of the standard."""
    kind = KINDS[scheme]
    form = f"the {scheme} scheme"
    options.refuse(
        form, "zero_point", "offset", "levels", "symmetric", "narrow_range", "importance",
        "scale_dtype",
    )  # fmt: skip
    bits = kind.float.bits
    if options.bits not in (8, bits):
        raise ArgumentError("bits", f"bits is {options.bits}; {scheme} has {bits}, leave it out")
    if options.group_size != kind.group_size:
        found = f"group_size is {options.group_size}"
        raise ArgumentError("group_size", f"{found}; {scheme} has {kind.group_size}, leave it out")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(x, np.float32)
    nans = np.isnan(values)
    if nans.any():
        if options.nan == "raise":
            raise nan_error(x, "x")
        values = np.where(nans, np.float32(0.0), values)
    shape = scale_shape(values.shape, None, kind.group_size)
    tensor_scale = None
    if options.scale is not None:
        scale = positive_array(options.scale, "scale", shape)
        tensor_scale = 1.0 if kind.scale != "F8_E8M0" else None
        encode_scales(scale, kind.scale, tensor_scale)  # says what is no scale
    else:
        low, high = finite_range(values, None, kind.group_size, "zero")
        top = np.maximum(np.maximum(-low, high), 0).astype(np.float32)
        if kind.scale == "F8_E8M0":
            scale = _powers(top, kind)
        else:
            scale, tensor_scale = _two_scales(top, kind)
    codes = new_codes(options.out, np.dtype(np.uint8), x)
    clipped = 0
    if values.size:
        of = kind.float
        layout = (values.shape[-1], kind.group_size)
        clipped = _core.quantize_minifloat(
            values, (of.exponent, of.mantissa, of.top), layout, scale, codes
        )
    zeros = np.zeros(shape, np.int32)
    for part in (scale, zeros) if options.out is codes else (scale, zeros, codes):
        part.setflags(write=False)
    return QTensor._make(
        codes, scale, zeros, None, kind.group_size, bits, False, scheme=scheme,
        levels=code_values(kind.element), clipped=clipped, tensor_scale=tensor_scale,
    )  # fmt: skip


def _powers(top: NDArray[np.float32], kind: Microscaling) -> NDArray[np.float32]:
    """Return the power of two of each greatest magnitude over that of the greatest element."""
    own = int(np.frexp(kind.greatest)[1])
    exponent = np.clip(np.frexp(top)[1] - own, -127, 127)
    return np.asarray(np.ldexp(np.float32(1), np.where(top > 0, exponent, 0)), np.float32)


def _two_scales(top: NDArray[np.float32], kind: Microscaling) -> tuple[NDArray[np.float32], float]:
    """Return the scale of each group, and what of it belongs to the tensor."""
    most = code_values(kind.scale)[SMALL_FLOATS[kind.scale].top]
    whole = np.float32(top.max(initial=0) / np.float32(kind.greatest * most))
    whole = whole if whole >= _TINY else np.float32(1.0)
    codes = nearest_codes(np.asarray(top / kind.greatest, np.float32), kind.scale, whole)
    codes[(codes == 0) & (top > 0)] = 1
    codes[top == 0] = nearest_codes(np.ones(1, np.float32), kind.scale, np.float32(1))[0]
    return decode_scales(codes, kind.scale, float(whole)), check_number(float(whole), "scale", 0)


def _levels(element: str, bits: int) -> NDArray[np.float32]:
    """Return what each code stands for."""
    return code_values(element)


#: The schemes that these formats are.
FORMATS = tuple(
    Scheme(
        name,
        partial(quantize, name),
        decode,
        is_codebook=True,
        known_levels=partial(_levels, kind.element),
        group_size=kind.group_size,
        scale_format=kind.scale,
    )
    for name, kind in KINDS.items()
)
