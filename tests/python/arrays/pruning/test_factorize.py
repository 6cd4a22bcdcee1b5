"""`qcore.factorize` against the singular values."""

from dataclasses import dataclass

import numpy as np
import pytest

import qcore as qc


@dataclass
class Stats:
    gram: np.ndarray
    count: int


def matrix(rows=12, columns=20, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


@pytest.mark.parametrize("rank", [0, 1, 5, 12])
def test_the_error_is_that_of_the_singular_values_left_out(rank):
    w = matrix()
    parts = qc.factorize(w, rank=rank)
    left_out = np.linalg.svd(w.astype(np.float64), compute_uv=False)[rank:]
    assert np.sum((parts.to_dense() - w) ** 2) == pytest.approx(
        np.sum(left_out**2), rel=1e-4, abs=1e-8
    )
    assert (parts.left.shape, parts.right.shape) == ((12, rank), (rank, 20))
    assert parts.rank == rank
    assert parts.nbytes == 4 * rank * 32


def test_energy_takes_the_least_rank():
    w = np.diag([4.0, 2.0, 1.0]).astype(np.float32)
    for energy, rank in ((0.7, 1), (16 / 21, 1), (0.8, 2), (20.5 / 21, 3), (1.0, 3)):
        parts = qc.factorize(w, energy=energy)
        assert parts.rank == rank
        assert parts.energy >= energy - 1e-9


@pytest.mark.parametrize("group_size", [None, 8])
def test_a_quantized_residual_is_better_than_quantizing_alone(group_size):
    rng = np.random.default_rng(0)
    strong = 30 * np.outer(rng.standard_normal(64), rng.standard_normal(48))
    w = (strong + rng.standard_normal((64, 48))).astype(np.float32)
    parts = qc.factorize(w, rank=1, residual_bits=4, group_size=group_size)
    layout = {"axis": 0} if group_size is None else {"group_size": group_size}
    alone = qc.quantize(w, bits=4, **layout).dequantize()
    assert np.sum((np.asarray(parts) - w) ** 2) < 0.1 * np.sum((alone - w) ** 2)
    assert parts.nbytes == 4 * (64 + 48) + parts.residual.nbytes


def test_statistics_lower_the_error_of_the_output():
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((500, 20)) * np.linspace(0.01, 3, 20)).astype(np.float64)
    w = matrix()
    plain = qc.factorize(w, rank=4)
    seen = qc.factorize(w, rank=4, stats=Stats(x.T @ x, len(x)))

    def error(parts):
        return np.sum((x @ (parts.to_dense() - w).T) ** 2)

    assert error(seen) < 0.8 * error(plain)
    whole = qc.factorize(w, rank=12, stats=Stats(x.T @ x, len(x)))
    np.testing.assert_allclose(whole.to_dense(), w, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "rank is None and energy is None"),
        ({"rank": 1, "energy": 0.5}, ValueError, "give one of them"),
        ({"rank": 13}, ValueError, "rank is 13; it must be 0 to 12"),
        ({"rank": 1.5}, TypeError, "rank is 1.5"),
        ({"energy": 1.5}, ValueError, "energy is 1.5"),
        ({"rank": 1, "residual_bits": 9}, ValueError, "residual_bits is 9"),
        ({"rank": 1, "stats": Stats(np.eye(3), 1)}, ValueError, "w has 20 inputs"),
    ],
)
def test_options_that_do_not_fit(options, error, message):
    with pytest.raises(error, match=message):
        qc.factorize(matrix(), **options)


def test_matrices_that_do_not_fit():
    with pytest.raises(ValueError, match="must be a matrix"):
        qc.factorize(np.ones(3), rank=1)
    with pytest.raises(ValueError, match=r"w\[0, 1\] is nan"):
        qc.factorize(np.array([[1.0, np.nan]]), rank=1)


def test_factors_and_codes_are_fitted_to_each_other():
    rng = np.random.default_rng(2)
    x = np.maximum(rng.standard_normal((600, 9)) @ rng.standard_normal((9, 40)), 0)
    stats = qc.InputStats().update(x[:400].astype(np.float32))
    w = matrix(24, 40)

    def error(parts):
        return np.sum((x[400:] @ (np.asarray(parts, np.float64) - w).T) ** 2)

    parts = qc.factorize(w, rank=3, residual_bits=2, stats=stats)
    factors = qc.factorize(w, rank=3, stats=stats)
    rest = (w - factors.to_dense()).astype(np.float32)
    at_once = factors.to_dense() + qc.quantize(rest, bits=2, axis=0, observer="mse").dequantize()
    assert error(parts) < 0.5 * error(at_once)
    assert error(parts) < error(factors)


def test_factors_of_half_the_bytes():
    w = matrix()
    whole, half = (
        qc.factorize(w, rank=5, residual_bits=4, dtype=dtype) for dtype in (np.float32, np.float16)
    )
    assert half.left.dtype == half.right.dtype == np.float16
    assert whole.nbytes - half.nbytes == 2 * 5 * 32
    assert np.asarray(half).dtype == np.float32
    np.testing.assert_allclose(np.asarray(half), np.asarray(whole), atol=0.3)
    with pytest.raises(TypeError, match="float32 or float16"):
        qc.factorize(w, rank=5, dtype=np.int8)
