"""What a scheme of codes is, and the table of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from qcore.arrays.tensor.options import Options

if TYPE_CHECKING:
    from qcore.arrays.tensor.tensor import QTensor

__all__ = ["SCHEMES", "Scheme", "choices", "scheme_names"]


@dataclass(frozen=True)
class Scheme:
    """How values become codes, and codes values, and what the rest of the house asks about them.

    Attributes
    ----------
    name : str
        What ``scheme=`` and files call it.
    quantize : callable
        Makes the tensor from an array that is C-contiguous, aligned, native float.
    decode : callable
        Writes the values of a tensor into such an array.
    is_codebook : bool
        Whether codes are indices of levels, uint8.
    known_levels : callable, optional
        From a number of bits to levels that everyone knows, which need not be stored.
    has_scale : bool
        Whether a scale multiplies what codes stand for, group by group.
    group_size : int, optional
        How many elements of a row share a scale, where the format says so.
    scale_format : str, optional
        What scales are stored as, where that is a float of 8 bits: see
        `qcore.arrays.params.scale_codes`.
    is_choice : bool
        Whether ``scheme=`` takes it; others come of ``rounding="floor"`` and ``bits=1``.
    """

    name: str
    quantize: Callable[[NDArray[Any], Options], QTensor]
    decode: Callable[[QTensor, NDArray[Any]], None]
    is_codebook: bool = False
    known_levels: Callable[[int], NDArray[Any]] | None = None
    has_scale: bool = True
    is_choice: bool = True
    group_size: int | None = None
    scale_format: str | None = None

    @property
    def is_fitted(self) -> bool:
        """Whether its levels are fitted to the values."""
        return self.is_codebook and self.known_levels is None


#: Every scheme by its name; `qcore.arrays.schemes.table` fills it.
SCHEMES: dict[str, Scheme] = {}


def scheme_names() -> tuple[str, ...]:
    """Return the names of all schemes, those that are no choice among them."""
    return tuple(SCHEMES)


def choices() -> tuple[str, ...]:
    """Return what ``scheme=`` may be."""
    return tuple(name for name, scheme in SCHEMES.items() if scheme.is_choice)
