"""Scalings in front of a network stay outside its integers, wherever the network comes from."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

import qcore as qc
from qcore.chain.normalization import Normalization
from qcore.frameworks.affine import AffineChain

CANCER = load_breast_cancer(return_X_y=True)
X32 = CANCER[0].astype(np.float32)


def pipeline(*steps, data=CANCER):
    return make_pipeline(*steps).fit(*data)


def scaled_network():
    """A network whose columns have magnitudes from 1e-3 to 1e6 and means far from 0."""
    rng = np.random.default_rng(0)
    scale = 10.0 ** np.arange(-6, 4)
    chain = AffineChain()
    chain.affine(scale, -50.0 * np.ones(10))
    chain.product(rng.normal(size=(8, 10)))
    chain.activation("relu")
    chain.product(rng.normal(size=(3, 8)))
    X = (rng.normal(size=(400, 10)) + 50) / scale
    return chain.network(), X


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler(), RobustScaler()])
@pytest.mark.parametrize(
    "model", [LogisticRegression(), MLPClassifier((20,), max_iter=60, random_state=0)]
)
@pytest.mark.parametrize("samples", [(), (CANCER[0],), CANCER])
def test_a_scaler_costs_a_pipeline_nothing(scaler, model, samples):
    model = pipeline(scaler, model)
    small = qc.compress(model, *samples)
    assert small.network_.layers[0].weight.bits == 8
    assert small.network_.layers[0].input_qparams is not None
    assert small.score(*CANCER) >= model.score(*CANCER) - 0.01


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_scaler_costs_a_regressor_nothing():
    X, y = load_diabetes(return_X_y=True, scaled=False)
    model = pipeline(
        StandardScaler(),
        MLPRegressor(hidden_layer_sizes=(20,), max_iter=300, random_state=0),
        data=(X, y),
    )
    assert qc.compress(model, X).score(X, y) >= model.score(X, y) - 0.01


def test_float64_samples_are_normalized_before_they_are_rounded():
    mean = 1e9 + np.arange(3)
    net = qc.nn.Sequential.from_arrays([np.eye(3)], [None], layout="in_out", output="linear")
    net = qc.nn.Sequential(net.layers, normalization=Normalization(mean, np.ones(3)))
    X = mean + np.array([[0.25, -0.5, 0.125]])
    assert np.array_equal(net.predict(X), np.float32([[0.25, -0.5, 0.125]]))
    assert net.predict(np.float32([[1, 2, 3]])).dtype == np.float32


def test_a_normalization_survives_copies_files_and_onnx(tmp_path):
    net, X = scaled_network()
    small = qc.compress(net, X)
    expected = small.predict_logits(X)
    spread = net.predict_logits(X).std()
    assert np.abs(expected - net.predict_logits(X)).max() < 0.05 * spread
    assert small.normalization is net.normalization
    assert small.nbytes - net.normalization.nbytes == sum(
        tensor.nbytes for tensor in small.named_weights().values()
    )
    small.save(tmp_path / "small.safetensors")
    loaded = qc.load(tmp_path / "small.safetensors")
    for other in (loaded, small.copy(), pickle.loads(pickle.dumps(small))):  # noqa: S301
        assert np.array_equal(other.predict_logits(X), expected)
        assert np.array_equal(other.normalization.mean, net.normalization.mean)
    X = X.astype(np.float32)
    from_graph = qc.from_onnx(small.to_onnx())
    assert np.array_equal(from_graph.predict_logits(X), small.predict_logits(X))


def test_onnx_runtime_agrees(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    net, X = scaled_network()
    small = qc.compress(net, X)
    X = X.astype(np.float32)
    session = onnxruntime.InferenceSession(small.to_onnx().SerializeToString())
    (found,) = session.run(None, {"input": X})
    assert np.abs(found - small.predict_logits(X)).max() < 1e-4


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_training_sees_normalized_samples(quantize):
    net = qc.from_sklearn(pipeline(StandardScaler(), LogisticRegression(C=1e-4)))
    before = net.score(*CANCER)
    options = {"epochs": 20, "learning_rate": 0.01, "random_state": 0}
    net.fit(*CANCER, quantize=quantize, **options)
    assert net.score(*CANCER) > max(before, 0.97)


def test_every_estimator_sees_normalized_samples():
    net, X = scaled_network()
    expected = net.predict_logits(X)
    for small in (
        qc.Pruner(sparsity=0.1, criterion="sparsegpt").fit_transform(net, X),
        qc.Pruner(sparsity=0.1, criterion="wanda").fit_transform(net, X),
        qc.Quantizer(8, algorithm=("hadamard", "gptq")).fit_transform(net, X),
        qc.Quantizer(8, algorithm=("smoothquant",)).fit_transform(net, X),
        qc.Quantizer((4, 8), target_bits=7).fit_transform(net, X),
    ):
        assert small.normalization is net.normalization
        off = small.predict_logits(X) - expected
        assert np.sqrt(np.mean(off**2)) < 0.1 * expected.std()


def test_a_scale_behind_a_relu_goes_into_the_layer_before():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(6, 4)), rng.normal(size=(2, 6))
    factor = np.array([1e-4, 1.0, -300.0, 0.0, 5.0, -1e3])
    shift = rng.normal(size=6)
    chain = AffineChain()
    chain.product(first)
    chain.affine(1.0, np.ones(6))
    chain.activation("relu")
    chain.affine(factor, shift)
    chain.product(second)
    net = chain.network()
    X = rng.normal(size=(50, 4))
    expected = (np.maximum(X @ first.T + 1, 0) * factor + shift) @ second.T
    assert np.allclose(net.predict(X), expected, rtol=1e-5, atol=1e-3)
    widths = np.abs(net.layers[1].weight).max(axis=0)
    assert widths.max() < 10  # the factors are not here, where one input scale would have to do


def test_a_factor_for_all_columns_is_folded_and_constant_columns_become_a_bias():
    chain = AffineChain()
    chain.affine(1 / 256, 0.0)
    chain.product(np.ones((1, 3)))
    assert chain.network().normalization is None
    chain = AffineChain()
    chain.affine([0.0, 2.0], [3.0, 1.0])
    chain.product(np.array([[10.0, 1.0]]))
    assert chain.network().predict([[7.0, 5.0]]).tolist() == [[41.0]]


@pytest.mark.parametrize("mean", [[0.0, 1.0], np.zeros((1, 1)), [np.nan]])
def test_a_normalization_that_does_not_fit_is_refused(mean):
    net = qc.nn.Sequential.from_arrays([np.eye(3)], [None], layout="in_out")
    with pytest.raises(ValueError, match=r"normalization has 2 means|mean"):
        qc.nn.Sequential(net.layers, normalization=Normalization(mean, 1.0))
