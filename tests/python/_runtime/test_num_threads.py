"""How many threads the kernels have: said, told, refused."""

from __future__ import annotations

import numpy as np
import pytest

import qcore as qc


@pytest.fixture(autouse=True)
def _as_before():
    before = qc.num_threads()
    yield
    qc.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, np.int64(3)])
def test_what_is_set_is_told_and_products_are_the_same(count):
    codes = np.random.default_rng(0).integers(-128, 128, (130, 70), np.int8)
    qc.set_num_threads(count)
    assert qc.num_threads() == count
    found = qc.matmul_integer(codes, codes.T)
    assert (found == codes.astype(np.int64) @ codes.T.astype(np.int64)).all()


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_that_cannot_be(count):
    with pytest.raises(ValueError, match=str(count)):
        qc.set_num_threads(count)


@pytest.mark.parametrize("count", [True, 2.0, "2", None])
def test_no_integer(count):
    with pytest.raises(TypeError, match="must be an integer"):
        qc.set_num_threads(count)
