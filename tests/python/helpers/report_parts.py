"""What the tests of report share."""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(0)


WEIGHTS = {
    f"layers.{i}.weight": (RNG.standard_t(4, (24, 40)) * 2.0**-i).astype(np.float32)
    for i in range(5)
} | {"layers.0.bias": np.ones(24, np.float32)}


def samples() -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(1).standard_normal((400, 10)).astype(np.float32)
    return X, (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
