"""What stands between raw inputs and the first layer: ``(x - mean) * scale``, column by column.

It is kept apart from the weights: folded into them, raw columns of all magnitudes would share the
one scale of the first layer's integer input, and the small ones would be rounded away.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.validation import check_finite, float_array

__all__ = ["Normalization"]

Floats = NDArray[np.float32]


class Normalization:
    """Normalizes the columns of samples: ``(x - mean) * scale``. Immutable.

    Parameters
    ----------
    mean, scale : float or array_like of float, (inputs,)
        For all columns, or one for each.

    Attributes
    ----------
    mean, scale : ndarray of float64, () or (inputs,)

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> from qcore.chain.normalization import Normalization
    >>> Normalization([1000.0, 0.0], [0.5, 100.0])(np.float32([[1004, 0.01]]))
    array([[2., 1.]], dtype=float32)
    """

    __slots__ = ("_single", "mean", "scale")

    def __init__(self, mean: ArrayLike, scale: ArrayLike) -> None:
        self.mean, self.scale = _shortest(mean, "mean"), _shortest(scale, "scale")
        self._single = tuple(np.asarray(part, np.float32) for part in (self.mean, self.scale))

    def __call__(self, x: NDArray[Any]) -> Floats:
        """Return samples (n, inputs), normalized; float64 ones are rounded afterwards."""
        if x.dtype == np.float32:
            mean, scale = self._single
            single: Floats = x - mean
            single *= scale
            return single
        return np.asarray((x - self.mean) * self.scale, np.float32)

    def after(self, before: Normalization | None) -> Normalization:
        """Return the one that does what `before` does, then this."""
        if before is None:
            return self
        factor = np.where(before.scale == 0, 1.0, before.scale)
        return Normalization(before.mean + self.mean / factor, before.scale * self.scale)

    def fits(self, inputs: int) -> bool:
        """Whether samples may have so many columns."""
        return all(part.shape in ((), (inputs,)) for part in (self.mean, self.scale))

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""
        return sum(int(part.nbytes) for part in self.stored())

    def stored(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return mean and scale as files hold them: float32 where that loses nothing."""
        mean, scale = (
            single if np.array_equal(single, part) else part
            for single, part in zip(self._single, (self.mean, self.scale), strict=True)
        )
        return mean, scale

    def __getstate__(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.mean, self.scale

    def __setstate__(self, state: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"Normalization(mean={self.mean}, scale={self.scale})"


def _shortest(value: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return a number if all columns share it, else a vector; read-only."""
    array = np.array(float_array(value, name), np.float64)
    check_finite(array, name)
    if array.ndim > 1 or not array.size:
        raise ValueError(f"{name} has shape {array.shape}; it must be a number or one vector")
    if array.ndim and (array == array[0]).all():
        array = np.array(array[0])
    array.flags.writeable = False
    return array
