"""Decoding a packed matrix: MB of float32 output a second follow from time and size."""

import numpy as np
import pytest

from qcore import _core

SIDE = 1024


@pytest.mark.parametrize("density", [0.02, 0.05, 0.1, 0.5])
def test_decode(benchmark, density):
    rng = np.random.default_rng(0)
    full = rng.random((SIDE, SIDE)) < density
    codes = np.where(full, rng.integers(0, 9, (SIDE, SIDE)), 4).astype(np.uint8)
    shape = (SIDE, SIDE, 9, 4, 0)
    coded = _core.entropy_encode(codes, shape)
    out = np.empty_like(codes)
    benchmark(_core.entropy_decode, coded, shape, out)
    np.testing.assert_array_equal(out, codes)
    benchmark.extra_info["MB of float32"] = 4 * codes.size / 1e6
    benchmark.extra_info["bits a weight"] = 8 * coded.size / codes.size
