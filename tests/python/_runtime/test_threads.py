"""First calls of every kind of weight from eight threads at once: nobody waits for ever."""

from __future__ import annotations

import os
import subprocess
import sys

# More by QCORE_STRESS_ROUNDS; these few find a lock that is taken in two orders within seconds.
ROUNDS = int(os.environ.get("QCORE_STRESS_ROUNDS", "25"))

PROGRAM = """
import threading
import numpy as np, qcore as qc

THREADS = 8
rng = np.random.default_rng(0)
w = rng.standard_normal((96, 64)).astype(np.float32)
sparse = qc.prune(w, sparsity=0.9)
blocks = qc.prune(w, sparsity=0.75, pattern="4x1")
pairs = qc.prune(w, pattern="2:4")
x = rng.standard_normal((40, 64)).astype(np.float32)
codes = qc.quantize(sparse).values

def network(**options):
    net = qc.nn.Sequential.from_arrays([w, w.T.copy()], [None, None], layout="out_in",
                                       output="linear")
    return qc.compress(net, **options)

KINDS = [
    lambda: (qc.quantize(w, axis=0), lambda q: qc.linear(x, q)),
    lambda: (qc.quantize(w, bits=4, group_size=32), lambda q: qc.linear(x, q)),
    lambda: (qc.quantize(w, scheme="nf4"), lambda q: qc.linear(x, q)),
    lambda: (qc.CsrMatrix.from_dense(sparse), lambda s: qc.linear(x, s)),
    lambda: (qc.CsrMatrix.from_dense(codes), lambda s: s @ codes[:64]),
    lambda: (qc.CsrMatrix.from_qtensor(qc.quantize(sparse)), lambda s: s.shape),
    lambda: (qc.BsrMatrix.from_dense(blocks, "4x1"), lambda s: qc.linear(x, s)),
    lambda: (qc.NmMatrix.from_dense(pairs, "2:4"), lambda s: qc.linear(x, s)),
    lambda: (network(bits=8), lambda n: n.predict(x)),
    lambda: (network(bits=8, sparsity=0.9), lambda n: n.predict(x)),
    lambda: (network(bits=4), lambda n: n.predict(x)),
]

for number in range(ROUNDS):
    for kind in KINDS:
        value, call = kind()
        barrier = threading.Barrier(THREADS)
        found, errors = [None] * THREADS, []

        def first(at):
            barrier.wait()
            try:
                found[at] = call(value)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=first, args=(at,)) for at in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        for other in found[1:]:
            np.testing.assert_array_equal(other, found[0])
print("done")
"""


def test_first_calls_from_eight_threads_end_and_agree() -> None:
    program = PROGRAM.replace("ROUNDS", str(ROUNDS))
    # The watchdog: minutes for what takes seconds.
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program],
        capture_output=True, text=True, timeout=240 + 2 * ROUNDS,
    )  # fmt: skip
    assert done.stdout == "done\n", done.stderr[-2000:]
