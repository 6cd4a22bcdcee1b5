"""qcore beside itself: int4 beside int8, two threads beside one, each kernel beside its peak."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
from benches.peers.rows import Row
from benches.peers.timing import best_times

import qcore as qc
from qcore import _core

#: As many matrices as no cache holds: 16 MB each as int8.
COPIES = 8


#: Shapes whose share of the dot instruction's rate is judged, and what was asked of it.
PEAK_SHAPES: dict[tuple[int, int, int], dict[str, float]] = {
    (256, 256, 256): {"avx512_vnni": 0.93, "avx2": 0.80},
    (512, 512, 512): {"avx512_vnni": 0.93, "avx2": 0.88},
    (1024, 1024, 1024): {"avx512_vnni": 0.93, "avx2": 0.88},
    (128, 384, 1536): {"avx2": 0.88},
    (196, 512, 512): {"avx2": 0.80},
}

#: What was asked of groups of 64, by the type of their scales.
ASKED_OF_INT4 = {"float32": 1.65, "float16": 1.75}


def int4_rows(seconds: float) -> Iterator[Row]:
    """Yield the 4096 x 4096 product with one row, weights from memory, for each size of a group."""
    size = 4096
    rng = np.random.default_rng(0)
    w = rng.standard_normal((size, size), np.float32)
    x, out = rng.standard_normal((1, size), np.float32), np.empty((1, size), np.float32)
    q8 = qc.quantize(w, axis=0)
    for group in (32, 64, 128):
        q4 = qc.quantize(w, bits=4, group_size=group)
        floats = np.ascontiguousarray(q4.scale * np.float32(1.0001))
        scales = {"float32": floats, "float16": floats.astype(np.float16).astype(np.float32)}
        made: dict[str, Callable[[], Any]] = {
            "int8": partial(_core.PackedWeights.integer, q8.values, q8.scale)
        }
        for kind, values in scales.items():
            made[_scales(kind)] = partial(_core.PackedWeights.int4, q4.values, values, group)
        calls = {name: _rotating(make, x, out) for name, make in made.items()}
        calls["NumPy float32"] = partial(np.matmul, x, w.T, out=out)
        times = best_times(calls, 2 * seconds)
        for kind, least in ASKED_OF_INT4.items():
            ratio, case = times["int8"] / times[_scales(kind)], f"groups of {group}, {kind} scales"
            asked = least if group == 64 else None
            yield Row("int4 GEMV from memory", case, times, ratio, asked, 2.0 * size * size)


def _scales(kind: str) -> str:
    return f"int4, {kind} scales"


def _rotating(make: Callable[[], Any], x: Any, out: Any) -> Callable[[], Any]:
    copies = cycle([make() for _ in range(COPIES)])
    return lambda: next(copies).linear(x, None, "linear", out)


def thread_rows(seconds: float) -> Iterator[Row]:
    """Yield products on one thread and on two."""
    before = _core.num_threads()
    rng = np.random.default_rng(0)
    for size in (512, 1024, 2048):
        a, b = (rng.integers(-128, 128, (size, size), np.int8) for _ in range(2))
        packed, times = qc.pack(b), {}
        for count in (1, 2, 1, 2):
            _core.set_num_threads(count)
            name = f"{count} thread{'s' * (count > 1)}"
            time = best_times({name: partial(qc.matmul_integer, a, packed)}, seconds / 2)[name]
            times[name] = min(time, times.get(name, time))
        ratio = times["1 thread"] / times["2 threads"]
        yield Row("two threads", f"{size}³", times, ratio, 1.8, 2.0 * size**3)
    _core.set_num_threads(before)


def peak_rows(seconds: float) -> Iterator[Row]:
    """Yield what share of the peak of its dot instruction the kernel in force reaches."""
    rng = np.random.default_rng(0)
    for (m, k, n), asked in PEAK_SHAPES.items():
        a, b = rng.integers(-128, 128, (m, k), np.int8), rng.integers(-128, 128, (k, n), np.int8)
        packed, work, peak, best = qc.pack(b), 2.0 * m * k * n, 0.0, 1.0
        for _ in range(3):
            peak = max(peak, _core.peak_rate())
            times = best_times({"qcore": partial(qc.matmul_integer, a, packed)}, seconds / 3)
            best = min(best, times["qcore"])
        times = {"qcore": best, "peak": work / peak}
        least = asked.get(_core.active_isa())
        yield Row("share of the peak", f"{m} x {k} x {n}", times, work / best / peak, least, work)


#: Calls and the µs that each may add to its kernel.
SMALL_CALLS = {
    "matmul_integer 8 x 8 x 8": 0.6, "linear 1 x 64 x 64, out=": 0.6, "linear 1 x 64 x 64": 1.2,
    "quantize 256, scale=, out=": 1.2, "quantize 256": 1.2,
}  # fmt: skip


def small_rows(seconds: float) -> Iterator[Row]:
    """Yield small calls beside their kernels, timed in Rust, in turns."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-128, 128, (8, 8), np.int8) for _ in range(2))
    x, out = rng.standard_normal((1, 64), np.float32), np.empty((1, 64), np.float32)
    q = qc.quantize(rng.standard_normal((64, 64), np.float32), axis=0)
    weights = _core.PackedWeights.integer(q.values, q.scale)
    v, codes = rng.standard_normal(256, np.float32), np.empty(256, np.int8)
    calls: tuple[Callable[[], Any], ...] = (
        partial(qc.matmul_integer, a, b), partial(qc.linear, x, q, out=out),
        partial(qc.linear, x, q), partial(qc.quantize, v, scale=0.03, out=codes),
        partial(qc.quantize, v),
    )  # fmt: skip
    alone = (
        partial(_core.matmul_alone, a, b, 20), partial(weights.alone, x, 20),
        partial(weights.alone, x, 20), partial(_core.quantize_alone, v, 0.03, 20),
        partial(_core.quantize_alone, v, 0.03, 20),
    )  # fmt: skip
    for (case, allowed), call, kernel in zip(SMALL_CALLS.items(), calls, alone, strict=True):
        times = {"call": float("inf"), "kernel": float("inf")}
        for _ in range(10):
            many = best_times({"call": partial(_often, call)}, seconds / 10)["call"]
            times["call"] = min(times["call"], many / _CALLS)
            times["kernel"] = min(times["kernel"], kernel())
        added = max(times["call"] - times["kernel"], 1e-9)
        yield Row("small calls", case, times | {"added": added}, allowed * 1e-6 / added, 1.0)


#: Calls between two looks at the clock.
_CALLS = 200


def _often(call: Callable[[], Any]) -> None:
    for _ in range(_CALLS):
        call()
