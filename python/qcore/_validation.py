"""What every public function checks of its arguments, and how it says no: in one place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arrays import as_array

__all__ = [
    "check_axis",
    "check_finite",
    "check_fraction",
    "check_int",
    "check_one_of",
    "check_out",
    "float_array",
    "numeric_array",
]

FLOATS = (np.float16, np.float32, np.float64)


def float_array(x: ArrayLike, name: str) -> NDArray[Any]:
    """Return `x` as a C-contiguous, aligned, native float16, float32 or float64 array.

    Any stride, byte order and alignment is taken. Python numbers become float64. Integers, bools,
    complex numbers and objects are refused: whether a number is a value or a code is not ours to
    guess.
    """
    array = as_array(x)
    kind = array.dtype
    if kind.type not in FLOATS:
        if kind.name == "bfloat16":  # ml_dtypes' type; float32 holds it exactly
            array = array.astype(np.float32)
        else:
            raise TypeError(f"{name} has dtype {kind}; it must be float16, float32 or float64")
    return _plain(array)


def numeric_array(x: ArrayLike, name: str, dtypes: Iterable[Any]) -> NDArray[Any]:
    """Return `x` as a C-contiguous, aligned, native array of one of the given dtypes."""
    array = as_array(x)
    allowed = [np.dtype(dtype) for dtype in dtypes]
    if array.dtype.newbyteorder("=") not in allowed:
        names = ", ".join(str(dtype) for dtype in allowed)
        raise TypeError(f"{name} has dtype {array.dtype}; it must be one of {names}")
    return _plain(array)


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    flags = array.flags
    if flags.c_contiguous and flags.aligned and array.dtype.isnative:
        return array
    plain = np.empty(array.shape, array.dtype.newbyteorder("="))
    plain[...] = array
    return plain


def first_position(mask: NDArray[np.bool_]) -> str:
    """Return the position of the first true element as people write it."""
    position = np.unravel_index(int(np.argmax(mask)), mask.shape)
    return "[" + ", ".join(str(int(index)) for index in position) + "]"


def check_finite(x: NDArray[Any], name: str) -> None:
    """Refuse NaN and infinities, naming the first."""
    finite = np.isfinite(x)
    if not finite.all():
        at = first_position(~finite)
        found = x[~finite].flat[0]
        raise ValueError(f"{name}{at} is {found}; every value must be finite")


def nan_error(x: NDArray[Any], name: str) -> ValueError:
    """Return the error for an array with NaN where they are refused."""
    at = first_position(np.isnan(x))
    return ValueError(f"{name}{at} is NaN; use nan='zero' to quantize NaN as 0")


def check_int(value: object, name: str, low: int, high: int | None = None) -> int:
    """Return an integer within bounds; bools and floats are not integers."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}; it must be an integer")
    if value < low or (high is not None and value > high):
        allowed = f"{low} to {high}" if high is not None else f"at least {low}"
        raise ValueError(f"{name} is {value}; it must be {allowed}")
    return int(value)


def check_fraction(value: object, name: str, *, closed: bool = True) -> float:
    """Return a number from 0 to 1; 1 itself only if `closed`."""
    if isinstance(value, (bool, str)) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} is {value!r}; it must be a number")
    number = float(value)
    if not (0.0 <= number < 1.0 or (closed and number == 1.0)):
        allowed = "from 0 to 1" if closed else "at least 0 and below 1"
        raise ValueError(f"{name} is {value}; it must be {allowed}")
    return number


def check_one_of(value: object, name: str, allowed: Iterable[object]) -> None:
    """Refuse what is not one of the allowed values."""
    options = tuple(allowed)
    if value not in options:
        names = ", ".join(repr(option) for option in options)
        raise ValueError(f"{name} is {value!r}; it must be one of {names}")


def check_axis(axis: object, ndim: int, name: str = "axis") -> int:
    """Return the axis counted from the front."""
    number = check_int(axis, name, -ndim, ndim - 1) if ndim else None
    if number is None:
        raise ValueError(f"{name} is {axis!r}; x has no axes")
    return number % ndim


def check_out(
    out: object, dtype: Any, shape: tuple[int, ...], *inputs: NDArray[Any], name: str = "out"
) -> NDArray[Any]:
    """Return `out` if it can be written: its dtype and shape, and no memory shared with inputs."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name} is {type(out).__name__}; it must be a NumPy array")
    if out.dtype != dtype:
        raise TypeError(f"{name} has dtype {out.dtype}; it must be {np.dtype(dtype)}")
    if out.shape != shape:
        raise ValueError(f"{name} has shape {out.shape}; it must be {shape}")
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")
    if any(np.may_share_memory(out, array) for array in inputs):
        raise ValueError(f"{name} shares memory with an input")
    return out
