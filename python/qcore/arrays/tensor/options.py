"""What `qcore.quantize` was asked for, as the schemes get to see it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Options"]


class Options(NamedTuple):
    """The arguments of `qcore.quantize`; what no scheme has its own rule for is checked."""

    bits: int = 8
    signed: bool = True
    symmetric: bool | None = None
    narrow_range: bool | None = None
    axis: int | None = None
    group_size: int | None = None
    scale: ArrayLike | None = None
    zero_point: ArrayLike | None = None
    offset: float | None = None
    rounding: str = "half_even"
    reconstruct: str = "centre"
    levels: int | None = None
    observer: str = "minmax"
    percentile: float = 99.99
    scale_dtype: np.dtype[Any] | None = None
    importance: NDArray[Any] | None = None
    nan: str = "raise"
    random_state: object = None
    out: NDArray[Any] | None = None

    def refuse(self, form: str, *names: str) -> None:
        """Raise for options that this form of code has no use for."""
        for name in names:
            value = getattr(self, name)
            if value is not None:
                raise ValueError(f"{name} is {value!r}; {form} has none, leave it out")
