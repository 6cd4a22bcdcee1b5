"""Arrays of other libraries as NumPy's, without importing any of them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_array"]


def as_array(x: Any, name: str = "the array") -> NDArray[Any]:
    """Return anything that is an array as NumPy's: no copy where there need be none.

    Objects with ``__array__``, those with only ``__dlpack__`` (both of a CPU), and PyTorch's
    tensors, also those that require gradients; bfloat16, which NumPy lacks, becomes float32.

    Raises
    ------
    ValueError
        If it is nested lists that are no array; the text has `name`.

    Examples
    --------
    >>> as_array([1.0, 2.0])
    array([1., 2.])
    """
    if type(x) is np.ndarray:
        return x
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        tensor = x.detach()
        if tensor.dtype == torch.bfloat16:
            tensor = tensor.float()
        return np.asarray(tensor.cpu().resolve_conj().resolve_neg())
    if not hasattr(x, "__array__") and hasattr(x, "__dlpack__"):
        found: NDArray[Any] = np.from_dlpack(x)
        return found
    try:
        return np.asarray(x)
    except ValueError as error:
        if not isinstance(x, (list, tuple)):
            raise
        raise ValueError(f"{name} is lists of several lengths; it must be an array") from error
