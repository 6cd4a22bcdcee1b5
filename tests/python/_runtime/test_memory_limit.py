"""Operations that find no memory raise MemoryError, and the process goes on."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("resource")

PROGRAM = """
import ctypes, gc, resource
import numpy as np, qcore as qc

trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: 0)

rng = np.random.default_rng(0)
w = rng.standard_normal((4096, 4096), np.float32)
x = rng.standard_normal((64, 4096), np.float32)
codes = np.ones((4096, 4096), np.int8)
q = qc.quantize(w, axis=0)
packed = qc.pack(codes)
sparse = qc.CsrMatrix.from_dense(qc.prune(w, sparsity=0.5))
many = np.ones((1 << 16, 4096), np.int8)
wide = np.ones((1 << 14, 1 << 13), np.float32)

OPERATIONS = {
    "pack": lambda: qc.pack(many),
    "matmul_integer": lambda: qc.matmul_integer(many, packed),
    "quantize": lambda: qc.quantize(wide, axis=0),
    "quantize int4": lambda: qc.quantize(wide, bits=4, group_size=32),
    "dequantize": lambda: q.dequantize(),
    "fake_quantize": lambda: qc.fake_quantize(w),
    "prune": lambda: qc.prune(w, sparsity=0.5),
    "prune 2:4": lambda: qc.prune(w, pattern="2:4"),
    "from_dense": lambda: qc.CsrMatrix.from_dense(w),
    "nm": lambda: qc.NmMatrix.from_dense(w, "4:4"),
    "blocks": lambda: qc.BsrMatrix.from_dense(w, "4x1"),
    "transpose": lambda: sparse.T,
    "to_dense": lambda: sparse.to_dense(),
    "sparse product": lambda: sparse @ np.broadcast_to(np.float32(1), (4096, 1 << 14)),
}
qc.linear(x, q)  # threads, with their stacks
qc.matmul_integer(codes[:64], packed)
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
for name, operation in OPERATIONS.items():
    gc.collect()
    trim(0)  # what was freed before is not there
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (4 << 20), hard))
    try:
        operation()
        found = "no error"
    except BaseException as error:
        found = type(error).__name__
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    print(f"{name}: {found}", flush=True)
qc.quantize(w[:8])
print("alive")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_finds_no_memory_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=200
    )
    lines = done.stdout.splitlines()
    assert lines[-1:] == ["alive"], done.stdout + done.stderr[-2000:]
    wrong = [line for line in lines[:-1] if not line.endswith(": MemoryError")]
    assert not wrong
