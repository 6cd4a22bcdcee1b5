"""The cases: each operation of qcore, and what NumPy's float32 does in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

import qcore as qc

__all__ = ["Case", "cases"]


@dataclass(frozen=True)
class Case:
    """One operation at one size.

    Attributes
    ----------
    name, size : str
    call, plain : callable
        qcore's, and float32 NumPy's.
    operations : float
        Multiplications and additions of a call; 0 where moving bytes is the work.
    nbytes : float
        Bytes that are read and written at least once.
    """

    name: str
    size: str
    call: Callable[[], object]
    plain: Callable[[], object]
    operations: float
    nbytes: float


def cases() -> Iterator[Case]:
    """Yield the cases one by one; each makes its own data."""
    for m, k, n in ((64, 64, 64), (256, 256, 256), (1024, 1024, 1024), (1, 4096, 4096)):
        yield _product(m, k, n)
    for m, k, n in ((1, 784, 300), (64, 784, 300)):
        yield _linear("linear, int8", m, k, n, {"axis": 0})
    yield _linear("linear, int4 groups of 64", 1, 1024, 1024, {"bits": 4, "group_size": 64})
    yield _linear("linear, codebook of 16", 1, 1024, 1024, {"scheme": "kmeans", "levels": 16})
    for size in (1 << 12, 1 << 18, 1 << 24):
        yield from _elementwise(size)


def _product(m: int, k: int, n: int) -> Case:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-128, 128, (m, k), np.int8), rng.integers(-128, 128, (k, n), np.int8)
    return Case(
        "matmul_integer, packed", f"{m} x {k} x {n}",
        partial(qc.matmul_integer, a, qc.pack(b)),
        partial(np.matmul, a.astype(np.float32), b.astype(np.float32)),
        2.0 * m * k * n, m * k + k * n + 4.0 * m * n,
    )  # fmt: skip


def _linear(name: str, m: int, k: int, n: int, options: dict[str, object]) -> Case:
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((n, k), np.float32), rng.standard_normal((m, k), np.float32)
    q = qc.quantize(w, **options)  # type: ignore[arg-type]
    return Case(
        name, f"{m} x {k} x {n}", partial(qc.linear, x, q), partial(np.matmul, x, w.T),
        2.0 * m * k * n, 4.0 * m * (k + n) + q.nbytes,
    )  # fmt: skip


def _elementwise(size: int) -> Iterator[Case]:
    x = np.random.default_rng(0).standard_normal(size, np.float32)
    codes, real, scale = np.empty(size, np.int8), np.empty(size, np.float32), np.float32(0.03)
    q = qc.quantize(x, scale=scale)

    def numpy_quantize() -> object:
        return np.clip(np.rint(x / scale), -128, 127, casting="unsafe", out=codes)

    def quantize() -> object:
        return qc.quantize(x, scale=scale, out=codes)

    def dequantize() -> object:
        return qc.dequantize(q, out=real)

    def numpy_dequantize() -> object:
        return np.multiply(q.values, scale, out=real)

    yield Case("quantize", f"{size:,}", quantize, numpy_quantize, 0.0, 5.0 * size)
    yield Case("dequantize", f"{size:,}", dequantize, numpy_dequantize, 0.0, 5.0 * size)
