"""The ten nearest of many embeddings: int8 and binary rows beside NumPy's float32 and faiss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from benches.peers.timing import best_times

import qcore as qc

__all__ = ["nearest"]

ROWS, WIDTH, QUERIES, TOP, AGAIN = 100_000, 384, 8, 10, 4


def _embeddings(count: int, seed: int) -> np.ndarray:
    """Return rows of length 1 that lie in clusters, as those of texts do."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((500, WIDTH))
    rows = centres[rng.integers(0, 500, count)] + 0.7 * rng.standard_normal((count, WIDTH))
    found: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found.astype(np.float32)


def nearest(folder: Path, seconds: float, threads: int) -> Iterator[str]:
    """Yield a line for each way of storing the rows."""
    rows, queries = _embeddings(ROWS, 1), _embeddings(QUERIES, 2)
    exact = np.argsort(-(queries @ rows.T), axis=1)[:, :TOP]
    calls: dict[str, Callable[[], np.ndarray]] = {}
    nbytes = {}

    def plain() -> np.ndarray:
        scores = queries @ rows.T
        return _best(scores, rows, queries)

    calls["NumPy float32"], nbytes["NumPy float32"] = plain, rows.nbytes
    codes = qc.quantize(rows, axis=0)  # a scale for each row
    packed = qc.pack(np.ascontiguousarray(codes.values.T))
    scale = codes.scale.reshape(1, -1)

    def integers() -> np.ndarray:
        asked = qc.quantize(queries, axis=0)
        scores = qc.matmul_integer(asked.values, packed) * scale
        return _best(scores, rows, queries, rescored=AGAIN * TOP)

    calls["qcore int8, rescored"], nbytes["qcore int8, rescored"] = integers, codes.nbytes
    signs = np.packbits(rows > 0, axis=1).view(np.uint64)

    def binary() -> np.ndarray:
        asked = np.packbits(queries > 0, axis=1).view(np.uint64)
        apart = np.stack(
            [np.bitwise_count(signs ^ one).sum(axis=1, dtype=np.int32) for one in asked]
        )
        return _best(-apart, rows, queries, rescored=20 * TOP)

    if hasattr(np, "bitwise_count"):
        calls["binary in NumPy, rescored"] = binary
        nbytes["binary in NumPy, rescored"] = signs.nbytes
    if find_spec("faiss") is not None:
        import faiss

        faiss.omp_set_num_threads(threads)
        index = faiss.IndexFlatIP(WIDTH)
        index.add(rows)
        calls["faiss flat"], nbytes["faiss flat"] = (
            lambda: index.search(queries, TOP)[1],
            rows.nbytes,
        )
        coarse = faiss.IndexScalarQuantizer(
            WIDTH, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        coarse.train(rows[:20_000])
        coarse.add(rows)
        calls["faiss 8 bits"] = lambda: coarse.search(queries, TOP)[1]
        nbytes["faiss 8 bits"] = rows.nbytes // 4
    times = best_times(calls, seconds, warm=True)
    yield f"| {QUERIES} queries, {ROWS:,} × {WIDTH} | ms | bytes of rows | found of {TOP} | NumPy |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, call in calls.items():
        hits = np.mean([len(set(a) & set(b)) / TOP for a, b in zip(call(), exact, strict=True)])
        faster = times["NumPy float32"] / times[name]
        took = f"{1e3 * times[name]:.2f}"
        yield f"| {name} | {took} | {nbytes[name]:,} | {hits:.1%} | {faster:.2f}× |"


def _best(
    scores: np.ndarray, rows: np.ndarray, queries: np.ndarray, rescored: int = TOP
) -> np.ndarray:
    """Return the rows of the highest scores, the best first, some scored anew in floats."""
    some = np.argpartition(-scores, rescored, axis=1)[:, :rescored]
    exact = np.einsum("qd,qkd->qk", queries, rows[some])
    order = np.argsort(-exact, axis=1)[:, :TOP]
    return np.take_along_axis(some, order, axis=1)
