"""Floats of 4 and 8 bits with a scale for each 16 or 32 of a row: NVFP4, MXFP4, MXFP8.

==========================  ==================================================  ====================
tensors                     maker                                               a value
==========================  ==================================================  ====================
``fc.weight_packed`` U8,    compressed-tensors, "nvfp4-pack-quantized"          e2m1 · (scale /
``fc.weight_scale`` E4M3,                                                       global_scale)
``fc.weight_global_scale``
``fc.weight`` U8,           ModelOpt, NVFP4                                     e2m1 · (scale ·
``fc.weight_scale`` E4M3,                                                       scale_2)
``fc.weight_scale_2``
``fc.weight_packed`` U8,    compressed-tensors, "mxfp4-pack-quantized"          e2m1 · 2^(scale -
``fc.weight_scale`` U8                                                          127)
``fc.weight_packed`` U8,    compressed-tensors, "mxfp6-pack-quantized"          e2m3 · 2^(scale -
``fc.weight_scale`` U8                                                          127)
``fc_blocks`` U8,           gpt-oss, MXFP4: (..., rows, groups, 16) and         the same
``fc_scales`` U8            (..., rows, groups)
``fc.weight`` E4M3, E5M2,   compressed-tensors, "mxfp8-quantized"               float · 2^(scale -
``fc.weight_scale`` U8                                                          127)
==========================  ==================================================  ====================

The first of two values lies in the low half of a byte. What a second scale is multiplied or divided
by is told by its name: one maker's is the reciprocal of the other's.

References
----------
OCP Microscaling Formats (MX) Specification 1.0; compressed-tensors 0.20; ModelOpt's and gpt-oss's
checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.files.dtypes import decode
from qcore.files.foreign.composed.weight import ComposedWeight, read_part, stored_type
from qcore.files.foreign.composed.words import unpack_nibbles
from qcore.files.source import TensorSource

__all__ = ["find"]

_WEIGHT = ".weight"
_POWERS = ("U8", "F8_E8M0")


def find(source: TensorSource, config: Mapping[str, Any]) -> dict[str, ComposedWeight]:
    """Return the weights of these layouts by name; see `Find`."""
    found: dict[str, ComposedWeight] = {}
    for name in source:
        for ending, make in _LAYOUTS:
            if name.endswith(ending):
                weight = make(source, name.removesuffix(ending))
                if weight is not None:
                    found[name.removesuffix(ending) + _NAMED.get(ending, "")] = weight
    return found


class _Scaled(ComposedWeight):
    """Rows of small floats with scales along them: MXFP4."""

    layout = "mxfp4"

    def __init__(
        self, source: TensorSource, parts: tuple[str, ...], shape: tuple[int, ...]
    ) -> None:
        self._source, self.parts, self.shape = source, parts, shape

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return some rows; see `ComposedWeight.rows`."""
        values = self.values(start, stop)
        scale = self.scales(start, stop)
        groups = scale.shape[-1]
        if scale.shape[:-1] != values.shape[:-1] or not groups or values.shape[-1] % groups:
            raise ValueError(f"scales {scale.shape} do not fit values {values.shape}")
        grouped = values.reshape(*scale.shape, -1) * scale[..., None]
        return np.ascontiguousarray(grouped.reshape(values.shape), np.float32)

    def values(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the small floats of some rows: two to a byte."""
        packed = read_part(self._source, self.parts[0], start, stop)
        codes = unpack_nibbles(packed.reshape(stop - start, *self.shape[1:-1], -1))
        return _E2M1[codes]

    def scales(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the scales of some rows: powers of two."""
        return _powers(self._source, self.parts[1], start, stop)


class _Two(_Scaled):
    """NVFP4: scales of 8-bit floats, with one more for the tensor."""

    layout = "nvfp4"

    def __init__(
        self,
        source: TensorSource,
        parts: tuple[str, ...],
        shape: tuple[int, ...],
        join: Callable[[Any, Any], Any],
    ) -> None:
        super().__init__(source, parts, shape)
        self._join = join

    def scales(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the scales of some rows; see `_Scaled.scales`."""
        second = np.asarray(self._source[self.parts[2]], np.float32)
        if second.size != 1:
            raise ValueError(f"{self.parts[2]!r} has {second.size} numbers; it is one")
        first = np.asarray(read_part(self._source, self.parts[1], start, stop), np.float32)
        with np.errstate(all="ignore"):
            return np.asarray(self._join(first, second.reshape(())), np.float32)


class _Six(_Scaled):
    """MXFP6 of E2M3: four floats in three bytes, each row a little-endian bit stream."""

    layout = "mxfp6_e2m3"

    def values(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the small floats of some rows; see `_Scaled.values`."""
        packed = np.ascontiguousarray(read_part(self._source, self.parts[0], start, stop))
        return decode("F6_E2M3", packed.reshape(-1), [stop - start, self.shape[1]])


class _Eight(_Scaled):
    """MXFP8: a float a byte."""

    layout = "mxfp8"

    def values(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the small floats of some rows; see `_Scaled.values`."""
        return np.asarray(read_part(self._source, self.parts[0], start, stop), np.float32)


_E2M1 = decode("F4", np.array([16 * (i + 1) + i for i in range(0, 16, 2)], np.uint8), [16])


def _powers(source: TensorSource, name: str, start: int, stop: int) -> NDArray[np.float32]:
    found = read_part(source, name, start, stop)
    if found.dtype == np.uint8:
        return decode("F8_E8M0", np.ascontiguousarray(found).reshape(-1), list(found.shape))
    return np.asarray(found, np.float32)


def _halved(source: TensorSource, name: str, ending: str) -> tuple[int, ...] | None:
    """Return the shape of a matrix with two elements a byte, if that is what a tensor is."""
    if name not in source or stored_type(source, name) != "U8" or name + ending not in source:
        return None
    *rows, columns = source.info(name).shape or (0,)
    return (*rows, 2 * columns) if rows else None


def _packed(source: TensorSource, name: str) -> ComposedWeight | None:
    """Return a weight of compressed-tensors."""
    packed, scale = f"{name}_packed", f"{name}_scale"
    if packed not in source or scale not in source or stored_type(source, packed) != "U8":
        return None
    shape = source.info(packed).shape
    groups = source.info(scale).shape[-1:]
    if len(shape) != 2 or not groups or not groups[0] or shape[1] % groups[0]:
        return None
    each, whole = 2 * shape[1] // groups[0], (shape[0], 2 * shape[1])
    six = 4 * shape[1] // 3
    if 32 * groups[0] == six and 24 * groups[0] == shape[1]:
        return _Six(source, (packed, scale), (shape[0], six))
    overall = f"{name}_global_scale"
    if overall in source and each == 16:
        return _Two(source, (packed, scale, overall), whole, np.divide)
    if overall not in source and each == 32 and stored_type(source, scale) in _POWERS:
        return _Scaled(source, (packed, scale), whole)
    return None


def _modelopt(source: TensorSource, name: str) -> ComposedWeight | None:
    shape = _halved(source, name, "_scale_2")
    if shape is None or f"{name}_scale" not in source:
        return None
    parts = (name, f"{name}_scale", f"{name}_scale_2")
    return _Two(source, parts, shape, np.multiply)


def _gpt_oss(source: TensorSource, name: str) -> ComposedWeight | None:
    blocks, scales = f"{name}_blocks", f"{name}_scales"
    if scales not in source or stored_type(source, blocks) != "U8":
        return None
    *rows, groups, each = source.info(blocks).shape
    if not rows or source.info(scales).shape != (*rows, groups):
        return None
    return _Scaled(source, (blocks, scales), (*rows, groups * each * 2))


def _mxfp8(source: TensorSource, name: str) -> ComposedWeight | None:
    weight, scale = name + _WEIGHT, f"{name}{_WEIGHT}_scale"
    if scale not in source or stored_type(source, scale) not in _POWERS:
        return None
    shape, scales = source.info(weight).shape, source.info(scale).shape
    if not stored_type(source, weight).startswith("F8_E") or len(shape) != len(scales):
        return None
    return _Eight(source, (weight, scale), shape)


_LAYOUTS: tuple[tuple[str, Callable[[TensorSource, str], ComposedWeight | None]], ...] = (
    ("_packed", _packed),
    ("_scale_2", _modelopt),
    ("_blocks", _gpt_oss),
    (_WEIGHT, _mxfp8),
)
#: What stands in an ending's place, where it is part of the name.
_NAMED = {_WEIGHT: _WEIGHT}
