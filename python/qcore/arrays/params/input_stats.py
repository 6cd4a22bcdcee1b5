"""What a layer's inputs look like: second moments, means and extremes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.validation import check_finite, check_instance, float_array
from qcore._runtime.interrupt import stoppable

__all__ = ["InputStats"]

#: Rows whose moments are added at once, whatever the size of a batch.
BLOCK = 1024


class InputStats:
    """Statistics of a layer's input: they stream, and merge.

    Sums are float64 and added in the order of the rows; memory is that of one matrix of the number
    of features squared.

    Attributes
    ----------
    count : int
        Rows seen.
    gram : ndarray of float64, (features, features)
        XᵀX.
    cross : ndarray of float64 or None
        XᵀE, where `update` was given what the rows should have been, E.
    total : ndarray of float64, (features,)
        Sum of the rows.
    absmax : ndarray of float64, (features,)
        Greatest magnitudes.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> stats = qc.InputStats().update(np.array([[1.0, 2.0], [3.0, -4.0]], np.float32))
    >>> stats.mean, stats.absmax
    (array([ 2., -1.]), array([3., 4.]))
    >>> stats.gram
    array([[ 10., -10.],
           [-10.,  20.]])
    """

    def __init__(self) -> None:
        self.count = 0
        self._gram: NDArray[np.float64] | None = None
        self.cross: NDArray[np.float64] | None = None
        self._total: NDArray[np.float64] | None = None
        self._exact_total: NDArray[np.float64] | None = None
        self._absmax: NDArray[np.float64] | None = None

    def update(self, x: ArrayLike, exact: ArrayLike | None = None) -> InputStats:
        """Take in rows.

        Parameters
        ----------
        x : array_like of float, (n, features)
            Rows of input, finite.
        exact : array_like of float, (n, features), optional
            What the rows would be if the layers before were not quantized; then codes can make up
            for the errors of those layers. For all updates, or for none.

        Returns
        -------
        InputStats
            Itself.

        Raises
        ------
        TypeError, ValueError
            If an array is not a matrix of finite floats, or shapes do not fit.
        """
        rows = self._checked(x, "x")
        wanted = None if exact is None else self._checked(exact, "exact")
        if wanted is not None and wanted.shape != rows.shape:
            raise ValueError(f"exact has shape {wanted.shape}; it must be {rows.shape}")
        if self.count and (wanted is None) != (self.cross is None):
            raise ValueError("exact must be given in every update, or in none")
        if self._gram is None:
            self._begin(rows.shape[1], wanted is not None)
        elif rows.shape[1] != len(self._gram):
            raise ValueError(f"x has {rows.shape[1]} features; before it were {len(self._gram)}")
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK].astype(np.float64)
            self.gram.__iadd__(stoppable(np.matmul, part.T, part))
            self.total.__iadd__(part.sum(axis=0))
            np.maximum(self.absmax, np.abs(part).max(axis=0), out=self.absmax)
            if wanted is not None:
                ideal = wanted[start : start + BLOCK].astype(np.float64)
                assert self.cross is not None
                assert self._exact_total is not None
                self.cross += stoppable(np.matmul, part.T, ideal)
                self._exact_total += ideal.sum(axis=0)
        self.count += len(rows)
        return self

    def merge(self, other: InputStats) -> InputStats:
        """Return the statistics of both."""
        check_instance(other, InputStats, "other")
        merged = InputStats()
        parts = [part for part in (self, other) if part.count]
        if not parts:
            return merged
        if len({(len(part.gram), part.cross is None) for part in parts}) > 1:
            raise ValueError("other has other features, or only one of the two has exact rows")
        merged._begin(len(parts[0].gram), parts[0].cross is not None)
        for part in parts:
            merged.count += part.count
            merged.gram.__iadd__(part.gram)
            merged.total.__iadd__(part.total)
            np.maximum(merged.absmax, part.absmax, out=merged.absmax)
            if merged.cross is not None and merged._exact_total is not None:
                merged.cross += _there(part.cross)
                merged._exact_total += _there(part._exact_total)
        return merged

    @property
    def gram(self) -> NDArray[np.float64]:
        """XᵀX."""
        return _there(self._gram)

    @property
    def total(self) -> NDArray[np.float64]:
        """Sum of the rows."""
        return _there(self._total)

    @property
    def absmax(self) -> NDArray[np.float64]:
        """Greatest magnitudes."""
        return _there(self._absmax)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Means of the features."""
        return self.total / self.count

    @property
    def exact_mean(self) -> NDArray[np.float64]:
        """Means of the exact rows, where they were given, else of the rows."""
        return self.mean if self._exact_total is None else self._exact_total / self.count

    def moments(self, centred: bool) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Return the second moment E[x xᵀ], and E[x eᵀ] where there are exact rows e.

        `centred`: around the means.
        """
        if centred:
            return self.covariance, self.cross_covariance
        return self.gram / self.count, None if self.cross is None else self.cross / self.count

    @property
    def covariance(self) -> NDArray[np.float64]:
        """XᵀX / n less the means' product: what there is for a layer whose bias is corrected."""
        return self.gram / self.count - np.outer(self.mean, self.mean)

    @property
    def cross_covariance(self) -> NDArray[np.float64] | None:
        """XᵀE / n less the means' product, where exact rows were given."""
        if self.cross is None or self._exact_total is None:
            return None
        return self.cross / self.count - np.outer(self.mean, self._exact_total / self.count)

    def _begin(self, features: int, with_cross: bool) -> None:
        self._gram = np.zeros((features, features))
        self._total = np.zeros(features)
        self._absmax = np.zeros(features)
        if with_cross:
            self.cross = np.zeros((features, features))
            self._exact_total = np.zeros(features)

    @staticmethod
    def _checked(x: ArrayLike, name: str) -> NDArray[np.floating]:
        rows = float_array(x, name)
        if rows.ndim != 2 or not rows.size:
            raise ValueError(f"{name} has shape {rows.shape}; it must be (n, features), not empty")
        check_finite(rows, name)
        return rows

    def __repr__(self) -> str:
        features = 0 if self._gram is None else len(self._gram)
        return f"InputStats({self.count} rows of {features} features)"


def _there(part: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if part is None:
        raise ValueError("the statistics are empty: update them with rows first")
    return part
