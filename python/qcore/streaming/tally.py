"""What is learned of a tensor tile by tile: sums that do not depend on the order of the tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.sums import dot
from qcore.arrays.tensor.tensor import QTensor
from qcore.files.qcore_format.parts import stored_codes

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """Counts and sums over the elements of a tensor, or of some of its tiles.

    Attributes
    ----------
    stored : int
        Elements that a sparse layout would store: those that are not 0.
    clipped : int
        Elements that saturated.
    zero_points : bool
        Whether any zero point is not 0.
    signal, noise, product, decoded, max_abs : float
        Of the values x and what they decode to: sums of x², of (x - x̂)², of x·x̂ and of x̂², and the
        greatest |x - x̂|; where errors were asked for.
    """

    stored: int = 0
    clipped: int = 0
    zero_points: bool = False
    signal: float = 0.0
    noise: float = 0.0
    product: float = 0.0
    decoded: float = 0.0
    max_abs: float = 0.0

    def add(self, other: Tally) -> None:
        """Take in another tile's."""
        self.stored += other.stored
        self.clipped += other.clipped
        self.zero_points |= other.zero_points
        self.signal += other.signal
        self.noise += other.noise
        self.product += other.product
        self.decoded += other.decoded
        self.max_abs = max(self.max_abs, other.max_abs)

    @classmethod
    def of_codes(cls, x: NDArray[Any], q: QTensor, *, errors: bool) -> Tally:
        """Return that of one tile: its values and what they became."""
        zero_points = bool(q.zero_point.any())
        plain = q.scheme == "affine" and not zero_points
        stored = q.values if plain else stored_codes(q)
        tally = cls(
            stored=q.size if stored is None else int(np.count_nonzero(stored)),
            clipped=q.clipped,
            zero_points=zero_points,
        )
        if errors and x.size:
            exact = x.astype(np.float64).reshape(-1)
            real = q.dequantize(dtype=np.float64).reshape(-1)
            tally.signal, tally.decoded = dot(exact, exact), dot(real, real)
            tally.product = dot(exact, real)
            exact -= real
            tally.noise, tally.max_abs = dot(exact, exact), float(np.abs(exact).max())
        return tally

    @classmethod
    def of_bytes(cls, data: NDArray[np.uint8], itemsize: int) -> Tally:
        """Return that of floats that are copied as they are; a minus zero is a value to keep."""
        return cls(stored=int(np.count_nonzero(data.view(f"u{itemsize}"))))

    def errors(self) -> dict[str, float]:
        """Return the columns of a report: SQNR, cosine and greatest error."""
        if self.noise == 0:
            sqnr = math.inf
        elif self.signal == 0:
            sqnr = -math.inf
        else:
            sqnr = 10 * math.log10(self.signal / self.noise)
        norm = math.sqrt(self.signal * self.decoded)
        cosine = self.product / norm if norm else float(self.signal == self.decoded)
        return {"SQNR dB": sqnr, "cosine": cosine, "max error": self.max_abs}
