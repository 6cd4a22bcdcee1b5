"""What the tests of sparse share."""

from __future__ import annotations

from typing import Any

import numpy as np

DTYPES = (np.float32, np.float64, np.int8, np.uint8)


def random_dense(rng: Any, shape: tuple[int, ...], dtype: Any, density: float = 1.0) -> Any:
    if np.dtype(dtype).kind == "f":
        dense = rng.normal(0, 1, shape).astype(dtype)
    else:
        info = np.iinfo(dtype)
        dense = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    dense[rng.random(shape) >= density] = 0
    return dense
