"""The parts of a quantized tensor, as they lie in memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.params.qparams import FLOAT32

__all__ = ["Form", "Parts"]


def _shown(part: NDArray[Any]) -> NDArray[Any]:
    """Return a view of a part that stays read-only; a buffer of the caller's as it is."""
    return part if part.flags.writeable else part.view()


class Form(NamedTuple):
    """What codes stand for, but for scale and zero point; its fields are the tensor's."""

    axis: int | None = None
    group_size: int | None = None
    bits: int = 8
    signed: bool = True
    narrow_range: bool = False
    scheme: str = "affine"
    offset: float | None = None
    levels: NDArray[np.float32] | None = None
    reconstruct: str = "centre"
    scale_dtype: np.dtype[Any] = FLOAT32
    row_bits: NDArray[np.uint8] | None = None
    float_rows: NDArray[np.float32] | None = None
    tensor_scale: float | None = None

    def is_plain(self) -> bool:
        """Whether codes are affine and share one scale."""
        return self.scheme == "affine" and self.axis is self.group_size is None


class Parts:
    """What every tensor of codes has; `QTensor` documents it."""

    __slots__ = ("_cache", "_clipped", "_form", "_scale", "_values", "_zero_point")

    _values: NDArray[Any]
    _scale: NDArray[np.float32]
    _zero_point: NDArray[np.int32]
    _clipped: int
    _form: Form
    _cache: dict[str, Any] | None

    # parts -------------------------------------------------------------------------------------
    @property
    def values(self) -> NDArray[Any]:
        """The codes, unpacked, in the tensor's shape."""
        return _shown(self._values)

    @property
    def scale(self) -> NDArray[np.float32]:
        """The steps."""
        return _shown(self._scale)

    @property
    def scale_dtype(self) -> np.dtype[Any]:
        """The type in which scales are stored, and which holds each exactly."""
        return self._form.scale_dtype

    @property
    def tensor_scale(self) -> float | None:
        """What of all scales is the tensor's: of NVFP4, whose groups have E4M3 of their own."""
        return self._form.tensor_scale

    @property
    def zero_point(self) -> NDArray[np.int32]:
        """The codes of 0."""
        return _shown(self._zero_point)

    @property
    def offset(self) -> float | None:
        """The real value at which code 0 of the floor form starts."""
        return self._form.offset

    @property
    def levels(self) -> NDArray[np.float32] | None:
        """The codebook."""
        part = self._form.levels
        return None if part is None else _shown(part)

    @property
    def axis(self) -> int | None:
        """The axis whose indices have a scale, or a codebook, each."""
        return self._form.axis

    @property
    def group_size(self) -> int | None:
        """How many elements of the last axis share a scale."""
        return self._form.group_size

    @property
    def bits(self) -> int:
        """Width of a code."""
        return self._form.bits

    @property
    def row_bits(self) -> NDArray[np.uint8] | None:
        """The width of each row, where they differ: of its codes, or 16 or 32 for floats."""
        part = self._form.row_bits
        return None if part is None else _shown(part)

    @property
    def float_rows(self) -> NDArray[np.float32] | None:
        """The rows that stay floats, one after the other; their codes are 0."""
        part = self._form.float_rows
        return None if part is None else _shown(part)

    @property
    def signed(self) -> bool:
        """Whether codes are in two's complement."""
        return self._form.signed

    @property
    def narrow_range(self) -> bool:
        """Whether the least code is left out."""
        return self._form.narrow_range

    @property
    def scheme(self) -> str:
        """What codes stand for."""
        return self._form.scheme

    @property
    def reconstruct(self) -> str:
        """What a code of the floor form decodes to: the "centre" of its cell, or its "edge"."""
        return self._form.reconstruct

    @property
    def clipped(self) -> int:
        """How many values saturated when the tensor was made."""
        return self._clipped

    # shape -------------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return self._values.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._values.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._values.size

    def __len__(self) -> int:
        return len(self._values)
