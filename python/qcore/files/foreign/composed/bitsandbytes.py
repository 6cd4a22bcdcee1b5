"""The weights of bitsandbytes: 4 bits that number sixteen levels, and 8 bits with a scale a row.

======================================  ============================================================
tensor                                  what
======================================  ============================================================
``fc.weight`` U8, (elements / 2, 1)     two codes a byte, the first in the high half
``fc.weight.absmax``                    a scale for each `blocksize` elements in memory order; of
                                        nested statistics its code
``fc.weight.quant_map``                 the 16 levels: NF4 or FP4
``fc.weight.nested_absmax``,            of nested statistics: absmax = nested_quant_map[code] ·
``fc.weight.nested_quant_map``          nested_absmax[block] + nested_offset
``fc.weight.quant_state.bitsandbytes``  JSON in bytes: shape, blocksize, nested_blocksize,
``__nf4`` or ``__fp4``                  nested_offset
``fc.weight`` I8, ``fc.SCB``            code · SCB / 127 for each row
======================================  ============================================================

4 bits load as float32, 8 bits as codes.

References
----------
bitsandbytes' ``QuantState.as_dict`` and ``dequantize_4bit``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.tensor import QTensor
from qcore.files.foreign.composed.weight import ComposedWeight, stored_type
from qcore.files.foreign.composed.words import unpack_nibbles
from qcore.files.source import TensorSource

__all__ = ["find"]

_STATE = ".quant_state.bitsandbytes__"
_MAX_STATE_BYTES = 1 << 16


def find(source: TensorSource, config: Mapping[str, Any]) -> dict[str, ComposedWeight]:
    """Return the weights of these layouts by name; see `Find`."""
    found: dict[str, ComposedWeight] = {}
    for name in source:
        stem, is_state, _ = name.partition(_STATE)
        if is_state and all(
            part in source for part in (stem, f"{stem}.absmax", f"{stem}.quant_map")
        ):
            found[stem] = _FourBits(source, stem, name)
        weight = name.removesuffix(".SCB") + ".weight"
        if name.endswith(".SCB") and weight in source and stored_type(source, weight) == "I8":
            found[weight] = _EightBits(source, weight, name)
    return found


class _FourBits(ComposedWeight):
    layout = "bitsandbytes, 4 bits"
    in_rows = False

    def __init__(self, source: TensorSource, name: str, state: str) -> None:
        nested = [f"{name}.nested_{part}" for part in ("absmax", "quant_map")]
        self._nested = all(part in source for part in nested)
        parts = [name, f"{name}.absmax", f"{name}.quant_map", state]
        self.parts = (*parts, *(nested if self._nested else ()))
        self._source = source
        if source.info(state).size > _MAX_STATE_BYTES:
            raise ValueError(f"{state!r} has {source.info(state).size} bytes")
        self._state = dict(json.loads(np.asarray(source[state], np.uint8).tobytes()))
        self.shape = tuple(int(length) for length in self._state["shape"])
        size = math.prod(self.shape)
        if min(self.shape, default=0) < 0 or -(-size // 2) != source.info(name).size:
            raise ValueError(f"{source.info(name).size} bytes are not {self.shape} halves")

    def whole(self) -> NDArray[Any]:
        """Return the weight; see `ComposedWeight.whole`."""
        packed = np.asarray(self._source[self.parts[0]], np.uint8).reshape(-1)
        size = math.prod(self.shape)
        levels = np.asarray(self._source[self.parts[2]], np.float32).reshape(-1)
        if levels.size != 16:
            raise ValueError(f"there are {levels.size} levels; of 4 bits there are 16")
        values = levels[unpack_nibbles(packed, high_first=True)[:size]]
        absmax = np.asarray(self._source[self.parts[1]]).reshape(-1)
        if self._nested:
            nested, steps = (np.asarray(self._source[part], np.float32) for part in self.parts[4:])
            offset = np.float32(self._state["nested_offset"])
            absmax = steps[absmax] * _spread(
                nested.reshape(-1), self._state["nested_blocksize"], absmax.size
            )
            absmax = absmax + offset
        scale = _spread(absmax.astype(np.float32), self._state["blocksize"], size)
        return np.asarray(values * scale, np.float32).reshape(self.shape)

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return some rows; see `ComposedWeight.rows`."""
        return self.whole()[start:stop]


def _spread(scale: NDArray[np.float32], block: Any, size: int) -> NDArray[np.float32]:
    """Return the scale of each element."""
    if not isinstance(block, int) or block < 1 or -(-size // block) != scale.size:
        raise ValueError(f"{scale.size} scales are not one for each {block} of {size} elements")
    return np.repeat(scale, block)[:size]


class _EightBits(ComposedWeight):
    layout = "bitsandbytes"
    bits = 8

    def __init__(self, source: TensorSource, name: str, scale: str) -> None:
        self._source, self.parts, self.shape = source, (name, scale), source.info(name).shape
        if len(self.shape) != 2 or source.info(scale).size != self.shape[0]:
            raise ValueError(f"{source.info(scale).size} scales are not one for each row")

    def whole(self) -> NDArray[Any] | QTensor:
        """Return the weight; see `ComposedWeight.whole`."""
        codes = np.asarray(self._source[self.parts[0]])
        scale = np.asarray(self._source[self.parts[1]], np.float32).reshape(-1) / np.float32(127)
        scale = np.where(scale == 0, np.float32(1), scale)  # rows of zeros
        return QTensor.from_parts(codes, scale, axis=0)

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return some rows; see `ComposedWeight.rows`."""
        return np.asarray(self.whole(), np.float32)[start:stop]
