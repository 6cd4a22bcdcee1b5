"""Rotation: products stay, outliers are spread, and networks carry it as a layer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore as qc
from layers import inputs, network
from qcore.estimators.equalization.hadamard import (
    hadamard_matrix,
    largest_order,
    rotate,
    rotated,
    rotation,
)


@pytest.mark.parametrize("order", [1, 2, 4, 8, 12, 20, 24, 28, 36, 44, 128, 300, 784])
def test_matrices_are_hadamard(order):
    matrix = hadamard_matrix(order).astype(np.int64)
    assert set(np.unique(matrix)) <= {-1, 1}
    np.testing.assert_array_equal(matrix @ matrix.T, order * np.eye(order))


def test_unknown_orders_are_refused():
    for order in (3, 6, 92, 100):
        with pytest.raises(ValueError, match=f"order is {order}"):
            hadamard_matrix(order)
    assert [largest_order(n) for n in (1, 7, 10, 100, 128, 300, 784)] == [
        1,
        1,
        2,
        20,
        128,
        300,
        784,
    ]


@settings(deadline=None, max_examples=50)
@given(n=st.integers(1, 70), seed=st.integers(0, 5))
def test_products_stay(n, seed):
    rng = np.random.default_rng(seed)
    x, w = (rng.standard_normal((5, n)).astype(np.float32) for _ in range(2))
    turned = rotate(x, random_state=seed) @ rotate(w, random_state=seed).T
    np.testing.assert_allclose(turned, x @ w.T, atol=1e-4)
    matrix = rotation(n, random_state=seed)
    assert matrix.bits <= 2
    real = matrix.dequantize()
    np.testing.assert_allclose(real @ real.T, np.eye(n), atol=1e-5)
    np.testing.assert_allclose(rotate(x, random_state=seed), x @ real.T, atol=1e-4)


def test_outliers_are_spread():
    rng = np.random.default_rng(0)
    w = rng.standard_t(3, (64, 256)).astype(np.float32)
    off = [np.sum((qc.quantize(v, bits=4, axis=0).dequantize() - v) ** 2) for v in (w, rotate(w))]
    assert off[1] < off[0] / 2
    with pytest.raises(ValueError, match=r"x has shape \(3, 0\)"):
        rotate(np.zeros((3, 0), np.float32))


def test_a_network_computes_the_same():
    net, x = network(), inputs(100)
    turned = rotated(net, ["fc1", "fc3"])
    assert [layer.name for layer in turned.layers] == [
        "fc1_rotation", "fc1", "fc2", "fc3_rotation", "fc3",
    ]  # fmt: skip
    np.testing.assert_allclose(turned.predict_logits(x), net.predict_logits(x), atol=1e-4)


@pytest.mark.parametrize(
    "algorithm", ["hadamard", ("hadamard", "gptq"), {"fc2": "hadamard", "*": ()}]
)
def test_a_quantized_network_saves_and_exports(algorithm, tmp_path):
    net, x = network(), inputs(1000)
    quantizer = qc.Quantizer(4, algorithm=algorithm)
    small = quantizer.fit_transform(net, x)
    exact = net.predict_logits(x)
    assert np.mean((small.predict_logits(x) - exact) ** 2) < 0.05 * exact.var()
    names = [layer.name for layer in small.layers]
    assert ("fc1_rotation" in names) == (not isinstance(algorithm, dict))
    assert "fc2_rotation" in names
    rows = {row["tensor"]: row for row in quantizer.report_.rows}
    assert rows["fc2_rotation.weight"]["float bytes"] == 0
    assert rows["fc2_rotation.weight"]["bytes"] > 0
    small.save(tmp_path / "net")
    back = qc.load(tmp_path / "net")
    np.testing.assert_array_equal(back.predict_logits(x), small.predict_logits(x))
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    session = runtime.InferenceSession(small.to_onnx().SerializeToString())
    found = session.run(["output"], {"input": x})[0]
    # A sum that lies on the edge of a step rounds either way: one code of few values.
    assert np.mean((found - small.predict_proba(x)) ** 2) < 1e-4 * exact.var()


def test_training_and_dicts_refuse_it():
    net, x = network(), inputs(100)
    with pytest.raises(ValueError, match="which is for networks"):
        qc.Quantizer(4, algorithm="hadamard").fit(net.named_weights())
    with pytest.raises(ValueError, match=r"'hadamard'; that is for after training"):
        net.fit(
            x,
            np.zeros((100, 5), np.float32),
            epochs=1,
            quantize=qc.Quantizer(8, algorithm="hadamard"),
        )
