"""Two states of qcore beside each other: ``python -m benches.before_after BEFORE AFTER``.

Both are folders to import ``qcore`` from, such as ``python/`` of two checkouts, each with its
extension built. Three processes take turns, one call in a burst at a time, in another order each
round: before, before once more (the A/A row, which says what a difference is worth) and after. The
ratio of each round is that of best times; the median of the rounds counts, and the geometric mean
over the cases. `QCORE_ISA` forces an instruction set on all. ``--networks``: LeNet-300-100 and
784-128-10 at batches of 1, 64 and 1,024, as floats, int8, pruned by 90 % and of 4 bits.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from statistics import geometric_mean, median
from time import perf_counter, thread_time

#: (M, K, N) of products with a packed B, and with one that is not.
SHAPES = (
    (8, 8, 8), (64, 64, 64), (256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (8, 1024, 4096),
    (32, 1024, 1024), (128, 384, 1536), (64, 784, 128), (1, 1024, 1024), (1, 4096, 4096),
)  # fmt: skip
#: Seconds of a burst, and of what is timed at once.
BURST, SAMPLE = 0.02, 2e-4


def cases() -> list[tuple[str, object]]:
    """Return what is timed, by name; qcore is imported from where the process was told."""
    import numpy as np

    import qcore as qc
    from qcore import _core

    _core.set_num_threads(1)
    rng = np.random.default_rng(0)
    found: list[tuple[str, object]] = []
    for m, k, n in SHAPES:
        a, b = rng.integers(-128, 128, (m, k), np.int8), rng.integers(-128, 128, (k, n), np.int8)
        p = qc.pack(b)
        found.append((f"{m} x {k} x {n}, packed", lambda a=a, p=p: qc.matmul_integer(a, p)))
        found.append((f"{m} x {k} x {n}", lambda a=a, b=b: qc.matmul_integer(a, b)))
    for size in (1 << 12, 1 << 18):
        x, out = rng.standard_normal(size, np.float32), np.empty(size, np.int8)
        found.append(
            (f"quantize {size:,}", lambda x=x, out=out: qc.quantize(x, scale=0.03, out=out))
        )
    dense = rng.integers(-127, 128, (1024, 1024), np.int8)
    few = np.where(rng.random(dense.shape) < 0.1, dense, 0).astype(np.int8)
    s = qc.CsrMatrix.from_dense(few)
    found.append(("CSR int8 10 %, from dense", lambda: qc.CsrMatrix.from_dense(few)))
    floats = rng.standard_normal((1024, 1024), np.float32)
    q, four = qc.quantize(floats, axis=0), qc.quantize(floats, bits=4, group_size=32)
    thin = qc.prune(floats, sparsity=0.9)
    csr, pairs = qc.CsrMatrix.from_dense(thin), qc.prune(floats, pattern="2:4")
    row, rows = floats[:1].copy(), floats[:64].copy()
    columns = rows.T.copy()
    found += [
        ("quantize 1024 x 1024 by row", lambda: qc.quantize(floats, axis=0)),
        ("quantize int4 in groups", lambda: qc.quantize(floats, bits=4, group_size=32)),
        ("dequantize 1024 x 1024", lambda: q.dequantize()),
        ("prune 1024 x 1024", lambda: qc.prune(floats, sparsity=0.9)),
        ("CSR float32 10 %, from dense", lambda: qc.CsrMatrix.from_dense(thin)),
        ("CSR float32 10 %, transposed", lambda: csr.T),
        ("CSR float32 10 %, 64 columns", lambda: csr @ columns),
        ("2:4 float32, from dense", lambda: qc.NmMatrix.from_dense(pairs, "2:4")),
        ("linear int8, 1 row", lambda: qc.linear(row, q)),
        ("linear int8, 64 rows", lambda: qc.linear(rows, q)),
        ("linear int4, 1 row", lambda: qc.linear(row, four)),
        ("linear int4, 64 rows", lambda: qc.linear(rows, four)),
    ]
    for n in (8, 64):
        x = rng.integers(-128, 128, (1024, n), np.int8)
        found.append((f"CSR int8 10 %, {n} columns", lambda x=x: s @ x))
    return found


def networks() -> list[tuple[str, object]]:
    """Return predictions of dense networks in every form, by name."""
    import numpy as np

    import qcore as qc
    from qcore import _core

    _core.set_num_threads(1)
    rng = np.random.default_rng(0)
    found: list[tuple[str, object]] = []
    for title, widths in (("LeNet-300-100", (784, 300, 100, 10)), ("784-128-10", (784, 128, 10))):
        pairs = list(zip(widths[1:], widths, strict=False))
        net = qc.nn.Sequential.from_arrays(
            [rng.standard_normal(pair, np.float32) / np.float32(pair[1] ** 0.5) for pair in pairs],
            [rng.standard_normal(rows, np.float32) for rows, _ in pairs], layout="out_in",
        )  # fmt: skip
        x = rng.random((1024, 784), np.float32)
        forms = {
            "float": net,
            "int8": qc.Quantizer(8, progress=False).fit_transform(net, x),
            "90 % zeros": qc.Pruner(0.9, progress=False).fit_transform(net),
            "int4": qc.Quantizer(4, progress=False).fit_transform(net, x),
        }
        for form, one in forms.items():
            for batch in (1, 64, 1024):
                rows = np.ascontiguousarray(x[:batch])
                name = f"{title}, {form}, {batch}"
                found.append((name, lambda one=one, rows=rows: one.predict_proba(rows)))
    return found


def work() -> None:
    """Time the case of each number that comes in, until none does."""
    found = networks() if "--networks" in sys.argv else cases()
    for line in sys.stdin:
        call = found[int(line)][1]
        call()  # type: ignore[operator]
        start = perf_counter()
        call()  # type: ignore[operator]
        # So many calls that the clock's own steps do not count.
        calls = max(1, int(SAMPLE / max(perf_counter() - start, 1e-9)))
        best, end = float("inf"), perf_counter() + BURST
        while perf_counter() < end:
            start = thread_time()
            for _ in range(calls):
                call()  # type: ignore[operator]
            best = min(best, (thread_time() - start) / calls)
        sys.stdout.write(f"{best}\n")
        sys.stdout.flush()


def worker(folder: str, options: list[str]) -> subprocess.Popen[str]:
    """Start a process that imports qcore from a folder."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    paths = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])
    settings = dict.fromkeys(names, "1") | {"PYTHONPATH": paths}
    return subprocess.Popen(  # noqa: S603
        [sys.executable, str(Path(__file__).resolve()), "--worker", *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | settings,
    )  # fmt: skip


def main() -> None:
    """Print the ratio of each case, before to after: above 1 it became faster."""
    parser = argparse.ArgumentParser(prog="python -m benches.before_after", description=__doc__)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--networks", action="store_true", help="dense networks, not products")
    options = parser.parse_args()
    folders = {"before": options.before, "again": options.before, "after": options.after}
    workers = {
        name: worker(folder, ["--networks"] * options.networks) for name, folder in folders.items()
    }
    names = [name for name, _ in (networks if options.networks else cases)()]
    shuffle = Random(0)  # noqa: S311
    ratios: dict[str, dict[str, list[float]]] = {"again": {}, "after": {}}
    for _ in range(options.rounds):
        for index, name in enumerate(names):
            times = {}
            for who in shuffle.sample(list(workers), len(workers)):
                process = workers[who]
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(f"{index}\n")
                process.stdin.flush()
                times[who] = float(process.stdout.readline())
            for who, found in ratios.items():
                found.setdefault(name, []).append(times["before"] / times[who])
    for process in workers.values():
        process.communicate()
    medians = {who: {name: median(r) for name, r in by.items()} for who, by in ratios.items()}
    print(f"| case | A/A | after | ({options.rounds} rounds)\n|---|---|---|")
    for name in names:
        print(f"| {name} | {medians['again'][name]:.3f} | {medians['after'][name]:.3f} |")
    means = {who: geometric_mean(by.values()) for who, by in medians.items()}
    print(f"| geometric mean | {means['again']:.3f} | {means['after']:.3f} |")


if __name__ == "__main__":
    work() if "--worker" in sys.argv else main()
