"""Threads that share what runs networks: a session, a network, files in one folder."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import threading

import numpy as np
import pytest

import qcore as qc

pytestmark = pytest.mark.numerics

THREADS = 8


def at_once(work, rounds=150):
    """Call ``work(thread)`` over and over on all threads at once; raise the first failure."""
    errors, start = [], threading.Barrier(THREADS)

    def run(thread):
        start.wait()
        try:
            for _ in range(rounds):
                work(thread)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.fixture(scope="module")
def case():
    """Return a network of integers, an input for each thread, and what comes of each."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape).astype(np.float32) for shape in ((96, 64), (2000, 96))]
    net = qc.nn.Sequential.from_arrays(weights, [None, None], layout="out_in", output="linear")
    inputs = rng.standard_normal((THREADS, 4, 64)).astype(np.float32)
    small = qc.compress(net, inputs.reshape(-1, 64), bits=8)
    return small, inputs, [small.predict_logits(x).copy() for x in inputs]


def test_threads_that_give_their_own_arrays_share_a_session(case):
    net, inputs, wanted = case
    (given,), (told,) = net.inputs, net.outputs
    session = net.session({"batch": 4})
    outs = [np.empty_like(each) for each in wanted]

    def work(thread):
        session.run({given.name: inputs[thread]}, out={told.name: outs[thread]})
        np.testing.assert_array_equal(outs[thread], wanted[thread])

    at_once(work)


def test_threads_share_a_network(case):
    net, inputs, wanted = case
    at_once(
        lambda thread: np.testing.assert_array_equal(
            net.predict_logits(inputs[thread]), wanted[thread]
        )
    )


def test_threads_save_into_one_folder(case, tmp_path):
    net, inputs, wanted = case

    def work(thread):
        path = tmp_path / f"{thread % 3}.safetensors"
        qc.save(path, net)
        found = qc.load(path).predict_logits(inputs[0])
        np.testing.assert_array_equal(found, wanted[0])

    at_once(work)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{n}.safetensors" for n in range(3)
    ]


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has the GIL"
)
def test_free_threaded_python_stays_so():
    code = "import sys, qcore._core; print(sys._is_gil_enabled())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
