"""Layers and networks: building, weights, prediction, errors."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import qcore as qc
from qcore.nn import Dense, Sequential


def test_layouts_give_the_same_layer() -> None:
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = np.array([[1.0, 2.0, 3.0]], np.float32)
    for layer in (
        Dense.from_weights(w, [1.0, 2.0], layout="out_in"),
        Dense.from_weights(w.T, [1.0, 2.0], layout="in_out"),
        Dense.from_weights(w.astype(">f8"), [1.0, 2.0], layout="out_in"),
    ):
        assert (layer.in_features, layer.out_features) == (3, 2)
        np.testing.assert_allclose(layer.forward(x), x @ w.T + [[1, 2]])
    with pytest.raises(TypeError, match="layout"):
        Dense.from_weights(w)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="layout is 'torch'"):
        Dense.from_weights(w, layout="torch")


def test_from_arrays_matches_plain_numpy() -> None:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=s).astype(np.float32) for s in [(5, 8), (8, 4)]]
    biases = [rng.normal(size=s).astype(np.float32) for s in [8, 4]]
    net = Sequential.from_arrays(weights, biases, layout="in_out")
    x = rng.normal(size=(6, 5)).astype(np.float32)
    hidden = np.maximum(x @ weights[0] + biases[0], 0)
    logits = hidden @ weights[1] + biases[1]
    exact = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(net.predict_proba(x), exact, rtol=1e-5)
    np.testing.assert_allclose(net.predict_logits(x), logits, rtol=1e-4, atol=1e-5)
    assert np.array_equal(net.predict(x), exact.argmax(axis=1))


def test_inputs_of_any_layout_predict_the_same() -> None:
    rng = np.random.default_rng(0)
    net = Sequential.from_arrays([rng.normal(size=(3, 2))], [None], layout="in_out")
    x = rng.normal(size=(8, 3)).astype(np.float32)
    wide = np.zeros((16, 6), np.float32)
    wide[::2, ::2] = x
    for other in (wide[::2, ::2], np.asfortranarray(x), x.astype(">f4"), x.astype(np.float64)):
        assert np.array_equal(net.predict_proba(other), net.predict_proba(x))


def test_names_weights_and_copies() -> None:
    net = Sequential([Dense(3, 4, "relu"), Dense(4, 2, "softmax", name="head", use_bias=False)])
    with pytest.raises(ValueError, match="fc1 has no weights yet"):
        net.predict(np.zeros((1, 3), np.float32))
    net.fit(np.zeros((4, 3), np.float32), [0, 1, 0, 1], epochs=1, random_state=0)
    assert list(net.named_weights()) == ["fc1.weight", "fc1.bias", "head.weight"]
    changed = net.with_weights({"head.weight": np.ones((2, 4), np.float32)})
    assert changed.layers[1].weight.min() == 1
    assert net.layers[1].weight.min() < 1
    with pytest.raises(ValueError, match=r"no tensor .fc9\.weight"):
        net.with_weights({"fc9.weight": np.ones((2, 4))})
    with pytest.raises(ValueError, match="has shape"):
        net.with_weights({"head.weight": np.ones((4, 2), np.float32)})
    again = pickle.loads(pickle.dumps(net))  # noqa: S301
    x = np.ones((2, 3), np.float32)
    assert np.array_equal(again.predict_proba(x), net.predict_proba(x))


def test_structures_that_cannot_run_are_refused() -> None:
    with pytest.raises(ValueError, match="fc1 gives 4 values, fc2 takes 5"):
        Sequential([Dense(3, 4), Dense(5, 2)])
    with pytest.raises(ValueError, match="only the last layer"):
        Sequential([Dense(3, 4, "softmax"), Dense(4, 2)])
    with pytest.raises(ValueError, match="at least one"):
        Sequential([])
    with pytest.raises(ValueError, match="share a name"):
        Sequential([Dense(3, 3, name="a"), Dense(3, 3, name="a")])
    with pytest.raises(ValueError, match="activation is 'gelu'"):
        Dense(3, 4, "gelu")
    with pytest.raises(TypeError, match=r"layers\[0\] is int"):
        Sequential([3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"weight\[0, 1\] is inf"):
        Dense.from_weights([[1.0, np.inf]], layout="out_in")
    net = Sequential.from_arrays([np.ones((3, 2), np.float32)], [None], layout="in_out")
    with pytest.raises(ValueError, match=r"X has shape \(3,\)"):
        net.predict(np.zeros(3, np.float32))


def test_quantizer_reports_and_leaves_the_network_alone() -> None:
    rng = np.random.default_rng(0)
    net = Sequential.from_arrays(
        [rng.normal(size=(6, 5)), rng.normal(size=(5, 3))],
        [np.zeros(5), np.zeros(3)],
        layout="in_out",
    )
    X = rng.normal(size=(50, 6)).astype(np.float32)
    quantizer = qc.Quantizer({"fc1": 8, "*": 4})
    small = quantizer.fit_transform(net, X)
    assert isinstance(net.layers[0].weight, np.ndarray)
    assert [layer.weight.bits for layer in small.layers] == [8, 4]
    assert small.layers[0].input_qparams.signed is False
    rows = {row["tensor"]: row for row in quantizer.report_.rows}
    assert rows["fc1.weight"]["SQNR dB"] > rows["fc2.weight"]["SQNR dB"] > 10
    assert "fc1.weight" in str(quantizer.report_)
    dynamic = qc.Quantizer().fit_transform(net)
    assert dynamic.layers[0].input_qparams == "dynamic"
    with pytest.raises(ValueError, match="needs samples"):
        qc.Quantizer(activations="static").fit(net)
    with pytest.raises(ValueError, match="not fitted"):
        qc.Quantizer().transform(net)


def test_the_quantizer_is_a_scikit_learn_estimator() -> None:
    base = pytest.importorskip("sklearn.base")
    quantizer = qc.Quantizer(4, ignore=["re:^head"])
    copy = base.clone(quantizer)
    assert copy is not quantizer
    assert copy.get_params() == quantizer.get_params()
    assert repr(copy) == "Quantizer(bits=4, ignore=['re:^head'])"
    with pytest.raises(ValueError, match="beats is not a parameter"):
        quantizer.set_params(beats=3)
