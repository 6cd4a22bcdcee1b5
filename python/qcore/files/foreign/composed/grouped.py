"""GPTQ's and AWQ's weights: codes of each column, scales and zero points of groups of inputs.

===============  =====  ==========================  ==============================================
tensor           type   shape                       what
===============  =====  ==========================  ==============================================
``fc.qweight``   I32    GPTQ (in · bits / 32, out)  codes of a column as a little-endian bit stream
                        AWQ (in, out · bits / 32)   codes of a row, eight to a word in the order
                                                    0 2 4 6 1 3 5 7
``fc.qzeros``    I32    (groups, out · bits / 32)   zero points, packed along the outputs; GPTQ's
                                                    are one too small, unless the configuration has
                                                    "checkpoint_format": "gptq_v2"
``fc.scales``    float  (groups, out)
``fc.g_idx``     I32    (in,)                       GPTQ: the group of each input
===============  =====  ==========================  ==============================================

They load as ``fc.weight``, (out, in): codes with groups, or float32 where groups are not
consecutive inputs (act-order) or a scale or zero point is none of a `QTensor`.

References
----------
AutoGPTQ's and GPTQModel's ``QuantLinear.pack``; AutoAWQ's ``WQLinear_GEMM.from_linear``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.params.qparams import FLOAT16
from qcore.arrays.tensor.tensor import QTensor
from qcore.files.foreign.composed.weight import ComposedWeight
from qcore.files.foreign.composed.words import unpack_words
from qcore.files.source import TensorSource

__all__ = ["find"]

_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def find(source: TensorSource, config: Mapping[str, Any]) -> dict[str, ComposedWeight]:
    """Return the weights of these layouts by name; see `Find`."""
    quantization = config.get("quantization_config") or {}
    second = quantization.get("checkpoint_format") == "gptq_v2"
    found: dict[str, ComposedWeight] = {}
    for name in source:
        stem = name.removesuffix(".qweight")
        parts = [f"{stem}.{part}" for part in ("qweight", "qzeros", "scales")]
        if stem == name or not all(part in source for part in parts):
            continue
        infos = [source.info(part) for part in parts]
        shapes = [info.shape for info in infos]
        kinds = [info.dtype.kind for info in infos]
        if any(len(shape) != 2 for shape in shapes) or kinds != ["i", "i", "f"]:
            continue
        if f"{stem}.g_idx" in source:
            parts.append(f"{stem}.g_idx")
        if shapes[0][1] == shapes[2][1]:
            found[f"{stem}.weight"] = _Gptq(source, parts, 0 if second else 1)
        else:
            found[f"{stem}.weight"] = _Awq(source, parts)
    return found


class _Grouped(ComposedWeight):
    """What both have in common."""

    in_rows = False
    maker: str

    def __init__(self, source: TensorSource, parts: list[str], inputs: int, bits: int) -> None:
        self.parts = tuple(parts)
        self._source, self._bits = source, bits
        self.layout = f"{self.maker}, {bits} bits"
        self._groups, outputs = source.info(parts[2]).shape
        self.shape = (outputs, inputs)
        order = source[parts[3]] if len(parts) > 3 else None
        self._order = None if order is None else np.asarray(order)
        self.bits = bits if self._order is None or self._is_straight(self._order) else None

    @abstractmethod
    def codes(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Return codes (out, in) and zero points (out, groups)."""

    def _is_straight(self, order: NDArray[Any]) -> bool:
        if self._groups == 0 or self.shape[1] % self._groups:
            return False
        each = self.shape[1] // self._groups
        return np.array_equal(order, np.arange(self.shape[1]) // max(each, 1))

    def whole(self) -> NDArray[Any] | QTensor:
        """Return codes where a `QTensor` holds them, else floats."""
        codes, zero = self.codes()
        stored = np.asarray(self._source[self.parts[2]])
        scale = np.ascontiguousarray(stored.T, np.float32)
        inputs = self.shape[1]
        if codes.shape != self.shape or zero.shape != scale.shape:
            raise ValueError(f"codes {codes.shape} and zero points {zero.shape} do not fit")
        fits = bool(np.isfinite(scale).all() and (scale > 0).all())
        if self.bits is not None and fits and not bool((zero >> self._bits).any()):
            group = inputs // self._groups
            return QTensor.from_parts(
                np.ascontiguousarray(codes), scale, zero, group_size=group, bits=self._bits,
                signed=False, scale_dtype=FLOAT16 if stored.dtype == FLOAT16 else None,
            )  # fmt: skip
        order = self._order
        if order is None:
            order = np.arange(inputs) // max(1, -(-inputs // max(1, self._groups)))
        known = order.shape == (inputs,) and bool(((order >= 0) & (order < self._groups)).all())
        if not known:
            raise ValueError(f"groups {order.shape} are not one of {self._groups} for each input")
        return (codes.astype(np.int32) - zero[:, order]).astype(np.float32) * scale[:, order]

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return some rows as floats; see `ComposedWeight.rows`."""
        return np.asarray(self.whole(), np.float32)[start:stop]


class _Gptq(_Grouped):
    maker = "GPTQ"

    def __init__(self, source: TensorSource, parts: list[str], more: int) -> None:
        (words, outputs), zeros = source.info(parts[0]).shape, source.info(parts[1]).shape
        bits = zeros[1] * 32 // max(outputs, 1)
        super().__init__(source, parts, words * 32 // bits if bits else 0, bits)
        self._more = more

    def codes(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Return codes and zero points; see `_Grouped.codes`."""
        words = np.asarray(self._source[self.parts[0]])
        zeros = unpack_words(np.asarray(self._source[self.parts[1]]), self._bits)
        codes = unpack_words(np.ascontiguousarray(words.T), self._bits)
        return codes, zeros.T.astype(np.int32) + self._more


class _Awq(_Grouped):
    maker = "AWQ"

    def __init__(self, source: TensorSource, parts: list[str]) -> None:
        inputs, words = source.info(parts[0]).shape
        outputs = source.info(parts[2]).shape[1]
        super().__init__(source, parts, inputs, words * 32 // max(outputs, 1))

    def codes(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Return codes and zero points; see `_Grouped.codes`."""
        if self._bits != 4:
            raise ValueError(f"codes are of {self._bits} bits; AWQ's order is known of 4")
        codes, zeros = (self._in_order(name) for name in self.parts[:2])
        return np.ascontiguousarray(codes.T), zeros.T.astype(np.int32)

    def _in_order(self, name: str) -> NDArray[np.uint8]:
        packed = unpack_words(np.asarray(self._source[name]), 4)
        words = packed.reshape(len(packed), -1, 8)
        ordered = np.empty_like(words)
        ordered[:, :, _AWQ_ORDER] = words
        return ordered.reshape(len(packed), -1)
