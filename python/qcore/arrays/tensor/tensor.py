"""The quantized tensor: codes, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from qcore import _core
from qcore._arguments.validation import check_int, check_out, float_array
from qcore._display.histograms import histogram
from qcore._display.html import bars, facts_html
from qcore.arrays.params.qparams import FLOAT32
from qcore.arrays.tensor.error import QuantizationError, error_of
from qcore.arrays.tensor.held import Form, Parts
from qcore.arrays.tensor.parts import check_parts
from qcore.arrays.tensor.row_bits import pack_rows, packed_nbytes
from qcore.arrays.tensor.scheme import SCHEMES

__all__ = ["QTensor", "new_codes"]


def _float_type(dtype: DTypeLike) -> np.dtype[Any]:
    """Return the type to decode to, if it is one."""
    kind: np.dtype[Any] = np.dtype(dtype).newbyteorder("=")
    if kind.type not in (np.float16, np.float32, np.float64):
        raise TypeError(f"dtype is {kind}; it must be float16, float32 or float64")
    return kind


def new_codes(out: NDArray[Any] | None, dtype: np.dtype[Any], x: NDArray[Any]) -> NDArray[Any]:
    """Return `out`, if it is given and can take the codes of `x`, or a new array for them."""
    if out is None:
        return np.empty(x.shape, dtype)
    check_out(out, dtype, x.shape, x)
    if not out.flags.c_contiguous:
        raise ValueError("out is not C-contiguous")
    return out


def _lock(part: NDArray[Any]) -> None:
    """Make what a part is a view of read-only too: nobody can then make a view writable."""
    owner = part.base
    while isinstance(owner, np.ndarray):
        owner.setflags(write=False)
        owner = owner.base


#: The form that nearly every tensor of activations has, and the same where the scale was found.
_INT8 = Form()
_NARROW = Form(narrow_range=True)

_new = object.__new__
_dequantize = _core.dequantize_plain


class QTensor(Parts):
    """An immutable quantized tensor.

    Made by `qcore.quantize`, or from parts by `QTensor.from_parts`. ``np.asarray(q)`` decodes it.

    Attributes
    ----------
    values : ndarray
        The codes, unpacked, in the tensor's shape: int8, uint8, int16 or uint16. Read-only, but for
        a buffer that came as ``out=``, which stays its owner's.
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
        What codes stand for: "affine", "floor", "binary" (1 bit), or a codebook's name.
    scale_dtype : dtype
        The type in which scales are stored: float32 or float16.
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

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("a QTensor is made by qcore.quantize or QTensor.from_parts")

    @staticmethod
    def _make(
        values: NDArray[Any],
        scale: NDArray[np.float32],
        zero_point: NDArray[np.int32],
        axis: int | None = None,
        group_size: int | None = None,
        bits: int = 8,
        signed: bool = True,
        narrow_range: bool = False,
        scheme: str = "affine",
        offset: float | None = None,
        levels: NDArray[np.float32] | None = None,
        reconstruct: str = "centre",
        clipped: int = 0,
        scale_dtype: np.dtype[Any] = FLOAT32,
        row_bits: NDArray[np.uint8] | None = None,
        float_rows: NDArray[np.float32] | None = None,
        tensor_scale: float | None = None,
    ) -> QTensor:
        """Build one from parts that are known to fit, and that nobody else will write to."""
        for part in (values, scale, zero_point, levels, row_bits, float_rows):
            if part is not None and part.base is not None and not part.flags.writeable:
                _lock(part)
        self = _new(QTensor)
        self._values = values
        self._scale = scale
        self._zero_point = zero_point
        self._clipped = clipped
        self._form = Form(
            axis, group_size, bits, signed, narrow_range, scheme, offset, levels, reconstruct,
            scale_dtype, row_bits, float_rows, tensor_scale,
        )  # fmt: skip
        self._cache = None
        return self

    @staticmethod
    def _plain(
        bits: int,
        signed: bool,
        parts: tuple[NDArray[Any], NDArray[np.float32], NDArray[np.int32], int, bool],
    ) -> QTensor:
        """Build one of affine codes with one scale, from what `_core.quantize_plain` returns.

        Few assignments: such a tensor must cost next to nothing to build.
        """
        self = _new(QTensor)
        self._values, self._scale, self._zero_point, self._clipped, narrow_range = parts
        if bits == 8 and signed:
            self._form = _NARROW if narrow_range else _INT8
        else:
            self._form = Form(None, None, bits, signed, narrow_range)
        self._cache = None
        return self

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
        scale_dtype: DTypeLike | None = None,
        row_bits: ArrayLike | None = None,
        float_rows: ArrayLike | None = None,
        tensor_scale: float | None = None,
    ) -> QTensor:
        """Build a tensor from its codes and their meaning, which are checked and copied.

        `scale_dtype` is float16 by default where `scale` is, else float32.

        Raises
        ------
        TypeError
            If the codes are not of the integer type that `bits` and `signed` ask for.
        ValueError
            If shapes, codes, scales or zero points do not fit; names the part.
        """
        parts = check_parts(
            values, scale, zero_point, axis=axis, group_size=group_size, bits=bits, signed=signed,
            narrow_range=narrow_range, scheme=scheme, offset=offset, levels=levels,
            reconstruct=reconstruct, scale_dtype=scale_dtype, row_bits=row_bits,
            float_rows=float_rows, tensor_scale=tensor_scale,
        )  # fmt: skip
        return cls._make(**parts, clipped=check_int(clipped, "clipped", 0))

    @property
    def T(self) -> QTensor:  # noqa: N802
        """The transposed tensor; not for groups, which run along the last axis."""
        if self.group_size is not None and self.ndim > 1:
            raise ValueError(
                "a tensor with groups has no transpose: groups run along the last axis"
            )
        if self.row_bits is not None:
            raise ValueError("a tensor with a width for each row has no transpose")
        axis = None if self.axis is None else self.ndim - 1 - self.axis
        rest = {name: getattr(self, name) for name in _REST}
        values = np.ascontiguousarray(self.values.T)
        values.setflags(write=False)
        return QTensor._make(values, self.scale, self.zero_point, **(rest | {"axis": axis}))

    # bytes -------------------------------------------------------------------------------------
    @property
    def packed(self) -> NDArray[np.uint8]:
        """The codes as stored: a little-endian bit stream, each row padded to a byte."""
        packed: NDArray[np.uint8] = self._cached("packed", self._pack)
        return packed

    def _pack(self) -> NDArray[np.uint8]:
        codes = np.ascontiguousarray(self._values)
        if self.row_bits is not None:
            packed = pack_rows(codes, self.row_bits, self.float_rows)
        elif self.bits >= 8 or not codes.size:
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
        if self.row_bits is None:
            total = rows * (-(-row * self.bits // 8))
        else:
            total = packed_nbytes(self.row_bits, row) + self.row_bits.nbytes
        if self.levels is not None and SCHEMES[self.scheme].is_fitted:
            total += self.levels.nbytes
        if SCHEMES[self.scheme].scale_format is not None:
            total += self.scale.size
        elif self.levels is None or self.scale.size > 1 or self.scale != 1:
            total += self.scale.size * self.scale_dtype.itemsize
        total += 4 * (self.offset is not None) + 4 * (self.tensor_scale is not None)
        if self.zero_point.any():
            total += self.zero_point.size * self.values.itemsize
        return total

    # values ------------------------------------------------------------------------------------
    def dequantize(
        self, *, dtype: DTypeLike | None = None, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Decode; see `qcore.dequantize`."""
        form = self._form
        if dtype is None and (form is _INT8 or form.is_plain()):
            found = _dequantize(self._values, self._scale, self._zero_point, out)
            if found is not None:
                return found
        if out is None:
            real = np.empty(self._values.shape, np.float32 if dtype is None else _float_type(dtype))
            SCHEMES[form.scheme].decode(self, real)
            return real
        if dtype is not None or out.__class__ is not np.ndarray or not out.flags.carray:
            kind = np.dtype(np.float32) if dtype is None else _float_type(dtype)
            check_out(out, kind, self._values.shape, self._values)
            if not out.flags.carray:
                out[...] = self.dequantize(dtype=kind)
                return out
        else:
            check_out(out, np.float32, self._values.shape, self._values)
        SCHEMES[form.scheme].decode(self, out)
        return out

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a QTensor has to be decoded: it has no array without a copy")
        if dtype is None or np.dtype(dtype).type in (np.float16, np.float64):
            return self.dequantize(dtype=dtype)
        return self.dequantize().astype(dtype, copy=False)

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
        exact = float_array(x, "x")
        if exact.shape != self.shape:
            raise ValueError(f"x has shape {exact.shape}; it must be {self.shape}")
        return error_of(exact, self.dequantize(dtype=np.float64))

    # Python ------------------------------------------------------------------------------------
    def _cached(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what `make` made at the first call: tensors do not change."""
        cache = self._cache
        if cache is None:
            cache = self._cache = {}
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
        books = all(_same(getattr(self, name), getattr(other, name)) for name in _ARRAYS)
        rest = all(
            getattr(self, name) == getattr(other, name)
            for name in _REST
            if name not in (*_ARRAYS, "clipped")
        )
        return arrays and books and rest and self.values.dtype == other.values.dtype

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        rest = {name: getattr(self, name) for name in _REST}
        return _rebuild, (self.values, self.scale, self.zero_point, rest)

    def __repr__(self) -> str:
        per = (
            f"group_size={self.group_size}"
            if self.group_size is not None
            else f"axis={self.axis}"
            if self.axis is not None
            else "per tensor"
        )
        width = f"{self.bits}"
        if self.row_bits is not None:
            width = f"{self.row_bits.min()}-{self.row_bits.max()}"
        kind = f"{width}-bit {self.scheme}, {per}, {self.values.dtype}"
        return f"QTensor({self.shape}, {kind}, {self.nbytes} bytes)"

    @property
    def kind(self) -> str:
        """The codes in a few words, such as ``int4 affine, groups of 32``."""
        sign = "int" if self.signed else "uint"
        groups = f", groups of {self.group_size}" if self.group_size else ""
        if SCHEMES[self.scheme].scale_format is not None:
            return f"{self.scheme}{groups}"
        levels = f", {self.levels.shape[-1]} levels" if self.levels is not None else ""
        return f"{sign}{self.bits} {self.scheme}{groups}{levels}"

    def _repr_html_(self) -> str:
        shares = histogram(self.dequantize()).before if self.size else []
        shape = " × ".join(map(str, self.shape)) or "scalar"
        width = f"{8 * self.nbytes / self.size:.2f}" if self.size else ""
        facts = {
            "shape": shape, "bytes": f"{self.nbytes:,}", "bits a weight": width,
            "scales": f"{self.scale.size:,}" if self.levels is None else "",
            "clipped": f"{self.clipped:,}" if self.clipped else "",
        }  # fmt: skip
        return facts_html(f"QTensor, {self.kind}", facts, bars(shares))


#: The parts but values, scale and zero_point.
_REST = (
    "axis", "group_size", "bits", "signed", "narrow_range", "scheme", "offset", "levels",
    "reconstruct", "clipped", "scale_dtype", "row_bits", "float_rows", "tensor_scale",
)  # fmt: skip


#: Those of them that are arrays, or None.
_ARRAYS = ("levels", "row_bits", "float_rows")


def _same(a: NDArray[Any] | None, b: NDArray[Any] | None) -> bool:
    return a is b if a is None or b is None else np.array_equal(a, b, equal_nan=True)


def _rebuild(
    values: NDArray[Any], scale: NDArray[Any], zero_point: NDArray[Any], rest: dict[str, Any]
) -> QTensor:
    for part in (values, scale, zero_point, *(rest[name] for name in _ARRAYS)):
        if part is not None:
            part.setflags(write=False)
    return QTensor._make(values, scale, zero_point, **rest)
