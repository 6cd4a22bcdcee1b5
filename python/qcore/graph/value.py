"""A value that flows through a graph: its name, what its elements are, and its shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from qcore.arrays.params.qparams import QParams

__all__ = ["RUNNING", "SOURCE_DTYPES", "Dim", "Shape", "Value", "numpy_dtype", "shape_text"]

#: A size, a name that stands for the same size everywhere, or None where nothing is known.
Dim: TypeAlias = "int | str | None"
Shape: TypeAlias = "tuple[Dim, ...]"

#: The types in which values are computed.
RUNNING = ("float32", "int64", "int32", "bool", "uint8", "int8")
#: The type in which a source's type is computed. Floats of other widths become float32, once, on
#: their way in; outputs are cast back.
SOURCE_DTYPES: Mapping[str, str] = {name: name for name in RUNNING} | {
    "float16": "float32", "bfloat16": "float32", "float64": "float32",
}  # fmt: skip


@dataclass(frozen=True)
class Value:
    """A named value.

    Attributes
    ----------
    name : str
    dtype : str
        NumPy's name of the elements' type; "bfloat16" for the type that NumPy lacks. Inputs and
        outputs have the source's type, all other values one of those that run.
    shape : tuple of int, str or None; or None
        Sizes; a name stands for the same size wherever it is. None where nothing is known.
    codes : QParams, optional
        What integers stand for, where the value is quantized.

    Examples
    --------
    >>> Value("x", "float32", ("batch", 3, 32, 32))
    Value('x', float32, (batch, 3, 32, 32))
    """

    name: str
    dtype: str
    shape: Shape | None = None
    codes: QParams | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"a value has the name {self.name!r}; it must be a text")
        if not isinstance(self.dtype, str) or self.dtype not in SOURCE_DTYPES:
            raise ValueError(
                f"value {self.name!r} has dtype {self.dtype!r}; it must be one of "
                f"{', '.join(SOURCE_DTYPES)}"
            )
        if self.shape is None:
            return
        if isinstance(self.shape, (str, bytes)) or not isinstance(self.shape, Iterable):
            raise TypeError(f"value {self.name!r} has shape {self.shape!r}; it must be a tuple")
        shape = tuple(_dim(dim, self.name) for dim in self.shape)
        object.__setattr__(self, "shape", shape)

    @property
    def running_dtype(self) -> str:
        """The type in which it is computed."""
        return SOURCE_DTYPES[self.dtype]

    @property
    def ndim(self) -> int | None:
        """How many dims it has, where that is known."""
        return None if self.shape is None else len(self.shape)

    def __repr__(self) -> str:
        codes = "" if self.codes is None else f", {self.codes!r}"
        return f"Value({self.name!r}, {self.dtype}, {shape_text(self.shape)}{codes})"


def _dim(dim: Any, name: str) -> Dim:
    if dim is None or (isinstance(dim, str) and dim):
        return dim
    if isinstance(dim, (int, np.integer)) and not isinstance(dim, bool) and dim >= 0:
        return int(dim)
    raise ValueError(f"value {name!r} has the dim {dim!r}; it must be a size, a name or None")


def shape_text(shape: Shape | None) -> str:
    """Return a shape as people write it.

    Examples
    --------
    >>> shape_text(("batch", 3, None))
    '(batch, 3, ?)'
    """
    if shape is None:
        return "(...)"
    names = ["?" if dim is None else str(dim) for dim in shape]
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"


def numpy_dtype(name: str) -> np.dtype[Any] | None:
    """Return NumPy's type of a name; None for bfloat16 where ml_dtypes is not there."""
    if name != "bfloat16":
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError:
        return None
    found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return found
