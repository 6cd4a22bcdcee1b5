"""The public sparse products, beside SciPy in the same process."""

import numpy as np
import pytest
import scipy.sparse

import qcore as qc

SIZE = 2048
DENSITY = 0.1


@pytest.fixture(scope="module")
def w():
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((SIZE, SIZE)).astype(np.float32)
    dense[rng.random(dense.shape) >= DENSITY] = 0
    return dense


@pytest.fixture(params=[1, 8, 64])
def x(request):
    return np.random.default_rng(1).standard_normal((SIZE, request.param)).astype(np.float32)


@pytest.mark.benchmark(group="sparse float32")
def test_float32(benchmark, w, x):
    s = qc.CsrMatrix.from_dense(w)
    benchmark(lambda: s @ x)


@pytest.mark.benchmark(group="sparse float32")
def test_float32_scipy(benchmark, w, x):
    s = scipy.sparse.csr_matrix(w)
    benchmark(lambda: s @ x)


@pytest.mark.benchmark(group="sparse int8")
def test_int8(benchmark, w, x):
    s = qc.CsrMatrix.from_dense(np.sign(w).astype(np.int8))
    codes = (x * 40).astype(np.int8)
    benchmark(lambda: s @ codes)


@pytest.mark.benchmark(group="sparse int8")
def test_int8_dense(benchmark, w, x):
    packed = qc.pack(np.ascontiguousarray(np.sign(w).astype(np.int8).T))
    codes = np.ascontiguousarray((x * 40).astype(np.int8).T)
    benchmark(qc.matmul_integer, codes, packed)


@pytest.mark.benchmark(group="build")
def test_from_dense(benchmark, w):
    benchmark(qc.CsrMatrix.from_dense, w)
