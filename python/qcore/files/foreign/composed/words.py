"""Codes that are packed into words of 32 bits, and nibbles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.files.foreign.packed_words import WORD, unpack

__all__ = ["unpack_nibbles", "unpack_words"]


def unpack_words(words: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Return the codes of rows of words, as many as there are: little-endian bit streams.

    Parameters
    ----------
    words : ndarray of int32, (rows, words)
    bits : int
        Of a code, 1 to 8.

    Returns
    -------
    ndarray of uint8, (rows, words · 32 / bits)
    """
    if words.ndim != 2 or words.dtype.kind not in "iu" or words.dtype.itemsize != 4:
        raise ValueError(f"packed codes are {words.dtype} of shape {words.shape}")
    if not 1 <= bits <= 8 or words.shape[1] * WORD % bits:
        raise ValueError(f"rows of {words.shape[1]} words are no codes of {bits} bits")
    return unpack(words, words.shape[1] * WORD // bits, bits)


def unpack_nibbles(packed: NDArray[np.uint8], *, high_first: bool = False) -> NDArray[np.uint8]:
    """Return the halves of bytes along the last axis, the low one first unless told."""
    halves = (packed & 15, packed >> 4)
    pairs = np.stack(halves[::-1] if high_first else halves, axis=-1)
    return pairs.reshape(*packed.shape[:-1], -1)
