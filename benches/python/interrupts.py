"""How soon Ctrl-C is answered: ``python benches/python/interrupts.py [PATTERN ...] [--times N]``.

Every operation runs in a process of its own and is stopped at random moments, by a timer of the
system that neither Python nor the GIL holds up; the time from there to the exception counts. It
prints each operation with the slowest of its answers, the slowest of all last. Nothing is asserted:
on a machine that others use, the waiting for a core is in the times.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from fnmatch import fnmatch
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from time import monotonic
from types import FrameType
from typing import Any

Operation = Callable[[], Any]

#: Milliseconds that an answer may take.
ALLOWED = 200


def arrays() -> dict[str, Operation]:
    """Kernels, conversions and what is made of arrays."""
    import numpy as np

    import qcore as qc

    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape, np.float32)

    def codes(*shape: int, dtype: Any = np.int8) -> Any:
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype)

    def sparse(*shape: int) -> Any:
        return np.where(rng.random(shape, np.float32) < 0.1, normal(*shape), np.float32(0))

    def of(make: Callable[..., Any], *given: Operation, **options: Any) -> Operation:
        """Return a call whose arguments are made once, before it is timed."""
        made: list[Any] = []

        def call() -> Any:
            if not made:
                made.extend(one() for one in given)
                return None
            return make(*made, **options)

        return call

    linear, quantize = qc.linear, qc.quantize
    big, flat = (lambda: normal(8000, 4000)), (lambda: normal(40_000_000))
    gapped = lambda: sparse(8000, 4000)  # noqa: E731
    csr = lambda: qc.CsrMatrix.from_dense(gapped())  # noqa: E731
    pairs = lambda: qc.prune(normal(4000, 4000), pattern="2:4")  # noqa: E731
    blocks = lambda: qc.prune(normal(4000, 4000), sparsity=0.5, pattern="4x1")  # noqa: E731
    wide = lambda: normal(4000, 4000)  # noqa: E731
    rows = lambda: normal(4000, 4000)  # noqa: E731
    int8 = lambda: codes(4000, 4000)  # noqa: E731
    return {
        "matmul_integer": of(qc.matmul_integer, int8, int8),
        "matmul_integer, packed": of(qc.matmul_integer, int8, lambda: qc.pack(int8())),
        "matmul_integer, uint8": of(
            qc.matmul_integer, lambda: codes(4000, 4000, dtype=np.uint8), int8
        ),
        "pack": of(qc.pack, lambda: codes(16000, 16000)),
        "linear, two arrays": of(linear, rows, wide),
        "linear, wide": of(linear, lambda: normal(16, 16000), lambda: normal(16000, 16000)),
        "linear, int8": of(linear, rows, lambda: quantize(wide(), axis=0)),
        "linear, int4": of(linear, rows, lambda: quantize(wide(), 4, group_size=32)),
        "linear, nf4": of(linear, rows, lambda: quantize(wide(), scheme="nf4", axis=0)),
        "linear, CSR": of(linear, rows, lambda: qc.CsrMatrix.from_dense(sparse(4000, 4000))),
        "linear, 2:4": of(linear, rows, lambda: qc.NmMatrix.from_dense(pairs(), "2:4")),
        "linear, 4x1": of(linear, rows, lambda: qc.BsrMatrix.from_dense(blocks(), "4x1")),
        "CSR product": of(lambda s, x: s @ x, csr, wide),
        "CSR product, int8": of(
            lambda s, x: s @ x,
            lambda: qc.CsrMatrix.from_dense(np.where(sparse(8000, 4000) != 0, 3, 0).astype("i1")),
            int8,
        ),
        "from_dense, CSR": of(qc.CsrMatrix.from_dense, lambda: sparse(16000, 8000)),
        "from_dense, 2:4": of(qc.NmMatrix.from_dense, pairs, pattern="2:4"),
        "from_dense, 4x1": of(qc.BsrMatrix.from_dense, blocks, pattern="4x1"),
        "CSR transposed": of(lambda s: s.T, csr),
        "CSR to_dense": of(lambda s: s.to_dense(), csr),
        "from_coo": of(
            lambda v, r, c: qc.CsrMatrix.from_coo(v, r, c, shape=(4000, 4000)),
            lambda: normal(8_000_000),
            lambda: rng.integers(0, 4000, 8_000_000),
            lambda: rng.integers(0, 4000, 8_000_000),
        ),
        "quantize": of(quantize, lambda: normal(16000, 8000), axis=0),
        "quantize, strided": of(quantize, lambda: normal(8000, 16000).T, axis=0),
        "quantize, int4 groups": of(quantize, big, bits=4, group_size=32),
        "quantize, nf4": of(quantize, big, scheme="nf4", axis=0),
        "quantize, k-means": of(quantize, lambda: normal(20_000_000), scheme="kmeans", levels=64),
        "quantize, k-means of rows": of(quantize, big, scheme="kmeans", levels=16, axis=0),
        "quantize, mse": of(quantize, big, axis=0, observer="mse"),
        "quantize, entropy": of(quantize, flat, observer="entropy"),
        "quantize, percentile": of(quantize, flat, observer="percentile"),
        "quantize, hqq": of(quantize, wide, bits=4, group_size=32, algorithm="hqq"),
        "dequantize": of(lambda q: q.dequantize(), lambda: quantize(normal(16000, 8000), axis=0)),
        "fake_quantize": of(qc.fake_quantize, lambda: normal(16000, 8000), axis=0),
        "observe": of(lambda x: qc.Observer("entropy").update(x), flat),
        "prune": of(qc.prune, lambda: normal(16000, 4000), sparsity=0.5),
        "prune, 2:4": of(qc.prune, lambda: normal(16000, 4000), pattern="2:4"),
        "prune, 4x1": of(qc.prune, lambda: normal(16000, 4000), sparsity=0.5, pattern="4x1"),
        "factorize": of(qc.factorize, lambda: normal(2000, 2000), rank=64),
    }


def networks(folder: Path) -> dict[str, Operation]:
    """What networks do, trainings, files and streams."""
    import numpy as np

    import qcore as qc
    from qcore.graph.node import Node
    from qcore.graph.value import Value

    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((4000, 784), np.float32), rng.integers(0, 10, 4000)

    def net(*widths: int) -> Any:
        sizes = (784, *widths, 10)
        made = [
            rng.standard_normal((n, k), np.float32) / np.float32(np.sqrt(k))
            for k, n in pairwise(sizes)
        ]
        return qc.nn.Sequential.from_arrays(made, [None] * len(made), layout="out_in")

    large = net(2048, 2048)
    teacher = net(1024)
    samples = rng.standard_normal((20_000, 784), np.float32)

    # What is only made once it is wanted, in the call that is not timed.
    @cache
    def many() -> dict[str, Any]:
        made = {f"w{i}": rng.standard_normal((4000, 2000), np.float32) for i in range(6)}
        np.savez(folder / "many.npz", **made)
        qc.save(folder / "many.safetensors", made)
        return made

    @cache
    def pruned() -> Any:
        return qc.Pruner(0.9, progress=False).fit_transform(many())

    @cache
    def few() -> Any:
        thin = qc.Pruner(0.9, progress=False).fit_transform(large)
        return qc.Quantizer(4, scheme="kmeans", progress=False).fit_transform(thin)

    @cache
    def integers() -> Any:
        return qc.compress(large, X)

    def file(kind: str) -> Path:
        many()
        return folder / f"many.{kind}"

    def trained(**options: Any) -> Operation:
        return lambda: net(1024).fit(X, y, epochs=50, progress=False, **options)

    def quantized(*, of: Any = large, **options: Any) -> Operation:
        made = qc.Quantizer(progress=False, **options)
        return lambda: made.fit_transform(of, X)

    def run(op: str, x: tuple[int, ...], *weights: tuple[int, ...], **attributes: Any) -> Operation:
        """Return a run of a graph of one node, which is compiled by then."""
        made = {f"w{i}": rng.standard_normal(w, np.float32) for i, w in enumerate(weights)}
        graph = qc.Graph(
            [Node("n", op, ("x", *made), ("y",), attributes)],
            inputs=[Value("x", "float32", x)], outputs=[Value("y", "float32")], constants=made,
        )  # fmt: skip
        values = cache(lambda: rng.standard_normal(x, np.float32))
        return lambda: graph.run({"x": values()})

    out = folder / "out.safetensors"
    return {
        "predict": lambda: large.predict(samples),
        "predict, int8": lambda: integers().predict(samples),
        "compress": lambda: qc.compress(large, X),
        "compress, 2:4": lambda: qc.compress(large, X, pattern="2:4"),
        "fit": trained(),
        "fit, aware of 4 bits": trained(quantize=qc.Quantizer(4)),
        "fit, pruned": trained(prune=qc.Pruner(0.8)),
        "fit, with a teacher": trained(teacher=teacher),
        "fit, augmented": trained(augment=lambda a, r: a),
        "GPTQ": quantized(bits=4, algorithm="gptq"),
        "AWQ": quantized(bits=4, algorithm="awq", group_size=16),
        "AdaRound": quantized(bits=4, algorithm="adaround"),
        "mixture": quantized(bits=(2, 4, 8), target_bits=4),
        "SparseGPT": lambda: qc.Pruner(0.5, criterion="sparsegpt", progress=False).fit_transform(
            large, X
        ),
        "Wanda": lambda: qc.Pruner(0.5, criterion="wanda", progress=False).fit_transform(large, X),
        "run, convolution": run("Conv", (8, 64, 256, 256), (64, 64, 3, 3), pads=[1] * 4),
        "run, 3-D convolution": run("Conv", (1, 16, 32, 64, 64), (16, 16, 3, 3, 3)),
        "run, transposed convolution": run("ConvTranspose", (1, 32, 128, 128), (32, 32, 3, 3)),
        "run, LSTM": run("LSTM", (400, 8, 256), (1, 1024, 256), (1, 1024, 256), hidden_size=256),
        "run, transposition": run("Transpose", (512, 256, 512), perm=[2, 1, 0]),
        "run, softmax": run("Softmax", (512, 256, 512), axis=1),
        "run, logarithm of a sum": run("ReduceLogSumExp", (512, 256, 512)),
        "run, sines": run("Sin", (512, 256, 512)),
        "save": lambda: qc.save(out, many()),
        "save, sparse": lambda: qc.save(out, pruned()),
        "save, few values": lambda: qc.save(out, few()),
        "load": lambda: qc.load(file("safetensors")),
        "load, npz": lambda: qc.load(file("npz")),
        "stream": lambda: qc.compress(file("safetensors"), output=out),
        "stream, int4": lambda: qc.compress(file("safetensors"), output=out, bits=4, group_size=32),
        "stream, k-means": lambda: qc.compress(
            file("safetensors"), output=out, scheme="kmeans", levels=64
        ),
    }


def operations(folder: Path, part: str) -> dict[str, Operation]:
    """Return one of the two tables."""
    return arrays() if part == "arrays" else networks(folder)


def stopped(signum: int, frame: FrameType | None) -> None:
    """Raise what Ctrl-C raises."""
    raise KeyboardInterrupt


def child(part: str, name: str, times: int) -> None:
    """Print the slowest of some answers in milliseconds, and how long the operation takes."""
    with tempfile.TemporaryDirectory() as folder:
        call = operations(Path(folder), part)[name]
        call()
        start = monotonic()
        call()
        takes = monotonic() - start
        signal.signal(signal.SIGALRM, stopped)
        random, slowest, caught = Random(name), 0.0, 0  # noqa: S311
        for _ in range(times):
            delay = random.uniform(0.02, 0.9) * min(takes, 3)
            due = monotonic() + delay
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                call()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                slowest, caught = max(slowest, monotonic() - due), caught + 1
        print(1000 * slowest, caught, takes)


def names(part: str) -> list[str]:
    """Return the names of a table without running it here."""
    with tempfile.TemporaryDirectory() as folder:
        return list(operations(Path(folder), part))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("patterns", nargs="*", default=["*"])
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    found: list[tuple[float, str]] = []
    print("| operation | takes | stopped | slowest answer |\n|---|---|---|---|")
    for part in ("arrays", "networks"):
        for name in names(part):
            if not any(fnmatch(name, pattern) for pattern in options.patterns):
                continue
            command = [sys.executable, __file__, "--child", part, name, str(options.times)]
            done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
            if done.returncode:
                print(f"| {name} | {done.stderr.strip().splitlines()[-1:]} | | |", flush=True)
                continue
            slowest, caught, takes = map(float, done.stdout.split())
            found.append((slowest, name))
            print(f"| {name} | {takes:.2f} s | {caught:.0f} | {slowest:.0f} ms |", flush=True)
    slowest, name = max(found)
    late = sum(answer > ALLOWED for answer, _ in found)
    print(f"\nThe slowest of {len(found)}: {name}, {slowest:.0f} ms; {late} above {ALLOWED} ms")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
