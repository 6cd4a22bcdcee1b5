"""What every public function checks of its arguments, and how it says no: in one place."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.arrays import as_array
from qcore._runtime.interrupt import by_rows
from qcore.errors import ArgumentError

__all__ = [
    "check_axis",
    "check_finite",
    "check_flag",
    "check_fraction",
    "check_instance",
    "check_int",
    "check_number",
    "check_one_of",
    "check_out",
    "check_path",
    "float_array",
    "integer_array",
    "numeric_array",
    "positive_array",
    "real_array",
    "samples",
    "single_samples",
]

FLOATS = (np.float16, np.float32, np.float64)


def float_array(x: ArrayLike, name: str) -> NDArray[Any]:
    """Return `x` as a C-contiguous, aligned, native float16, float32 or float64 array.

    Any stride, byte order and alignment is taken. Python numbers become float64. Integers, bools,
    complex numbers and objects are refused: whether a number is a value or a code is not ours to
    guess.
    """
    array = as_array(x, name)
    kind = array.dtype
    if kind.type not in FLOATS:
        if kind.name == "bfloat16":  # ml_dtypes' type; float32 holds it exactly
            array = array.astype(np.float32)
        else:
            raise TypeError(f"{name} has dtype {kind}; it must be float16, float32 or float64")
    return _plain(array)


def numeric_array(x: ArrayLike, name: str, dtypes: Iterable[Any]) -> NDArray[Any]:
    """Return `x` as a C-contiguous, aligned, native array of one of the given dtypes."""
    array = as_array(x, name)
    allowed = [np.dtype(dtype) for dtype in dtypes]
    if array.dtype.newbyteorder("=") not in allowed:
        names = ", ".join(str(dtype) for dtype in allowed)
        raise TypeError(f"{name} has dtype {array.dtype}; it must be one of {names}")
    return _plain(array)


def integer_array(x: ArrayLike, name: str) -> NDArray[Any]:
    """Return `x` as an array of integers of any width; bools and whole floats are none."""
    array = as_array(x, name)
    if array.dtype.kind not in "iu":
        if array.size == 0 and array.dtype.kind == "f":  # an empty list
            return array.astype(np.int64)
        raise TypeError(f"{name} has dtype {array.dtype}; it must be of integers")
    return array


def real_array(x: ArrayLike, name: str) -> NDArray[Any]:
    """Return `x` as an array of integers or floats of any width."""
    array = as_array(x, name)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} has dtype {array.dtype}; it must be of real numbers")
    return array


def positive_array(
    x: ArrayLike, name: str, shape: tuple[int, ...] | None = None, *, may_be_zero: bool = False
) -> NDArray[np.float32]:
    """Return numbers above 0 as a new float32 array: scales, wherever they come from.

    Integers and floats of any width are numbers; bools, complex numbers, dates, texts, bytes and
    objects are not.
    """
    array = real_array(x, name)
    with np.errstate(over="ignore"):  # what float32 does not hold is infinite, and refused as such
        values = np.array(array, np.float32, order="C")
    if shape is not None and values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}; it must be {shape}")
    bad = ~(np.isfinite(values) & ((values >= 0) if may_be_zero else (values > 0)))
    if bad.any():
        at = first_position(bad) if values.ndim else ""
        least = "not below 0" if may_be_zero else "above 0"
        raise ValueError(f"{name}{at} is {values[bad].flat[0]}; it must be finite and {least}")
    return values


def samples(
    X: ArrayLike,
    inputs: int | None = None,
    name: str = "X",
    *,
    finite: bool = True,
    empty: bool = False,
) -> NDArray[Any]:
    """Return samples, (n, inputs), as a plain float32 array, or float64 where they are.

    What everything that takes samples takes: floats, and integers and bools as the numbers that
    they are.

    Parameters
    ----------
    X : array_like of float, int or bool, (n, inputs)
    inputs : int, optional
        How many columns there must be; default: any number.
    name : str
        What messages call them.
    finite : bool
        Whether NaN and infinities are refused.
    empty : bool
        Whether there may be no rows.
    """
    array = as_array(X, name)
    if array.dtype.kind in "iub":
        array = array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    array = float_array(array, name)
    wanted = "inputs" if inputs is None else inputs
    if array.ndim != 2 or (inputs is not None and array.shape[1] != inputs):
        raise ArgumentError(name, f"{name} has shape {array.shape}; it must be (n, {wanted})")
    if not len(array) and not empty:
        found = f"{name} has shape {array.shape}"
        raise ArgumentError(name, f"{found}; it must be (n, {wanted}), n above 0")
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if finite:
        check_finite(array, name)
    return array


def single_samples(X: ArrayLike, inputs: int | None = None, name: str = "X") -> NDArray[np.float32]:
    """Return finite samples, (n, inputs), n above 0, as float32; see `samples`."""
    found = samples(X, inputs, name)
    if found.dtype == np.float32:
        return found
    with np.errstate(over="ignore"):
        single = found.astype(np.float32)
    check_finite(single, name)
    return single


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    flags = array.flags
    if flags.c_contiguous and flags.aligned and array.dtype.isnative:
        return array
    return by_rows(_copied, array)


def _copied(array: NDArray[Any]) -> NDArray[Any]:
    """Return a copy in NumPy's own order; with axes of its own even where it has one element."""
    plain = np.empty(array.shape, array.dtype.newbyteorder("="))
    plain[...] = array
    return plain


