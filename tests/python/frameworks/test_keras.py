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


def test_what_there_is_not_is_listed():
    convolution = keras.Sequential([keras.Input((20, 1)), L.Conv1D(2, 3)])
    mish = keras.Sequential([keras.Input((20,)), L.Dense(2, activation="mish")])
    for model, reason in ((convolution, r"Conv1D \(1 node"), (mish, "activation mish")):
        with pytest.raises(qc.UnsupportedError, match=reason):
            qc.from_keras(model)
    with pytest.raises(TypeError, match="model is int"):
        qc.from_keras(3)


def same(model, net, x):
    expected = np.asarray(model.predict_on_batch(x))
    assert isinstance(net, qc.Graph)
    assert np.abs(net(x) - expected).max() <= 1e-5 * np.abs(expected).max()


def test_branches_and_layers_used_again():
    start = keras.Input((20,))
    shared = L.Dense(20, activation="gelu")
    once = shared(start)
    model = randomized(keras.Model(start, L.Dense(3)(L.Add()([shared(once), once]))))
    same(model, qc.from_keras(model), X)


def test_convolutional_models():
    start = keras.Input((9, 8, 3))
    h = L.Conv2D(8, 3, strides=2, padding="same")(L.Rescaling(0.5, -0.1)(start))
    h = L.ReLU(6.0)(L.BatchNormalization()(h))
    side = L.DepthwiseConv2D(3, padding="same", activation="silu")(h)
    h = L.Concatenate()([L.Add()([h, side]), L.MaxPooling2D(2, 1, padding="same")(h)])
    h = L.LayerNormalization()(L.Conv2D(6, 2, groups=2)(L.ZeroPadding2D(((1, 0), (0, 1)))(h)))
    gate = L.Dense(6, activation="sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(h))
    flat = L.Flatten()(L.Multiply()([h, gate]))
    model = randomized(keras.Model(start, L.Dense(4, activation="softmax")(flat)))
    net = qc.from_keras(model)
    assert net.inputs[0].shape == ("batch", 9, 8, 3)
    same(model, net, np.random.default_rng(2).normal(size=(3, 9, 8, 3)).astype(np.float32))


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
