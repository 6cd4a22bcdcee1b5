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


@pytest.fixture(scope="module", params=["2:4", "4x1"])
def structured(request):
    dense = np.random.default_rng(2).standard_normal((SIZE, SIZE)).astype(np.float32)
    sparsity = None if ":" in request.param else 0.5
    return request.param, qc.prune(dense, sparsity=sparsity, pattern=request.param)


def _structured(pattern, dense):
    return (qc.NmMatrix if ":" in pattern else qc.BsrMatrix).from_dense(dense, pattern)


@pytest.mark.benchmark(group="structured float32")
def test_structured_float32(benchmark, structured, x):
    s = _structured(*structured)
    benchmark(lambda: s @ x)


@pytest.mark.benchmark(group="structured float32")
def test_structured_float32_dense(benchmark, structured, x):
    benchmark(lambda: structured[1] @ x)


@pytest.mark.benchmark(group="structured int8")
def test_structured_int8(benchmark, structured, x):
    s = _structured(structured[0], np.sign(structured[1]).astype(np.int8))
    codes = (x * 40).astype(np.int8)
    benchmark(lambda: s @ codes)


@pytest.mark.benchmark(group="structured int8")
def test_structured_int8_dense(benchmark, structured, x):
    packed = qc.pack(np.ascontiguousarray(np.sign(structured[1]).astype(np.int8).T))
    codes = np.ascontiguousarray((x * 40).astype(np.int8).T)
    benchmark(qc.matmul_integer, codes, packed)
