"""Children of a process whose threads were in the middle of something: they work."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ROUNDS = 12

PROGRAM = """
import os, threading, time, warnings
import numpy as np, qcore as qc
from qcore import _core

warnings.simplefilter("ignore", DeprecationWarning)  # that this forks with threads is the point
_core.set_num_threads(2)
rng = np.random.default_rng(0)
w = rng.standard_normal((512, 512)).astype(np.float32)
sparse = qc.prune(w, sparsity=0.9)
x = rng.standard_normal((256, 512)).astype(np.float32)
codes = rng.integers(-128, 128, (512, 512), np.int8)
wanted = codes.astype(np.int64) @ codes.astype(np.int64)

def work():
    # Pools that are built again for each size, and first calls: what is made once is made there.
    size = 0
    while not over:
        size += 1
        _core.set_num_threads(2 + size % 3)
        qc.matmul_integer(codes, codes)
        qc.linear(x, qc.quantize(w, axis=0))
        qc.linear(x, qc.CsrMatrix.from_dense(sparse))
        shared[0] = qc.quantize(w[: 64 + size % 9], axis=0)

def child():
    qc.linear(x, shared[0])
    assert (qc.matmul_integer(codes, codes) == wanted).all()
    qc.linear(x, qc.CsrMatrix.from_dense(sparse))
    net = qc.nn.Sequential.from_arrays([w], [None], layout="out_in")
    qc.compress(net, bits=8, sparsity=0.9).predict(x)
    os._exit(0)

over, shared = False, [qc.quantize(w, axis=0)]
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
ended = []
for number in range(ROUNDS):
    time.sleep(0.003 * (number % 5))
    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(1)
    end = time.monotonic() + 60
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended.append(status)
            break
        if time.monotonic() > end:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            ended.append("hung")
            break
        time.sleep(0.01)
over = True
for thread in threads:
    thread.join()
print(ended)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_children_of_a_process_at_work_work() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PROGRAM.replace("ROUNDS", str(ROUNDS))],
        capture_output=True, text=True, timeout=280,
        # A BLAS with threads of its own does not survive a fork everywhere.
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stdout == f"{[0] * ROUNDS}\n", done.stdout + done.stderr[-2000:]
