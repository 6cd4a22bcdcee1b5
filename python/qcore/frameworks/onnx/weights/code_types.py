"""The types of ONNX that codes are written as: a line for each, with the opset that brought it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from qcore.arrays.tensor.scheme import SCHEMES
from qcore.arrays.tensor.tensor import QTensor
from qcore.files.foreign.float_layouts import bit_patterns

__all__ = ["CodeType", "code_type", "stored_codes", "written_types"]

# The opsets that brought DequantizeLinear, its axis, and its blocks.
_PLAIN, _AXIS, _BLOCKS = 10, 13, 21


class CodeType(NamedTuple):
    """A type of elements: its number, and the least opset whose DequantizeLinear takes it."""

    number: int
    opset: int


#: Of affine codes, by their bits and whether they have a sign.
_AFFINE = {
    (8, True): CodeType(3, _PLAIN), (8, False): CodeType(2, _PLAIN), (4, True): CodeType(22, 21),
    (4, False): CodeType(21, 21), (2, True): CodeType(26, 25), (2, False): CodeType(25, 25),
}  # fmt: skip
#: Of small floats, by the scheme.
_FLOATS = {
    "fp8_e4m3": CodeType(17, 19), "fp8_e5m2": CodeType(19, 19), "mxfp8_e4m3": CodeType(17, 21),
    "mxfp8_e5m2": CodeType(19, 21), "mxfp4": CodeType(23, 23), "nvfp4": CodeType(23, 23),
    "mxfp6_e2m3": CodeType(27, 28), "mxfp6_e3m2": CodeType(28, 28),
}  # fmt: skip


def code_type(options: Mapping[str, Any]) -> CodeType | None:
    """Return the type for codes that `quantize` makes with these options, and the opset they need.

    None: ONNX has none.
    """
    scheme = options.get("scheme", "affine")
    if scheme == "affine":
        found = _AFFINE.get((options["bits"], bool(options.get("signed", True))))
    else:
        found = _FLOATS.get(scheme)
    if found is None:
        return None
    layout = _PLAIN if options.get("axis") is None else _AXIS
    if options.get("group_size") is not None or SCHEMES[scheme].group_size is not None:
        layout = _BLOCKS
    return found._replace(opset=max(found.opset, layout))


def written_types() -> str:
    """Return in words what ONNX has types for."""
    return f"ONNX has affine codes of 8, of 4 and of 2 bits, and {', '.join(_FLOATS)}"


def stored_codes(q: QTensor) -> NDArray[Any]:
    """Return the codes as ONNX stores them: of floats, their bit patterns."""
    return bit_patterns(q) if q.scheme in ("fp8_e4m3", "fp8_e5m2") else q.values
