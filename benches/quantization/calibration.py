"""Entropy calibration of many values, against ONNX Runtime's calibrator."""

import contextlib
import io
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np
from common import table

import qcore as qc

COUNT = 10**8


def rows(bench):
    """Time, memory and threshold for 10^8 normal values; memory is what calibration adds."""
    folder = str(pathlib.Path(__file__).parent)
    script = f"import sys; sys.path.insert(0, {folder!r}); import calibration; calibration.memory()"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    x = values()
    best, threshold = np.inf, 0.0
    for _ in range(3):
        started = time.perf_counter()
        seen = qc.Observer("entropy").update(x)
        low, high = seen.range()
        best = min(best, time.perf_counter() - started)
        threshold = max(-low, high)
    started = time.perf_counter()
    theirs = onnx_runtime(x)
    slow = time.perf_counter() - started
    bins = 2 * float(np.abs(x).max()) / 2048
    table(f"Entropy threshold of {COUNT:.0e} normal float32 values, 2,048 bins, one batch",
          ["", "seconds", "threshold", "MB added"],
          [["ONNX Runtime", f"{slow:.2f}", f"{theirs:.5f}", ""],
           ["qcore", f"{best:.3f}", f"{threshold:.5f}", done.stdout.strip()],
           ["ratio, or difference in bins", f"{slow / best:.0f}",
            f"{abs(theirs - threshold) / bins:.2f}", ""]])  # fmt: skip


def values():
    """Return the values, made in place."""
    x = np.empty(COUNT, np.float32)
    rng = np.random.default_rng(0)
    rng.standard_normal(dtype=np.float32, out=x)
    return x


def memory():
    """Print by how many MB the peak of this process rises while it calibrates."""
    x = values()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    qc.Observer("entropy").update(x).range()
    print(f"{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:.0f}")


def onnx_runtime(x):
    """Return the threshold of ONNX Runtime's calibrator."""
    from onnxruntime.quantization.calibrate import HistogramCollector

    with contextlib.redirect_stdout(io.StringIO()):
        collector = HistogramCollector("entropy", True, 2048, 128, 99.999, "same")
        collector.collect({"x": [x]})
        return float(collector.compute_entropy()["x"][1])
