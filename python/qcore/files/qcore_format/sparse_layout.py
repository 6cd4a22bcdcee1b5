"""Where the values of a sparse tensor lie: a bitmap, or gaps of 4 or 8 bits.

A tensor of n elements in row-major order, of which some are stored:

``bitmap``
    One bit an element, the lowest bit of a byte first, set where a value is stored. Bits past the
    last element are 0.
``gap4``, ``gap8``
    How many elements lie between one stored value and the next, from before the first element to
    past the last one, so that the gaps and the values add up to n. A gap is a run of entries: each
    entry of all ones (15, 255) adds that many elements and continues, any other ends the gap.
    Entries of 4 bits lie two to a byte, the low half first; an odd one is followed by 15.

At 10 % stored values a position takes 8 bits in gaps of 8, 5 in gaps of 4, 10 in a bitmap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LAYOUTS",
    "decode_positions",
    "encode_gaps",
    "encode_positions",
    "smallest_layout",
]

LAYOUTS = ("bitmap", "gap4", "gap8")
_ENTRY_BITS = {"gap4": 4, "gap8": 8}


def encode_positions(stored: NDArray[np.bool_]) -> tuple[str, NDArray[np.uint8]]:
    """Encode which elements of a flat tensor are stored, in the smallest layout.

    Parameters
    ----------
    stored : ndarray of bool, shape (n,)
        True where a value is stored.

    Returns
    -------
    layout : str
        One of `LAYOUTS`.
    data : ndarray of uint8

    Examples
    --------
    >>> import numpy as np
    >>> encode_positions(np.array([0, 0, 1, 0, 1, 0, 0, 0, 0] * 2, bool))
    ('bitmap', array([20, 40,  0], dtype=uint8))
    >>> encode_positions(np.arange(40) % 20 == 19)  # gaps of 19, 19 and 0: 15+4, 15+4, 0
    ('gap4', array([ 79,  79, 240], dtype=uint8))
    """
    positions = np.flatnonzero(stored)
    best, _ = smallest_layout(positions, stored.size)
    if best == "bitmap":
        return best, np.packbits(stored, bitorder="little")
    return best, encode_gaps(best, positions, stored.size)


def smallest_layout(positions: NDArray[np.int64], size: int) -> tuple[str, int]:
    """Return the smallest layout of ascending positions below `size`, and its bytes.

    Examples
    --------
    >>> import numpy as np
    >>> smallest_layout(np.array([19, 39]), 40)
    ('gap4', 3)
    """
    gaps = np.diff(positions, prepend=-1, append=size) - 1
    sizes = {"bitmap": -(-size // 8)}
    for layout, bits in _ENTRY_BITS.items():
        entries = gaps.size + int((gaps // (2**bits - 1)).sum())
        sizes[layout] = -(-entries * bits // 8)
    best = min(LAYOUTS, key=sizes.__getitem__)
    return best, sizes[best]


def encode_gaps(layout: str, positions: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """Encode ascending positions below `size` as gaps of 4 or 8 bits."""
    gaps = np.diff(positions, prepend=-1, append=size) - 1
    return _encode_gaps(gaps, _ENTRY_BITS[layout])


def decode_positions(layout: str, data: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    """Decode which elements of a flat tensor are stored.

    Parameters
    ----------
    layout : str
        One of `LAYOUTS`.
    data : ndarray of uint8
        What `encode_positions` made.
    size : int
        The elements of the tensor.

    Returns
    -------
    ndarray of int64
        Ascending positions below `size`.

    Raises
    ------
    ValueError
        If the data do not describe `size` elements. What is allocated before this is
        known is bounded by the length of `data`.

    Examples
    --------
    >>> import numpy as np
    >>> decode_positions("gap4", np.array([79, 79, 240], np.uint8), 40)
    array([19, 39])
    """
    if data.dtype != np.uint8 or data.ndim != 1:
        raise ValueError(f"its positions are {data.ndim}-D {data.dtype}; they must be 1-D uint8")
    if layout == "bitmap":
        return _decode_bitmap(data, size)
    if layout in _ENTRY_BITS:
        return _decode_gaps(data, size, _ENTRY_BITS[layout])
    raise ValueError(f"its positions are laid out as {layout!r}; known are {', '.join(LAYOUTS)}")


def _encode_gaps(gaps: NDArray[np.int64], bits: int) -> NDArray[np.uint8]:
    more = 2**bits - 1
    ends = np.cumsum(gaps // more + 1) - 1
    entries = np.full(ends[-1] + 1, more, np.uint8)
    entries[ends] = gaps % more
    if bits == 8:
        return entries
    padded = np.append(entries, np.uint8(more)) if entries.size % 2 else entries
    packed: NDArray[np.uint8] = padded[0::2] | padded[1::2] << 4
    return packed


def _decode_bitmap(data: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    if data.size != -(-size // 8):
        raise ValueError(f"its bitmap has {data.size} bytes for {size} elements")
    positions = np.flatnonzero(np.unpackbits(data, bitorder="little"))
    if positions.size and positions[-1] >= size:
        raise ValueError(f"its bitmap marks element {positions[-1]} of {size}")
    return positions


def _decode_gaps(data: NDArray[np.uint8], size: int, bits: int) -> NDArray[np.int64]:
    more = 2**bits - 1
    entries = data if bits == 8 else np.stack([data & more, data >> 4], axis=-1).reshape(-1)
    ends = np.flatnonzero(entries != more)
    behind = entries.size - (ends[-1] + 1 if ends.size else 0)
    if not ends.size or behind > (bits == 4):
        raise ValueError("its gaps end inside a gap")
    positions = np.cumsum(entries, dtype=np.int64)[ends] + np.arange(ends.size)
    if positions[-1] != size:
        raise ValueError(f"its gaps cover {positions[-1]} of {size} elements")
    return positions[:-1]
