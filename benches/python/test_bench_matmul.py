"""The public products, beside NumPy's float32 in the same process."""

import numpy as np
import pytest

import qcore as qc

SHAPES = [(64, 64, 64), (256, 256, 256), (1, 1024, 1024), (8, 1024, 4096)]


@pytest.fixture(params=SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def operands(request):
    m, k, n = request.param
    rng = np.random.default_rng(0)
    return rng.integers(-128, 128, (m, k), np.int8), rng.integers(-128, 128, (k, n), np.int8)


@pytest.mark.benchmark(group="matmul")
def test_packed(benchmark, operands):
    a, b = operands
    benchmark(qc.matmul_integer, a, qc.pack(b))


@pytest.mark.benchmark(group="matmul")
def test_not_packed(benchmark, operands):
    benchmark(qc.matmul_integer, *operands)


@pytest.mark.benchmark(group="matmul")
def test_numpy_float32(benchmark, operands):
    benchmark(np.matmul, *(x.astype(np.float32) for x in operands))


@pytest.mark.parametrize("options", [{"axis": 0}, {"bits": 4, "group_size": 64}], ids=str)
@pytest.mark.benchmark(group="linear")
def test_linear(benchmark, options):
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((300, 784), np.float32), rng.standard_normal((64, 784), np.float32)
    benchmark(qc.linear, x, qc.quantize(w, **options))
