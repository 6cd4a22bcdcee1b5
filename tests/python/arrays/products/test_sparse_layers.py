"""Sparse matrices in files, layers and networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse

import qcore as qc
from qcore.arrays.products.crossover import CROSSOVER
from qcore.arrays.products.weights import packed_weights
from sparse_parts import DTYPES, random_dense


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(30, 40), (0, 5), (5, 0), (1, 1), (2, 10**12), (10**6, 3)])
def test_a_file_gives_it_back(tmp_path: Any, dtype: Any, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    nnz = min(shape[0] * shape[1] // 3 + 1, 100) if min(shape) else 0
    row, col = (rng.integers(0, max(length, 1), nnz) for length in shape)
    s = qc.CsrMatrix.from_coo(np.zeros(nnz, dtype), row, col, shape=shape)
    values = random_dense(rng, (s.nnz,), dtype, 0.9)
    s = qc.CsrMatrix(values, s.indices, s.indptr, shape=shape)
    qc.save(tmp_path / "s", s)
    assert qc.load(tmp_path / "s") == s
    qc.save(tmp_path / "d", {"a": s, "b": np.ones(2)})
    assert qc.load(tmp_path / "d")["a"] == s
    assert qc.load_tensors(tmp_path / "d")["a"] == s


def test_a_matrix_takes_no_more_room_in_a_file_than_its_arrays(tmp_path: Any) -> None:
    rng = np.random.default_rng(6)
    for density in (0.001, 0.05, 0.5):
        s = qc.CsrMatrix.from_dense(random_dense(rng, (200, 300), np.int8, density))
        qc.save(tmp_path / "s", s)
        assert (tmp_path / "s").stat().st_size < s.nbytes + 300


def test_scipy_agrees() -> None:
    rng = np.random.default_rng(7)
    matrix = scipy.sparse.random_array((50, 60), density=0.1, dtype=np.float64, rng=rng)
    s = qc.CsrMatrix.from_scipy(matrix)
    x = rng.normal(0, 1, (60, 5))
    np.testing.assert_allclose(s @ x, matrix @ x, rtol=1e-12, atol=1e-12)
    with pytest.raises(TypeError, match="matrix is list"):
        qc.CsrMatrix.from_scipy([[1]])


def test_a_matrix_in_a_checkpoint_is_compressed_like_its_array(tmp_path: Any) -> None:
    dense = random_dense(np.random.default_rng(8), (30, 40), np.float32, 0.2)
    qc.save(tmp_path / "a.safetensors", {"w": qc.CsrMatrix.from_dense(dense)})
    qc.compress(tmp_path / "a.safetensors", output=tmp_path / "b.safetensors", bits=8)
    small = qc.load(tmp_path / "b.safetensors")["w"]
    assert np.array_equal(small.values, qc.quantize(dense, axis=0).values)


@pytest.mark.parametrize("activation", ["linear", "relu", "sigmoid", "tanh", "softmax"])
def test_a_layer_of_a_sparse_matrix_is_that_of_its_array(activation: str) -> None:
    rng = np.random.default_rng(9)
    dense = random_dense(rng, (50, 80), np.float32, 0.1)
    bias = rng.normal(0, 1, 50).astype(np.float32)
    s = qc.CsrMatrix.from_dense(dense)
    for shape in ((80,), (1, 80), (3, 80), (2, 35, 80)):
        x = rng.normal(0, 1, shape).astype(np.float32)
        found = qc.linear(x, s, bias, activation)
        np.testing.assert_allclose(
            found, qc.linear(x, dense, bias, activation), rtol=1e-5, atol=1e-5
        )
        out = np.empty_like(found)
        assert qc.linear(x, s, bias, activation, out=out) is out
        assert np.array_equal(out, found)


@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 200])
def test_pruned_integers_give_what_dense_kernels_give(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(10)
    dense = random_dense(rng, (50, 80), np.float32, 0.1)
    bias = rng.normal(0, 1, 50).astype(np.float32)
    x = rng.normal(0, 1, (rows, 80)).astype(np.float32)
    q = qc.quantize(dense, axis=0)
    assert packed_weights(q, "dynamic").kernel == "sparse int8"
    found = qc.linear(x, q, bias, "relu")
    s = qc.CsrMatrix.from_dense(q.values)
    assert np.array_equal(qc.linear(x, s, bias, "relu", scale=q.scale), found)
    for kind in list(CROSSOVER):
        monkeypatch.delitem(CROSSOVER, kind)
    again = qc.quantize(dense, axis=0)
    assert packed_weights(again, "dynamic").kernel == "dense int8"
    assert np.array_equal(qc.linear(x, again, bias, "relu"), found)


def test_weights_that_no_layer_takes_are_refused() -> None:
    x = np.ones((1, 2), np.float32)
    eye = np.eye(2)
    with pytest.raises(TypeError, match="w has dtype float64"):
        qc.linear(x, qc.CsrMatrix.from_dense(eye))
    with pytest.raises(ValueError, match="it needs scale"):
        qc.linear(x, qc.CsrMatrix.from_dense(eye.astype(np.int8)))
    with pytest.raises(ValueError, match=r"scale has shape \(3,\)"):
        qc.linear(x, qc.CsrMatrix.from_dense(eye.astype(np.int8)), scale=[1.0, 1.0, 1.0])
    for w in (eye, qc.CsrMatrix.from_dense(eye.astype(np.float32))):
        with pytest.raises(ValueError, match="scale is given"):
            qc.linear(x, w, scale=1.0)


@pytest.mark.parametrize("activations", ["static", "dynamic"])
def test_a_pruned_network_gives_what_dense_kernels_give(
    activations: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(11)
    layers = [random_dense(rng, shape, np.float32, 0.15) for shape in ((60, 90), (30, 60), (7, 30))]
    biases = [rng.normal(0, 1, len(w)).astype(np.float32) for w in layers]
    net = qc.nn.Sequential.from_arrays(layers, biases, layout="out_in", activation="relu")
    x = rng.normal(0, 1, (150, 90)).astype(np.float32)
    sparse = qc.Quantizer(activations=activations).fit_transform(net, x)
    assert sparse.kernels == ["sparse int8"] * 3
    found = [sparse.predict_logits(x[:rows]) for rows in (1, 2, 64, 150)]
    assert np.array_equal(found[0], found[3][:1])
    for kind in list(CROSSOVER):
        monkeypatch.delitem(CROSSOVER, kind)
    dense = qc.Quantizer(activations=activations).fit_transform(net, x)
    assert dense.kernels == ["dense int8"] * 3
    for rows, logits in zip((1, 2, 64, 150), found, strict=True):
        assert np.array_equal(dense.predict_logits(x[:rows]), logits)


def test_a_pruned_float_network_runs_on_sparse_kernels() -> None:
    rng = np.random.default_rng(12)
    layers = [random_dense(rng, (60, 90), np.float32, 0.1), random_dense(rng, (7, 60), np.float32)]
    biases = [np.zeros(len(w), np.float32) for w in layers]
    net = qc.nn.Sequential.from_arrays(layers, biases, layout="out_in", activation="relu")
    assert net.kernels == ["sparse float32", "dense float32"]
    x = rng.normal(0, 1, (70, 90)).astype(np.float32)
    wanted = np.maximum(x @ layers[0].T, 0) @ layers[1].T
    np.testing.assert_allclose(net.predict_logits(x), wanted, rtol=1e-4, atol=1e-4)
