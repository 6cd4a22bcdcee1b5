"""Keras' models as networks; runs where Keras and a backend are installed."""

from __future__ import annotations

import os

import numpy as np
import pytest

import qcore as qc

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
keras = pytest.importorskip("keras")
L = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore")  # what warns is Keras' own
X = np.random.default_rng(0).normal(0, 1, (50, 20)).astype(np.float32)


def randomized(model):
    """Give every weight, moving averages too, a value that shows where it goes."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        layer.set_weights(
            [rng.uniform(0.1, 1, w.shape) - 0.4 * (w.ndim > 1) for w in layer.get_weights()]
        )
    return model


def normalization():
    layer = L.Normalization()
    layer.adapt(X * 3 + 1)
    return layer


def models():
    inner = keras.Input((20,))
    hidden = L.Dense(9, activation="relu")(inner)
    return {
        "one": [L.Dense(3)],
        "no_bias": [L.Dense(3, use_bias=False)],
        "relu": [L.Dense(16, activation="relu"), L.Dense(4, activation="softmax")],
        "tanh": [L.Dense(16, activation="tanh"), L.Dense(8, activation="tanh"), L.Dense(1)],
        "sigmoid": [L.Dense(16, activation="sigmoid"), L.Dense(1, activation="sigmoid")],
        "separate": [L.Flatten(), L.Dense(9), L.ReLU(), L.Dropout(0.5), L.Dense(3), L.Softmax()],
        "activation": [L.Dense(9), L.Activation("tanh"), L.Dense(3)],
        "norm_after": [L.Dense(9), L.BatchNormalization(), L.ReLU(), L.Dense(3)],
        "norm_before": [
            L.Dense(9, activation="relu"),
            L.BatchNormalization(scale=False),
            L.Dense(3),
        ],
        "rescaled": [L.Rescaling(0.5, 0.25), L.Dense(3)],
        "functional": keras.Model(inner, L.Dense(3)(hidden)),
    }


@pytest.mark.parametrize("name", models())
def test_the_output_is_the_models(name):
    model = models()[name]
    if isinstance(model, list):
        model = keras.Sequential([keras.Input((20,)), *model])
    randomized(model)
    net = qc.from_keras(model)
    expected = np.asarray(model.predict(X, verbose=0))
    assert np.abs(net.predict_proba(X) - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


def test_an_adapted_normalization():
    model = keras.Sequential([keras.Input((20,)), normalization(), L.Dense(3)])
    expected = np.asarray(model.predict(X, verbose=0))
    assert np.abs(qc.from_keras(model).predict(X) - expected).max() <= 1e-5


def test_get_weights():
    model = keras.Sequential([keras.Input((20,)), L.Dense(7, activation="relu"), L.Dense(3)])
    arrays = model.get_weights()
    net = qc.nn.Sequential.from_arrays(
        arrays[0::2], arrays[1::2], layout="in_out", activation="relu", output="linear"
    )
    assert np.abs(net.predict(X) - np.asarray(model.predict(X, verbose=0))).max() <= 1e-5


def test_what_no_dense_network_does():
    inner = keras.Input((20,))
    first = L.Dense(20)(inner)
    branched = keras.Model(inner, L.Add()([first, inner]))
    convolution = keras.Sequential([keras.Input((20, 1)), L.Conv1D(2, 3)])
    gelu = keras.Sequential([keras.Input((20,)), L.Dense(2, activation="gelu")])
    for model, reason in (
        (branched, "Add does what no dense|no chain"),
        (convolution, "Conv1D does what no dense"),
        (gelu, "its activation is gelu"),
    ):
        with pytest.raises(ValueError, match=reason):
            qc.from_keras(model)
    with pytest.raises(TypeError, match="model is int"):
        qc.from_keras(3)


def test_adapters_are_part_of_the_weights():
    model = randomized(keras.Sequential([keras.Input((20,)), L.Dense(8), L.Dense(3)]))
    model.layers[0].enable_lora(2)
    for part in (model.layers[0].lora_kernel_a, model.layers[0].lora_kernel_b):
        part.assign(np.full(part.shape, 0.3, np.float32))
    expected = model.predict_on_batch(X)
    assert np.abs(qc.from_keras(model).predict_proba(X) - expected).max() < 1e-4
    assert qc.compress(model).layers[0].weight.bits == 8


def test_a_normalization_that_is_inverted():
    layer = L.Normalization(invert=True)
    layer.adapt(X * 3 + 1)
    model = keras.Sequential([keras.Input((20,)), layer, L.Dense(3)])
    expected = model.predict_on_batch(X)
    assert np.abs(qc.from_keras(model).predict_proba(X) - expected).max() < 1e-3


def test_a_layer_that_is_used_twice_is_refused():
    start = keras.Input((20,))
    shared = L.Dense(20, activation="relu")
    model = keras.Model(start, L.Dense(3)(shared(shared(start))))
    with pytest.raises(ValueError, match=r"twice|fed by|no chain"):
        qc.from_keras(model)
