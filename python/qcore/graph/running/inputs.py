"""What a graph checks of the arrays that it is run on: in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.arrays import as_array
from qcore.graph.value import SOURCE_DTYPES, Value, numpy_dtype, shape_text

__all__ = ["as_running", "as_source", "check_inputs"]

# float32 holds every integer up to this.
_EXACT_IN_FLOAT32 = 1 << 24


def check_inputs(values: Sequence[Value], given: Any) -> dict[str, NDArray[Any]]:
    """Return the arrays for a graph's inputs in the types in which they run.

    Raises
    ------
    TypeError
        If `given` is no mapping, or an array cannot be cast safely.
    ValueError
        If an input is missing or unknown, or its rank, a fixed dim or an integer does not fit.
    """
    if not isinstance(given, Mapping):
        raise TypeError(
            f"inputs is {type(given).__name__}; it must be a dict from the inputs' names to arrays"
        )
    known = {value.name for value in values}
    for name in given:
        if name not in known:
            raise ValueError(f"there is no input {name!r}; the inputs are {_names(values)}")
    missing = [value.name for value in values if value.name not in given]
    if missing:
        raise ValueError(f"input {missing[0]!r} is missing; the inputs are {_names(values)}")
    sizes: dict[str, tuple[int, str]] = {}
    found = {}
    for value in values:
        array = as_running(given[value.name], value)
        _check_shape(array, value, sizes)
        found[value.name] = array
    return found


def _names(values: Sequence[Value]) -> str:
    return ", ".join(repr(value.name) for value in values) or "none"


def as_running(given: Any, value: Value) -> NDArray[Any]:
    """Return an array in the type in which an input runs, if that loses nothing that was meant.

    Casts that NumPy calls safe, and integers that fit; numbers that are no array yet take the
    input's type. bfloat16, which NumPy lacks, is also given as float32.
    """
    array = as_array(given, repr(value.name))
    wanted = value.dtype
    running = np.dtype(value.running_dtype)
    found = array.dtype
    if found.name == wanted or (wanted == "bfloat16" and found == np.float32):
        return _plain(array, running)
    weak = not hasattr(given, "dtype")  # a list, or Python's number: its type is a guess
    target = np.dtype("float32") if wanted == "bfloat16" else np.dtype(wanted)
    if np.can_cast(found, target, "safe") or (weak and found.kind == target.kind == "f"):
        return _plain(array, running)
    if found.kind in "iu" and target.kind in "iuf":
        _check_range(array, value, target)
        return _plain(array, running)
    raise TypeError(
        f"input {value.name!r} has dtype {found}; it must be {wanted}, or what casts to it safely"
    )


def _plain(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array in rows; ascontiguousarray would give a scalar an axis."""
    return np.ascontiguousarray(array, dtype).reshape(array.shape)


def _check_range(array: NDArray[Any], value: Value, target: np.dtype[Any]) -> None:
    if target.kind == "f":
        low, high = -_EXACT_IN_FLOAT32, _EXACT_IN_FLOAT32
    else:
        low, high = int(np.iinfo(target).min), int(np.iinfo(target).max)
    if not array.size:
        return
    outside = (array < low) | (array > high)
    if outside.any():
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(outside)), array.shape))
        at = ", ".join(map(str, place))
        raise ValueError(
            f"input {value.name!r}[{at}] is {array[place]}; as {value.dtype} it must be {low} to "
            f"{high}"
        )


def _check_shape(array: NDArray[Any], value: Value, sizes: dict[str, tuple[int, str]]) -> None:
    if value.shape is None:
        return
    if array.ndim != len(value.shape):
        raise ValueError(
            f"input {value.name!r} has shape {array.shape}; it must have {len(value.shape)} "
            f"dims, {shape_text(value.shape)}"
        )
    for axis, (dim, size) in enumerate(zip(value.shape, array.shape, strict=True)):
        if isinstance(dim, int) and dim != size:
            raise ValueError(
                f"input {value.name!r} has shape {array.shape}; dim {axis} must be {dim}, as in "
                f"{shape_text(value.shape)}"
            )
        if isinstance(dim, str):
            other, first = sizes.setdefault(dim, (size, value.name))
            if other != size:
                raise ValueError(
                    f"input {value.name!r} has {size} in dim {axis} ({dim}), which is {other} in "
                    f"input {first!r}"
                )


def as_source(array: NDArray[Any], value: Value) -> NDArray[Any]:
    """Return an output in the type that the source has."""
    if SOURCE_DTYPES[value.dtype] == value.dtype:
        return array
    dtype = numpy_dtype(value.dtype)
    with np.errstate(over="ignore"):  # what float16 does not hold is infinite there too
        return array if dtype is None else array.astype(dtype)
