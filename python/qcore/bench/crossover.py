"""From which size on int8 is faster than float32."""

from __future__ import annotations

from time import perf_counter

import numpy as np

import qcore as qc

__all__ = ["WIDTHS", "crossover"]

WIDTHS = (16, 32, 64, 128, 256, 512)


def crossover(batch: int) -> int | None:
    """Return the least width from which on `linear` on int8 beats NumPy's float32, measured now.

    Layers are square, activations dynamic; a few milliseconds for each width.
    """
    rng = np.random.default_rng(0)
    least = None
    for width in reversed(WIDTHS):
        w = rng.standard_normal((width, width), np.float32)
        x = rng.standard_normal((batch, width), np.float32)
        q = qc.quantize(w, axis=0)
        times = {"int8": float("inf"), "float": float("inf")}
        for _ in range(30):
            start = perf_counter()
            qc.linear(x, q)
            middle = perf_counter()
            np.matmul(x, w.T)
            end = perf_counter()
            times["int8"] = min(times["int8"], middle - start)
            times["float"] = min(times["float"], end - middle)
        if times["int8"] > times["float"]:
            break
        least = width
    return least
