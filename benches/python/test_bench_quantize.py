"""The public quantize and dequantize, beside NumPy in the same process."""

import numpy as np
import pytest

import qcore as qc

SIZES = [1 << 12, 1 << 18, 1 << 24]
SCALE = np.float32(0.03)


@pytest.fixture(params=SIZES)
def x(request):
    return np.random.default_rng(0).standard_normal(request.param).astype(np.float32)


@pytest.mark.benchmark(group="quantize")
def test_quantize(benchmark, x):
    out = np.empty(x.shape, np.int8)
    benchmark(qc.quantize, x, scale=SCALE, out=out)


@pytest.mark.benchmark(group="quantize")
def test_quantize_with_its_range(benchmark, x):
    out = np.empty(x.shape, np.int8)
    benchmark(qc.quantize, x, out=out)


@pytest.mark.benchmark(group="quantize")
def test_quantize_numpy(benchmark, x):
    benchmark(lambda: np.clip(np.rint(x / SCALE), -128, 127).astype(np.int8))


@pytest.mark.benchmark(group="dequantize")
def test_dequantize(benchmark, x):
    q = qc.quantize(x)
    out = np.empty(x.shape, np.float32)
    benchmark(qc.dequantize, q, out=out)


@pytest.mark.benchmark(group="dequantize")
def test_dequantize_numpy(benchmark, x):
    codes = qc.quantize(x).values
    benchmark(lambda: codes.astype(np.float32) * SCALE)
