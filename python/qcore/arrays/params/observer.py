"""What values were seen, and the range that follows: streaming, mergeable, exact in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore import _core
from qcore._arguments.validation import check_one_of, float_array, nan_error
from qcore.arrays.params.qparams import QParams, code_range, qparams_from_range, resolve
from qcore.arrays.params.ranges import OBSERVERS, check_percentile

__all__ = ["Observer"]


class Observer:
    """Watches a stream of arrays and chooses a range for them.

    The state is a count for every bin, and a bin is the leading bits of a float32: sign, exponent
    and 13 bits of mantissa. So no range has to be known in advance, memory does not grow (32 MB at
    most, for values of all sizes), and any split or order of the values gives the same parameters,
    to the bit.

    Parameters
    ----------
    method : {"minmax", "percentile", "mse", "entropy"}, default "minmax"
        "minmax": the least and the greatest value. "percentile": what holds `percentile` of the
        values. "mse": what leaves the least squared error; "entropy": what leaves the least
        Kullback-Leibler divergence, as ONNX Runtime's calibrator with 16 bins a code.
    bits : int, default 8
        Width of the codes: 2 to 8, or 16.
    percentile : float, default 99.99
        In percent; of the magnitudes where parameters are symmetric, else half of the rest at each
        end.

    Attributes
    ----------
    count : int
        Finite values seen.
    min, max : float
        The least and the greatest of them; 0 before there are any.
    infinite : int
        Infinite values seen; they will saturate.

    References
    ----------
    Migacz, "8-bit Inference with TensorRT", GTC 2017 (entropy). Nagel et al., "A White Paper on
    Neural Network Quantization", 2021, section 3.1 (mse).

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> seen = qc.Observer("percentile", percentile=99.0)
    >>> for batch in np.split(np.append(np.linspace(0, 1, 999), 50.0), 10):
    ...     _ = seen.update(batch)
    >>> seen.max, seen.count
    (50.0, 1000)
    >>> round(float(seen.qparams(signed=False, symmetric=False).scale) * 255, 2)
    1.0
    """

    def __init__(self, method: str = "minmax", *, bits: int = 8, percentile: float = 99.99) -> None:
        check_one_of(method, "method", OBSERVERS)
        self.method = method
        self.bits = resolve(bits, True, None, None)[0]
        self.percentile = check_percentile(percentile)
        self._seen = _core.Histogram()

    def update(self, x: ArrayLike, *, nan: str = "raise") -> Observer:
        """Take in an array of any shape.

        Parameters
        ----------
        x : array_like of float16, float32 or float64
        nan : {"raise", "ignore"}
            Refuse NaN, or leave them out. The array is not counted where they are refused.

        Returns
        -------
        Observer
            Itself.
        """
        check_one_of(nan, "nan", ("raise", "ignore"))
        array = float_array(x, "x")
        if nan == "raise" and _core.ranges(array)[2].any():
            raise nan_error(array, "x")
        self._seen.update(array)
        return self

    def merge(self, other: Observer) -> Observer:
        """Return an observer that has seen what both have, with this one's settings."""
        if not isinstance(other, Observer):
            raise TypeError(f"other is {type(other).__name__}; it must be an Observer")
        merged = Observer(self.method, bits=self.bits, percentile=self.percentile)
        merged._seen.merge(self._seen)
        merged._seen.merge(other._seen)
        return merged

    def range(
        self, *, signed: bool = True, symmetric: bool = True, narrow_range: bool | None = None
    ) -> tuple[float, float]:
        """Return the least and the greatest value that codes are to cover."""
        width, symmetric, narrow = resolve(self.bits, signed, symmetric, narrow_range)
        low, high = code_range(width, signed, narrow)
        return self._seen.range(self.method, self.percentile, low, high, symmetric)

    def qparams(
        self, *, signed: bool = True, symmetric: bool = True, narrow_range: bool | None = None
    ) -> QParams:
        """Return parameters for the values seen; options as in `choose_qparams`."""
        width, symmetric, narrow = resolve(self.bits, signed, symmetric, narrow_range)
        ends = self.range(signed=signed, symmetric=symmetric, narrow_range=narrow)
        # In float32, as a range that is taken of a float32 array.
        low, high = (np.asarray(end, np.float32) for end in ends)
        return qparams_from_range(
            low, high, bits=width, signed=signed, symmetric=symmetric, narrow_range=narrow
        )

    def histogram(self) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
        """Return the bins that have values, the leading 22 bits of a float32, and their counts."""
        bins, counts, _, _ = self._seen.bins()
        return bins, counts

    @property
    def count(self) -> int:
        """Finite values seen."""
        return int(self._seen.bins()[1].sum())

    @property
    def min(self) -> float:
        """The least finite value seen; 0 if there is none."""
        return self._ends()[0]

    @property
    def max(self) -> float:
        """The greatest finite value seen; 0 if there is none."""
        return self._ends()[1]

    @property
    def infinite(self) -> int:
        """Infinite values seen."""
        return self._seen.bins()[3][1]

    def _ends(self) -> tuple[float, float]:
        low, high = self._seen.bins()[2]
        return (low, high) if low <= high else (0.0, 0.0)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_seen": self._seen.bins()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # Copies: buffers that came from another process may lie at any address.
        bins, counts, *ends = state["_seen"]
        self._seen = _core.Histogram.from_bins(np.array(bins), np.array(counts), *ends)

    def __repr__(self) -> str:
        low, high = self._ends()
        return f"Observer({self.method!r}, bits={self.bits}, {self.count} from {low:g} to {high:g})"
