"""compressed-tensors' layouts of small floats: what each scheme is called there, and stored as.

==============  =====================  ===========================================================
scheme          format                 tensors, named after the weight
==============  =====================  ===========================================================
fp8_e4m3        float-quantized        ``""`` F8_E4M3, ``_scale`` F32
mxfp8_e4m3      mxfp8-quantized        ``""`` F8_E4M3, ``_scale`` U8 (E8M0)
mxfp6_e2m3      mxfp6-pack-quantized   ``_packed`` U8, four in three bytes; ``_scale`` U8
mxfp4           mxfp4-pack-quantized   ``_packed`` U8, two in a byte; ``_scale`` U8
nvfp4           nvfp4-pack-quantized   ``_packed`` U8, ``_scale`` F8_E4M3, ``_global_scale`` F32:
                                       one over the tensor's scale
==============  =====================  ===========================================================
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.params.scale_codes import encode_scales
from qcore.arrays.tensor.scheme import SCHEMES
from qcore.arrays.tensor.tensor import QTensor
from qcore.files.foreign.packed_words import PACKED, SCALE

__all__ = [
    "GLOBAL_SCALE",
    "LAYOUTS",
    "FloatLayout",
    "bit_patterns",
    "float_parts",
    "float_type",
]

GLOBAL_SCALE = "_global_scale"


class FloatLayout(NamedTuple):
    """How the configuration names a scheme, and the types that NumPy has no name for.

    Attributes
    ----------
    format : str
    strategy : str
        "" where the tensor's own scales tell.
    scale : str or None
        The type of scales, as the configuration has it.
    types : dict of str to str
        Of parts that are stored as another type than their array's.
    """

    format: str
    strategy: str
    scale: str | None
    types: dict[str, str]


#: The schemes of floats that these layouts have.
LAYOUTS = {
    "fp8_e4m3": FloatLayout("float-quantized", "", None, {"": "F8_E4M3"}),
    "mxfp8_e4m3": FloatLayout("mxfp8-quantized", "group", "torch.uint8", {"": "F8_E4M3"}),
    "mxfp6_e2m3": FloatLayout("mxfp6-pack-quantized", "group", "torch.uint8", {}),
    "mxfp4": FloatLayout("mxfp4-pack-quantized", "group", "torch.uint8", {}),
    "nvfp4": FloatLayout(
        "nvfp4-pack-quantized", "tensor_group", "torch.float8_e4m3fn", {SCALE: "F8_E4M3"}
    ),
}


def float_type(scheme: str, part: str) -> str | None:
    """Return what a part is stored as, where that is not its array's type."""
    layout = LAYOUTS.get(scheme)
    return None if layout is None else layout.types.get(part)


def float_parts(q: QTensor) -> dict[str, NDArray[Any]]:
    """Return the stored tensors of a weight of small floats, by what is added to its name."""
    kind = SCHEMES[q.scheme].scale_format
    if kind is None:
        scale = q.scale.reshape(1 if q.axis is None and q.group_size is None else (len(q), -1))
        return {"": bit_patterns(q), SCALE: scale.astype(np.float32)}
    codes = q.values if q.bits == 8 else q.packed.reshape(len(q), -1)
    parts: dict[str, NDArray[Any]] = {"" if q.bits == 8 else PACKED: codes}
    parts[SCALE] = encode_scales(q.scale, kind, q.tensor_scale)
    if q.tensor_scale is not None:
        parts[GLOBAL_SCALE] = np.array([1 / np.float32(q.tensor_scale)], np.float32)
    return parts


def bit_patterns(q: QTensor) -> NDArray[np.uint8]:
    """Return the bit patterns of codes that count the levels of an 8-bit float in their order."""
    assert q.levels is not None
    middle = len(q.levels) // 2
    each = np.arange(len(q.levels)) - middle
    patterns = np.where(each < 0, 128 - each, each).astype(np.uint8)
    found: NDArray[np.uint8] = patterns[q.values]
    return found
