"""Sparse products beside those of SciPy, MKL and torch, and beside our own dense ones.

    pip install 'qcore-cpu[bench]'
    python -m benches.peers.sparse                  every table, one thread
    python -m benches.peers.sparse --tables network

All contenders of a row take turns in one process (see `timing`). With one thread the time is the
thread's own CPU time, of which other programs take nothing.
Only the ratios mean something on another machine. A peer that is not installed is left out of the
table, and said to be.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from benches.peers.timing import best_times

import qcore as qc
from qcore import _core

SIZE = 4096
Contenders = dict[str, Callable[[], Any]]


def best(
    contenders: Contenders, seconds: float, clock: Callable[[], float] = time.thread_time
) -> dict[str, float]:
    """Return the best time of each in µs."""
    return {
        name: 1e6 * value
        for name, value in best_times(contenders, seconds, clock, warm=True).items()
    }


def show(
    title: str, rows: Iterator[tuple[str, dict[str, float], dict[str, tuple[str, str, float]]]]
) -> None:
    """Print rows of times and of ratios, each with what is asked of it."""
    print(f"\n{title}")
    for label, times, ratios in rows:
        line = "  ".join(f"{name} {value:,.0f}" for name, value in times.items())
        print(f"  {label:<22} {line}")
        for name, (slow, fast, asked) in ratios.items():
            if slow in times and fast in times:
                ratio = times[slow] / times[fast]
                verdict = "met" if ratio >= asked else "SHORT"
                print(f"  {'':<22}   {name}: {ratio:.2f}x, asked {asked}x: {verdict}", flush=True)


def random_sparse(rng: Any, density: float, rows: int = SIZE, cols: int = SIZE) -> Any:
    w = rng.normal(0, 1, (rows, cols)).astype(np.float32)
    w[rng.random((rows, cols)) >= density] = 0
    return w


def codes_of(w: Any) -> Any:
    """int8 codes that are zero where `w` is."""
    return (np.sign(w) * np.clip(np.rint(np.abs(w) * 40), 1, 127)).astype(np.int8)


def peers(w: Any, x: Any) -> Contenders:
    """The same product by others."""
    matrix = scipy.sparse.csr_matrix(w)
    found: Contenders = {"SciPy": lambda: matrix @ x}
    try:
        from sparse_dot_mkl import dot_product_mkl
    except ImportError:
        print("  (sparse_dot_mkl is not installed)")
    else:
        found["MKL"] = lambda: dot_product_mkl(matrix, x)
    try:
        import torch
    except ImportError:
        print("  (torch is not installed)")
    else:
        torch.set_num_threads(1)
        parts = [torch.from_numpy(part.astype(kind)) for part, kind in (
            (matrix.indptr, np.int32), (matrix.indices, np.int32), (matrix.data, np.float32)
        )]  # fmt: skip
        a, b = torch.sparse_csr_tensor(*parts, size=w.shape), torch.from_numpy(x)
        found["torch"] = lambda: a @ b
    return found


def float_rows(seconds: float) -> Iterator[Any]:
    rng = np.random.default_rng(0)
    for density in (0.2, 0.1, 0.05):
        w = random_sparse(rng, density)
        s = qc.CsrMatrix.from_dense(w)
        for n in (1, 8, 64):
            x = rng.normal(0, 1, (SIZE, n)).astype(np.float32)
            times = best({"qcore": lambda: s @ x} | peers(w, x), seconds)  # noqa: B023
            asked = {64: 3.1 if density == 0.2 else 2.6, 8: 2.0, 1: 1.6}[n]
            ratios = {"MKL": ("MKL", "qcore", asked)}
            if n == 1:
                ratios["SciPy"] = ("SciPy", "qcore", 2.2)
            yield f"{100 - 100 * density:.0f} %, N = {n}", times, ratios


def integer_rows(seconds: float) -> Iterator[Any]:
    rng = np.random.default_rng(1)
    for density in (0.2, 0.1, 0.05):
        w = random_sparse(rng, density)
        q = codes_of(w)
        s = qc.CsrMatrix.from_dense(q)
        packed = qc.pack(np.ascontiguousarray(q.T))
        x = rng.integers(0, 256, (SIZE, 64), np.uint8)
        xt = np.ascontiguousarray(x.T)
        floats = x.astype(np.float32)
        contenders: Contenders = {
            "qcore": lambda: s @ x,  # noqa: B023
            "qcore dense": lambda: qc.matmul_integer(xt, packed),  # noqa: B023
        }
        contenders |= {k: v for k, v in peers(w, floats).items() if k == "MKL"}
        assert np.array_equal(s @ x, qc.matmul_integer(xt, packed).T)
        asked = {
            "MKL's float32": ("MKL", "qcore", 12.0),
            "own dense int8": ("qcore dense", "qcore", 4.0),
        }
        times = best(contenders, seconds)
        yield f"{100 - 100 * density:.0f} %, N = 64", times, asked if density == 0.1 else {}


def thread_rows(seconds: float) -> Iterator[Any]:
    rng = np.random.default_rng(3)
    even = random_sparse(rng, 0.1)
    few = np.zeros_like(even)
    few[:: SIZE // 400] = random_sparse(rng, 1.0, len(few[:: SIZE // 400]))
    x = rng.normal(0, 1, (SIZE, 64)).astype(np.float32)
    codes = rng.integers(0, 256, (SIZE, 64), np.uint8)
    for label, w in (("even", even), ("in a tenth of the rows", few)):
        for kind, s, right in (
            ("float32", qc.CsrMatrix.from_dense(w), x),
            ("int8", qc.CsrMatrix.from_dense(codes_of(w)), codes),
        ):

            def run(threads: int, s: Any = s, right: Any = right) -> None:
                _core.set_num_threads(threads)
                s @ right

            contenders = {"one": lambda: run(1), "two": lambda: run(2)}
            times = best(contenders, seconds, time.perf_counter)
            yield f"{label}, {kind}", times, {"one thread": ("one", "two", 1.8)}
    _core.set_num_threads(1)


def network_rows(seconds: float) -> Iterator[Any]:
    """LeNet-300-100, the same weights run sparse and dense."""
    rng = np.random.default_rng(4)
    widths = (784, 300, 100, 10)
    for density in (0.1, 0.05):
        weights = [
            random_sparse(rng, density, o, i) / np.float32(np.sqrt(i * density))
            for i, o in pairwise(widths)
        ]
        biases = [rng.normal(0, 0.1, o).astype(np.float32) for o in widths[1:]]
        net = qc.nn.Sequential.from_arrays(
            weights, biases, layout="out_in", activation="relu", output="softmax"
        )
        samples = np.maximum(rng.normal(-0.8, 1, (1024, 784)), 0).astype(np.float32)
        sparse = qc.Quantizer(bits=8).fit_transform(net, samples)
        with dense_kernels():
            dense = qc.Quantizer(bits=8).fit_transform(net, samples)
            dense.executable()
        assert set(dense.kernels) == {"dense int8"}
        assert np.array_equal(sparse.predict_logits(samples), dense.predict_logits(samples))
        for batch in (1, 64, 1024):
            x = samples[:batch]
            contenders = {
                "sparse": lambda: sparse.predict_logits(x),  # noqa: B023
                "dense": lambda: dense.predict_logits(x),  # noqa: B023
                "BLAS float32": lambda: net_float(weights, biases, x),  # noqa: B023
            }
            asked = {} if batch == 1 else {"own dense int8": ("dense", "sparse", 1.5)}
            yield f"{100 - 100 * density:.0f} %, batch {batch}", best(contenders, seconds), asked
        yield f"  kernels {sparse.kernels} against {dense.kernels}", {}, {}


def structured_rows(seconds: float) -> Iterator[Any]:
    """Patterns that kernels make use of, beside the dense kernels."""
    rng = np.random.default_rng(5)
    every = rng.normal(0, 1, (SIZE, SIZE)).astype(np.float32)
    x = rng.normal(0, 1, (SIZE, 64)).astype(np.float32)
    xt = np.ascontiguousarray(x.T)
    codes = rng.integers(0, 256, (SIZE, 64), np.uint8)
    ct = np.ascontiguousarray(codes.T)
    out = np.empty((64, SIZE), np.float32)
    for pattern in ("2:4", "1:4", "4:8", "4x1", "16x1", "1x16"):
        is_nm = ":" in pattern
        w = qc.prune(every, sparsity=None if is_nm else 0.5, pattern=pattern)
        kind = qc.NmMatrix if is_nm else qc.BsrMatrix
        s, q = kind.from_dense(w, pattern), codes_of(w)
        dense = _core.PackedWeights.float(w)
        contenders: Contenders = {
            "qcore": lambda s=s: s @ x,
            "qcore dense": lambda dense=dense: dense.linear(xt, None, "linear", out),
            "NumPy dense": lambda w=w: w @ x,
        }
        asked = 1.3 if pattern == "2:4" else 1.0
        ratios = {"own dense float32": ("qcore dense", "qcore", asked)}
        yield f"{pattern}, float32", best(contenders, seconds), ratios
        sq, packed = kind.from_dense(q, pattern), qc.pack(np.ascontiguousarray(q.T))
        assert np.array_equal(sq @ codes, qc.matmul_integer(ct, packed).T)
        contenders = {
            "qcore": lambda sq=sq: sq @ codes,
            "qcore dense": lambda packed=packed: qc.matmul_integer(ct, packed),
        }
        ratios = {"own dense int8": ("qcore dense", "qcore", 1.0)}
        yield f"{pattern}, int8", best(contenders, seconds), ratios
        weights = packed_forms(sq, q, np.full(SIZE, 0.01, np.float32))
        yield (
            f"{pattern}, int8 layer",
            best(layer_contenders(weights, xt, out), seconds),
            {"own dense int8": ("dense", "sparse", 1.0)},
        )
        laid_out = weights["sparse"].nbytes
        yield (
            f"  int8 takes {sq.nbytes / q.nbytes:.1%} of the dense bytes, laid out for this CPU "
            f"{laid_out / weights['dense'].nbytes:.1%}",
            {},
            {},
        )


def packed_forms(s: Any, w: Any, scale: Any) -> dict[str, Any]:
    """A sparse matrix as weights that stay so whatever the number of rows, and dense ones."""
    packed = _core.PackedWeights
    make = {
        qc.CsrMatrix: packed.csr, qc.NmMatrix: packed.n_of_m, qc.BsrMatrix: packed.blocks
    }[type(s)]  # fmt: skip
    dense = packed.float(w) if scale is None else packed.integer(w, scale)
    return {"sparse": make(s._matrix, scale, 0), "dense": dense}


def layer_contenders(weights: dict[str, Any], x: Any, out: Any) -> Contenders:
    return {
        name: lambda form=form: form.linear(x, None, "relu", out) for name, form in weights.items()
    }


BATCHES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)

#: What the crossover is measured for: a kind, and how a share of weights of it is pruned.
KINDS: dict[str, tuple[str, tuple[float, ...]]] = {
    "csr": ("unstructured", (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5)),
    "blocks of 4": ("4x1", (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)),
    "blocks of 2": ("2x1", (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)),
    "blocks of 1": ("1x16", (0.05, 0.1, 0.2, 0.3, 0.5)),
    "1:4": ("1:4", (0.25,)),
    "2:4": ("2:4", (0.5,)),
    "4:8": ("4:8", (0.5,)),
}


def crossover_rows(seconds: float) -> Iterator[Any]:
    """The table of `qcore.arrays.products.crossover`, as it stands there."""
    for kind, (pattern, shares) in KINDS.items():
        for dtype in ("int8", "float32"):
            yield f'"{name_of(kind, dtype)}": (', {}, {}
            for share in shares:
                ratios = layer_ratios(pattern, share, dtype, seconds)
                slower = [batch for batch in BATCHES if ratios[batch] < 1]
                rows = 2 * slower[-1] if slower[-1:] == [64] else 1
                if slower and slower[-1] < 64:
                    rows = BATCHES[BATCHES.index(slower[-1]) + 1]
                text = "  ".join(f"{batch}: {ratio:.2f}" for batch, ratio in ratios.items())
                line = f"Crossover({share}, {rows}, {ratios[64]:.1f}),"
                # What is no faster does not go into the table.
                sign = "" if rows <= 64 and ratios[64] >= 1.05 else "# "
                yield f"    {sign}{line:<28} # {text}", {}, {}
            yield "),", {}, {}


def name_of(kind: str, dtype: str) -> str:
    """Return what the table calls a kind on the instruction set in force."""
    from qcore.arrays.products.crossover import PAIRS, has_dot

    return f"{kind} {dtype}" + (PAIRS if dtype == "int8" and not has_dot() else "")


def layer_ratios(pattern: str, share: float, dtype: str, seconds: float) -> dict[int, float]:
    """How much faster than dense a layer is, by batch: the slower of two shapes."""
    rng = np.random.default_rng(6)
    ratios = dict.fromkeys(BATCHES, float("inf"))
    for rows, cols in ((128, 784), (1024, 1024)):
        w = rng.normal(0, 1, (rows, cols)).astype(np.float32)
        w = qc.prune(w, sparsity=None if ":" in pattern else 1 - share, pattern=pattern)
        values = w if dtype == "float32" else codes_of(w)
        scale = None if dtype == "float32" else np.full(rows, 0.01, np.float32)
        kinds = {":": qc.NmMatrix, "x": qc.BsrMatrix}
        kind = next((kinds[sign] for sign in kinds if sign in pattern), None)
        s = kind.from_dense(values, pattern) if kind else qc.CsrMatrix.from_dense(values)
        weights = packed_forms(s, values, scale)
        for batch in BATCHES:
            x = rng.normal(0, 1, (batch, cols)).astype(np.float32)
            out = np.empty((batch, rows), np.float32)
            times = best(layer_contenders(weights, x, out), seconds / 10)
            ratios[batch] = min(ratios[batch], times["dense"] / times["sparse"])
    return ratios


@contextmanager
def dense_kernels() -> Iterator[None]:
    """Let networks run on dense kernels whatever their zeros."""
    from qcore.arrays.products.crossover import CROSSOVER

    usual = dict(CROSSOVER)
    CROSSOVER.clear()
    try:
        yield
    finally:
        CROSSOVER.update(usual)


def net_float(weights: Any, biases: Any, x: Any) -> Any:
    for weight, bias in zip(weights, biases, strict=True):
        x = np.maximum(x @ weight.T + bias, 0)
    return x


TABLES = {
    "float": ("float32 CSR times dense, µs", float_rows),
    "int8": ("int8 CSR times dense uint8, µs", integer_rows),
    "structured": ("patterns, N = 64, µs", structured_rows),
    "crossover": ("a layer dense against sparse: share, least rows, ratio at 64", crossover_rows),
    "threads": ("two threads, N = 64, µs", thread_rows),
    "network": ("LeNet-300-100, int8, µs a call", network_rows),
}


def start_again_on_one_thread() -> None:
    """Start the program anew in the environment that the peers read when they are loaded."""
    if "QCORE_BENCH" in os.environ:
        return
    wanted = {f"{name}_NUM_THREADS": "1" for name in ("MKL", "OMP", "OPENBLAS")}
    for library in sorted(Path(sys.prefix, "lib").glob("libmkl_rt.so*")):
        wanted.setdefault("MKL_RT", str(library))  # sparse_dot_mkl does not look there
    environment = wanted | dict(os.environ) | {"QCORE_BENCH": "1"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606


def main() -> None:
    start_again_on_one_thread()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tables", nargs="*", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--seconds", type=float, default=1.0, help="for each contender of a row")
    options = parser.parse_args()
    _core.set_num_threads(1)
    print(f"{SIZE} x {SIZE}, one thread unless said, {_core.active_isa()}")
    for table in options.tables:
        title, rows = TABLES[table]
        show(title, rows(options.seconds))


if __name__ == "__main__":
    main()