def first_position(mask: NDArray[np.bool_]) -> str:
    """Return the position of the first true element as people write it."""
    position = np.unravel_index(int(np.argmax(mask)), mask.shape)
    return "[" + ", ".join(str(int(index)) for index in position) + "]"


def check_finite(x: NDArray[Any], name: str) -> None:
    """Refuse NaN and infinities, naming the first."""
    finite = by_rows(np.isfinite, x)
    if not finite.all():
        at = first_position(~finite)
        found = x[~finite].flat[0]
        raise ArgumentError(name, f"{name}{at} is {found}; every value must be finite")


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
        raise ArgumentError(name, f"{name} is {value}; it must be {allowed}")
    return int(value)


def check_fraction(value: object, name: str, *, closed: bool = True) -> float:
    """Return a number from 0 to 1; 1 itself only if `closed`."""
    if isinstance(value, (bool, str)) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} is {value!r}; it must be a number")
    number = float(value)
    if not (0.0 <= number < 1.0 or (closed and number == 1.0)):
        allowed = "from 0 to 1" if closed else "at least 0 and below 1"
        raise ArgumentError(name, f"{name} is {value}; it must be {allowed}")
    return number


def check_number(
    value: object, name: str, low: float, high: float = math.inf, *, open_low: bool = False
) -> float:
    """Return a finite number from `low` (above it, if `open_low`) to below `high`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise TypeError(f"{name} is {value!r}; it must be a number")
    number = float(value)
    least = low < number or (low == number and not open_low)
    if not (math.isfinite(number) and least and number < high):
        bounds = [] if low == -math.inf else [f"{'above' if open_low else 'at least'} {low:g}"]
        bounds.append("finite" if high == math.inf else f"below {high:g}")
        raise ValueError(f"{name} is {value}; it must be {' and '.join(bounds)}")
    return number


def check_flag(value: object, name: str) -> bool:
    """Return True or False; no other value has a meaning here."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}; it must be True or False")
    return bool(value)


def check_instance(value: object, kind: type | tuple[type, ...], name: str) -> None:
    """Refuse what is not an object of a class, or of one of several."""
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(one.__name__ for one in kinds)
        article = "an" if wanted[0] in "AEIOU" else "a"
        raise TypeError(f"{name} is {type(value).__name__}; it must be {article} {wanted}")


def check_one_of(value: object, name: str, allowed: Iterable[object]) -> None:
    """Refuse what is not one of the allowed values."""
    options = tuple(allowed)
    # Of simple types only: an array compares element by element, and True equals 1.
    simple = isinstance(value, (str, int, np.integer)) and not isinstance(value, bool)
    if not any(value is option or (simple and value == option) for option in options):
        names = ", ".join(repr(option) for option in options)
        raise ArgumentError(name, f"{name} is {value!r}; it must be one of {names}")


def check_axis(axis: object, ndim: int, name: str = "axis") -> int:
    """Return the axis counted from the front."""
    number = check_int(axis, name, -ndim, ndim - 1) if ndim else None
    if number is None:
        raise ArgumentError(name, f"{name} is {axis!r}; x has no axes")
    return number % ndim


def check_path(path: object, name: str = "path") -> Path:
    """Return where a file is to be, or is said to be; nothing is opened.

    Raises
    ------
    TypeError
        If it is no text and no path.
    ValueError
        If no file can have the name.
    FileNotFoundError
        If it is empty: a folder, the current one, is never meant.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise TypeError(f"{name} is {path!r:.100}; it must be a text or a path")
    text = os.fspath(path)
    if "\0" in text:
        raise ValueError(f"{name} is {text!r:.100}; a file's name has no zero byte")
    if not text:
        raise FileNotFoundError(errno.ENOENT, "The name of the file is empty", text)
    return Path(text)


def check_out(
    out: object, dtype: Any, shape: tuple[int, ...], *inputs: NDArray[Any], name: str = "out"
) -> NDArray[Any]:
    """Return `out` if it can be written: its dtype and shape, and no memory shared with inputs."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name} is {type(out).__name__}; it must be a NumPy array")
    if out.dtype != dtype:
        raise TypeError(f"{name} has dtype {out.dtype}; it must be {np.dtype(dtype)}")
    if out.shape != shape:
        raise ArgumentError(name, f"{name} has shape {out.shape}; it must be {shape}")
    if not out.flags.writeable:
        raise ArgumentError(name, f"{name} is read-only")
    if any(np.may_share_memory(out, array) for array in inputs):
        raise ArgumentError(name, f"{name} shares memory with an input")
    return out
