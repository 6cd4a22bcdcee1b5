"""The quantized tensor: codes, and what they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from qcore import _core
from qcore._validation import check_out, float_array
from qcore.quantization.qparams import (
    check_layout,
    code_dtype,
    code_range,
    layout_of,
    scale_shape,
)

__all__ = ["QTensor", "QuantizationError"]


class QuantizationError(NamedTuple):
    """What quantization lost: see `QTensor.error`.

    Attributes
    ----------
    sqnr_db : float
        Signal to quantization noise, in dB: ``10 log10(sum(x²) / sum((x - x̂)²))``.
    cosine : float
        Cosine of the angle between the values and what they decode to.
    max_abs : float
        The greatest absolute difference.
    """

    sqnr_db: float
    cosine: float
    max_abs: float


class QTensor:
    """An immutable quantized tensor.

    Made by `qcore.quantize`, or from parts by `QTensor.from_parts`. ``np.asarray(q)`` decodes it.

    Attributes
    ----------
    values : ndarray
        The codes, unpacked, in the tensor's shape; read-only int8, uint8, int16 or uint16.
    scale : ndarray of float32
        Steps: 0-d for a tensor, 1-d for an axis, ``shape[:-1] + (groups,)`` for groups.
    zero_point : ndarray of int32
        The codes of 0, in the shape of `scale`.
    offset : float or None
        The real value at which code 0 of the floor form starts.
    levels : ndarray of float32 or None
        The codebook: ``(levels,)``, or ``(channels, levels)`` with one for each index of `axis`.
    axis, group_size : int or None
        What shares a scale.
    bits, signed, narrow_range
        Which codes there are.
    scheme : str
        What codes stand for: "affine", "floor" or "kmeans".
    clipped : int
        How many values saturated when the tensor was made.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> q = qc.quantize(np.array([-1.0, 0.0, 0.5], np.float32))
    >>> q.values
    array([-127,    0,   64], dtype=int8)
    >>> q.dequantize()
    array([-1.      ,  0.      ,  0.503937], dtype=float32)
    """

    __slots__ = (
        "_cache",
        "axis",
        "bits",
        "clipped",
        "group_size",
        "levels",
        "narrow_range",
        "offset",
        "reconstruct",
        "scale",
        "scheme",
        "signed",
        "values",
        "zero_point",
    )

    values: NDArray[Any]
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int32]
    axis: int | None
    group_size: int | None
    bits: int
    signed: bool
    narrow_range: bool
    scheme: str
    offset: float | None
    levels: NDArray[np.float32] | None
    reconstruct: str
    clipped: int
    _cache: dict[str, Any]

    def __init__(self) -> None:
        raise TypeError("a QTensor is made by qcore.quantize or QTensor.from_parts")

    @classmethod
    def _make(
        cls, values: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any], **rest: Any
    ) -> QTensor:
        """Build one from parts that are known to fit; the arrays become read-only."""
        self = object.__new__(cls)
        put = object.__setattr__
        for array in (values, scale, zero):
            array.flags.writeable = False
        put(self, "values", values)
        put(self, "scale", scale)
        put(self, "zero_point", zero)
        for name, value in _DEFAULTS.items():
            put(self, name, rest.get(name, value))
        if self.levels is not None:
            self.levels.flags.writeable = False
        put(self, "_cache", {})
        return self

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a QTensor is immutable; {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a QTensor is immutable; {name} cannot be deleted")

    @classmethod
    def from_parts(
        cls,
        values: ArrayLike,
        scale: ArrayLike = 1.0,
        zero_point: ArrayLike | None = None,
        *,
        axis: int | None = None,
        group_size: int | None = None,
        bits: int = 8,
        signed: bool | None = None,
        narrow_range: bool = False,
        scheme: str = "affine",
        offset: float | None = None,
        levels: ArrayLike | None = None,
        reconstruct: str = "centre",
        clipped: int = 0,
    ) -> QTensor:
        """Build a tensor from its codes and their meaning, which are checked and copied.

        Raises
        ------
        TypeError
            If the codes are not of the integer type that `bits` and `signed` ask for.
        ValueError
            If shapes, codes, scales or zero points do not fit; names the part.
        """
        codes = np.array(values, order="C")
        if signed is None:
            signed = codes.dtype.kind == "i"
        if codes.dtype != code_dtype(bits, signed):
            wanted = code_dtype(bits, signed)
            raise TypeError(f"values has dtype {codes.dtype}; {bits}-bit codes are {wanted}")
        low, high = code_range(bits, signed, narrow_range)
        if codes.size and (codes.min() < low or codes.max() > high):
            found = f"{codes.min()} to {codes.max()}"
            raise ValueError(f"values has codes from {found}; they must be {low} to {high}")
        axis, group_size = check_layout(codes.shape, axis, group_size)
        shape = () if scheme != "affine" else scale_shape(codes.shape, axis, group_size)
        scales = np.array(scale, np.float32, order="C")
        if scales.shape != shape:
            raise ValueError(f"scale has shape {scales.shape}; it must be {shape}")
        if not (np.isfinite(scales) & (scales > 0)).all():
            raise ValueError("scale has a value that is not finite and above 0")
        zeros = np.zeros(shape, np.int32) if zero_point is None else np.array(zero_point, np.int32)
        if zeros.shape != shape:
            raise ValueError(f"zero_point has shape {zeros.shape}; it must be {shape}")
        full_low, full_high = code_range(bits, signed, False)
        if zeros.size and (zeros.min() < full_low or zeros.max() > full_high):
            raise ValueError(f"zero_point is outside {full_low} to {full_high}")
        book = None if levels is None else np.array(levels, np.float32, order="C")
        if scheme == "kmeans":
            if book is None or book.ndim != (1 if axis is None else 2):
                raise ValueError("levels must be (levels,), or (channels, levels) with an axis")
            if codes.size and int(codes.max()) >= book.shape[-1]:
                raise ValueError(
                    f"values has code {codes.max()}; there are {book.shape[-1]} levels"
                )
            if axis is not None and book.shape[0] != codes.shape[axis]:
                raise ValueError(f"levels has {book.shape[0]} rows; axis has {codes.shape[axis]}")
        return cls._make(
            codes, scales, zeros, axis=axis, group_size=group_size, bits=int(bits),
            signed=bool(signed), narrow_range=bool(narrow_range), scheme=scheme, offset=offset,
            levels=book, reconstruct=reconstruct, clipped=int(clipped),
        )  # fmt: skip

    # shape -------------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return self.values.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.values.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.values.size

    def __len__(self) -> int:
        return len(self.values)

    @property
    def T(self) -> QTensor:  # noqa: N802
        """The transposed tensor; not for groups, which run along the last axis."""
        if self.group_size is not None and self.ndim > 1:
            raise ValueError(
                "a tensor with groups has no transpose: groups run along the last axis"
            )
        axis = None if self.axis is None else self.ndim - 1 - self.axis
        rest = {name: getattr(self, name) for name in _DEFAULTS}
        values = np.ascontiguousarray(self.values.T)
        return QTensor._make(values, self.scale, self.zero_point, **(rest | {"axis": axis}))

    # bytes -------------------------------------------------------------------------------------
    @property
    def packed(self) -> NDArray[np.uint8]:
        """The codes as stored: a little-endian bit stream, each row padded to a byte."""
        packed: NDArray[np.uint8] = self._cached("packed", self._pack)
        return packed

    def _pack(self) -> NDArray[np.uint8]:
        codes = np.ascontiguousarray(self.values)
        if self.bits >= 8 or not codes.size:
            packed = codes.reshape(-1).view(np.uint8)
        else:
            row = self.shape[-1] if self.ndim else 1
            packed = _core.pack_bits(codes.reshape(-1).view(np.uint8), row, self.bits)
        packed.flags.writeable = False
        return packed

    @property
    def nbytes(self) -> int:
        """Bytes as stored: packed codes, scales, zero points where any is not 0, and levels."""
        row = self.shape[-1] if self.ndim else 1
        rows = self.size // row if row else 0
        total = rows * (-(-row * self.bits // 8))
        if self.levels is not None:
            return total + self.levels.nbytes
        total += self.scale.nbytes + (4 if self.offset is not None else 0)
        if self.zero_point.any():
            total += self.zero_point.size * self.values.itemsize
        return total

    # values ------------------------------------------------------------------------------------
    def dequantize(
        self, *, dtype: DTypeLike | None = None, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Decode; see `qcore.dequantize`."""
        if out is not None:
            kind = np.dtype(np.float32 if dtype is None else dtype)
            check_out(out, kind, self.shape, self.values, self.scale)
        direct = out is not None and out.dtype == np.float32 and out.flags.c_contiguous
        real = out if direct and out is not None else np.empty(self.shape, np.float32)
        if self.scheme == "kmeans":
            assert self.levels is not None
            if self.axis is None:
                np.take(self.levels, self.values, out=real)
            else:
                codes = np.moveaxis(self.values, self.axis, 0)
                flat = codes.reshape(len(codes), -1).astype(np.intp)
                found = np.take_along_axis(self.levels, flat, axis=1)
                real[...] = np.moveaxis(found.reshape(codes.shape), 0, self.axis)
        elif self.scheme == "floor":
            shift = 0.5 if self.reconstruct == "centre" else 0.0
            assert self.offset is not None
            _core.floor_dequantize(self.values, float(self.scale), self.offset, shift, real)
        else:
            layout = layout_of(self.shape, self.axis, self.group_size)
            _core.dequantize(self.values, self.scale, self.zero_point, real, **layout)
        if out is None:
            return real if dtype is None else real.astype(dtype, copy=False)
        if out is not real:
            out[...] = real
        return out

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a QTensor has to be decoded: it has no array without a copy")
        return self.dequantize(dtype=dtype)

    def error(self, x: ArrayLike) -> QuantizationError:
        """Compare with the values that were quantized.

        Parameters
        ----------
        x : array_like of float, of this tensor's shape

        Returns
        -------
        QuantizationError
            ``sqnr_db``, ``cosine`` and ``max_abs``; float64 arithmetic.
        """
        exact = float_array(x, "x").astype(np.float64)
        if exact.shape != self.shape:
            raise ValueError(f"x has shape {exact.shape}; it must be {self.shape}")
        real = self.dequantize(dtype=np.float64)
        noise = float(np.sum((exact - real) ** 2))
        signal = float(np.sum(exact**2))
        sqnr = (
            math.inf
            if noise == 0
            else -math.inf
            if signal == 0
            else 10 * math.log10(signal / noise)
        )
        norm = math.sqrt(signal) * math.sqrt(float(np.sum(real**2)))
        cosine = float(np.sum(exact * real)) / norm if norm else float(noise == 0)
        worst = float(np.max(np.abs(exact - real), initial=0.0))
        return QuantizationError(sqnr, cosine, worst)

    # Python ------------------------------------------------------------------------------------
    def _cached(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what `make` made at the first call: tensors do not change."""
        cache = self._cache
        if name not in cache:
            cache[name] = make()
        return cache[name]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QTensor):
            return NotImplemented
        arrays = all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("values", "scale", "zero_point")
        )
        books = (self.levels is None) == (other.levels is None) and (
            self.levels is None or np.array_equal(self.levels, other.levels)  # type: ignore[arg-type]
        )
        rest = all(
            getattr(self, name) == getattr(other, name)
            for name in _DEFAULTS
            if name not in ("levels", "clipped")
        )
        return arrays and books and rest and self.values.dtype == other.values.dtype

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        rest = {name: getattr(self, name) for name in _DEFAULTS}
        return _rebuild, (self.values, self.scale, self.zero_point, rest)

    def __repr__(self) -> str:
        per = (
            f"group_size={self.group_size}"
            if self.group_size is not None
            else f"axis={self.axis}"
            if self.axis is not None
            else "per tensor"
        )
        kind = f"{self.bits}-bit {self.scheme}, {per}, {self.values.dtype}"
        return f"QTensor({self.shape}, {kind}, {self.nbytes} bytes)"


_DEFAULTS: dict[str, Any] = {
    "axis": None,
    "group_size": None,
    "bits": 8,
    "signed": True,
    "narrow_range": False,
    "scheme": "affine",
    "offset": None,
    "levels": None,
    "reconstruct": "centre",
    "clipped": 0,
}


def _rebuild(
    values: NDArray[Any], scale: NDArray[Any], zero_point: NDArray[Any], rest: dict[str, Any]
) -> QTensor:
    return QTensor._make(values, scale, zero_point, **rest)
