"""What `qcore.quantize` was asked for, as the schemes get to see it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Options"]


class Options(NamedTuple):
    """The arguments of `qcore.quantize`; what no scheme has its own rule for is checked."""

    bits: int
    signed: bool
    symmetric: bool | None
    narrow_range: bool | None
    axis: int | None
    group_size: int | None
    scale: ArrayLike | None
    zero_point: ArrayLike | None
    offset: float | None
    rounding: str
    reconstruct: str
    levels: int | None
    observer: str
    percentile: float
    scale_dtype: np.dtype[Any] | None
    importance: NDArray[Any] | None
    nan: str
    random_state: object
    out: NDArray[Any] | None

    def refuse(self, form: str, *names: str) -> None:
        """Raise for options that this form of code has no use for."""
        for name in names:
            value = getattr(self, name)
            if value is not None:
                raise ValueError(f"{name} is {value!r}; {form} has none, leave it out")
