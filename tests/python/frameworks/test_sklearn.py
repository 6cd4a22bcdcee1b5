"""scikit-learn's models as networks, and the estimators that keep them compressed."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_multilabel_classification
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import (
    ElasticNet,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

import qcore as qc

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS = load_iris(return_X_y=True)
DIGITS = load_digits(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)
TWO = (IRIS[0][:100], np.array(["old", "new"])[IRIS[1][:100]])
PAIRS = make_multilabel_classification(80, 6, n_classes=3, random_state=0)


def mlp(*hidden, **options):
    return MLPClassifier(hidden, max_iter=40, random_state=0, **options)


CLASSIFIERS = {
    "mlp": (mlp(20), DIGITS),
    "mlp_deep_tanh": (mlp(16, 12, 8, activation="tanh"), DIGITS),
    "mlp_logistic": (mlp(9, activation="logistic"), IRIS),
    "mlp_identity": (mlp(5, activation="identity"), IRIS),
    "mlp_two": (mlp(6), TWO),
    "logistic": (LogisticRegression(), IRIS),
    "logistic_two": (LogisticRegression(), TWO),
    "logistic_liblinear": (LogisticRegression(solver="liblinear"), TWO),
    "sgd_two": (SGDClassifier(loss="log_loss", random_state=0), TWO),
    "lda": (LinearDiscriminantAnalysis(), IRIS),
    "lda_two": (LinearDiscriminantAnalysis(), TWO),
    "standard": (make_pipeline(StandardScaler(), mlp(8)), IRIS),
    "scalers": (make_pipeline(MinMaxScaler(), "passthrough", RobustScaler(), mlp(8)), IRIS),
    "half_scaler": (make_pipeline(StandardScaler(with_mean=False), mlp(8)), IRIS),
    "no_scale": (make_pipeline(StandardScaler(with_std=False), mlp(8)), IRIS),
    "nested": (make_pipeline(MaxAbsScaler(), make_pipeline(StandardScaler(), mlp(8))), DIGITS),
    "search": (GridSearchCV(mlp(8), {"alpha": [1e-4, 1e-3]}, cv=2), IRIS),
}
MARGINS = {
    "svc": (LinearSVC(random_state=0), IRIS),
    "svc_two": (LinearSVC(random_state=0), TWO),
    "ridge": (RidgeClassifier(), IRIS),
    "sgd": (SGDClassifier(random_state=0), IRIS),
    "sgd_log": (SGDClassifier(loss="log_loss", random_state=0), IRIS),
}
REGRESSORS = {
    "mlp": (MLPRegressor(hidden_layer_sizes=(16,), max_iter=40, random_state=0), DIABETES),
    "mlp_two": (
        MLPRegressor(hidden_layer_sizes=(16, 8), activation="tanh", max_iter=40, random_state=0),
        PAIRS,
    ),
    "linear": (LinearRegression(), DIABETES),
    "linear_two": (LinearRegression(fit_intercept=False), PAIRS),
    "ridge": (Ridge(), DIABETES),
    "elastic": (ElasticNet(0.01), DIABETES),
    "svr": (LinearSVR(random_state=0), DIABETES),
    "pipeline": (make_pipeline(StandardScaler(), Ridge()), IRIS),
}


def fitted(case):
    estimator, (X, y) = case
    return clone(estimator).fit(X, y), np.asarray(X, np.float32), y


def assert_close(found, expected):
    assert np.abs(found - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())


@parametrize_with_checks(
    [
        qc.sklearn.CompressedClassifier(),
        qc.sklearn.CompressedRegressor(),
        qc.sklearn.CompressedClassifier(LogisticRegression()),
        qc.sklearn.CompressedRegressor(Ridge(), bits=6),
    ]
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_becomes_a_network(name):
    model, X, _ = fitted(CLASSIFIERS[name])
    net = qc.from_sklearn(model)
    expected = model.predict_proba(X)
    found = net.predict_proba(X)
    assert_close(found, expected if found.shape[1] > 1 else expected[:, 1:])
    assert np.array_equal(net.predict(X), model.predict(X))
    assert net.predict(X).dtype == model.predict(X).dtype


@pytest.mark.parametrize("name", MARGINS)
def test_a_classifier_without_probabilities_keeps_its_decisions(name):
    model, X, _ = fitted(MARGINS[name])
    net = qc.from_sklearn(model)
    assert_close(net.predict_logits(X).reshape(len(X), -1).squeeze(), model.decision_function(X))
    assert np.array_equal(net.predict(X), model.predict(X))


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_becomes_a_network(name):
    model, X, y = fitted(REGRESSORS[name])
    net = qc.from_sklearn(model)
    assert_close(net.predict(X).squeeze(), model.predict(X))
    if y.ndim == 1:
        assert net.score(X, y) == pytest.approx(model.score(X, y), abs=1e-5)


def test_several_labels_at_once():
    X, y = PAIRS
    model = mlp(12).fit(X, y)
    assert_close(qc.from_sklearn(model).predict_proba(X), model.predict_proba(X))
    small = qc.compress(model, X)
    assert small.predict(X).shape == y.shape
    assert np.mean(small.predict(X) == model.predict(X)) > 0.97


def test_compress_gives_an_estimator_back():
    model, X, y = fitted(CLASSIFIERS["mlp"])
    small = qc.compress(model, X, bits=8)
    assert isinstance(small, qc.sklearn.CompressedClassifier)
    assert small.score(X, y) > model.score(X, y) - 0.01
    assert small.network_.layers[0].weight.bits == 8
    assert small.report_.totals["bytes"] < 0.3 * small.report_.totals["float bytes"]
    assert_close(small.predict_proba(X).sum(axis=1), np.ones(len(X)))
    regressor, X, y = fitted(REGRESSORS["ridge"])
    assert isinstance(qc.compress(regressor), qc.sklearn.CompressedRegressor)


def test_probabilities_of_one_versus_rest():
    model, X, y = fitted(MARGINS["sgd_log"])
    small = qc.sklearn.CompressedClassifier(model, bits=None, sparsity=0.0).fit(X, y)
    assert np.allclose(small.predict_proba(X), clone(model).fit(X, y).predict_proba(X), atol=1e-5)
    assert not hasattr(qc.sklearn.CompressedClassifier(LinearSVC()), "predict_proba")


def test_in_scikit_learns_tools():
    X, y = IRIS
    model = make_pipeline(StandardScaler(), qc.sklearn.CompressedClassifier(LogisticRegression()))
    assert cross_val_score(model, X, y, cv=3).mean() > 0.8
    search = GridSearchCV(
        qc.sklearn.CompressedClassifier(LogisticRegression(max_iter=500)),
        {"bits": [2, 8], "estimator__C": [1.0]},
        cv=3,
        scoring="neg_log_loss",
    ).fit(X, y)
    assert search.best_params_["bits"] == 8
    assert isinstance(cross_val_score(qc.compress(mlp(8).fit(X, y)), X, y, cv=3).mean(), float)


def test_a_seed_reaches_every_nested_random_state():
    X, y = IRIS
    trainee = make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=20))
    outputs = [
        qc.sklearn.CompressedClassifier(trainee, random_state=seed).fit(X, y).decision_function(X)
        for seed in (3, 3, 4)
    ]
    assert np.array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])
    assert trainee[-1].random_state is None


def test_pickles_hold_no_floats_of_the_estimator():
    X, y = DIGITS
    model = mlp(128).fit(X, y)
    small = qc.compress(model, X)
    data = pickle.dumps(small)
    assert len(data) < 0.3 * len(pickle.dumps(model))
    assert np.array_equal(pickle.loads(data).predict(X), small.predict(X))  # noqa: S301


def test_samples_of_any_kind_predict_alike():
    X, y = DIGITS
    small = qc.compress(mlp(16).fit(X, y), X)
    expected = small.decision_function(X)
    for samples in (X.astype(np.float32), X.astype(int), np.asfortranarray(X), X.tolist()):
        assert np.array_equal(small.decision_function(samples), expected)
    for bad in (np.nan, np.inf, 1e300):
        broken = X.copy()
        broken[3, 5] = bad
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            small.predict(broken)
    huge = np.full((1, 64), 3e38)  # finite, and its sum is not
    assert small.predict(huge).shape == (1,)
    with pytest.raises(ValueError, match="64 features"):
        small.predict(X[:, :10])


@pytest.mark.parametrize("kind", ["CompressedClassifier", "CompressedRegressor"])
def test_every_option_of_compress_is_an_estimators(kind):
    options = inspect.signature(qc.compress).parameters
    ours = inspect.signature(getattr(qc.sklearn, kind)).parameters
    for name, option in options.items():
        if option.kind is option.KEYWORD_ONLY and name not in NOT_FOR_ESTIMATORS:
            assert ours[name].default == option.default, name


# What only files have, and what only training to a target takes.
NOT_FOR_ESTIMATORS = {
    "output", "file_format", "dask", "target_bytes", "target_ratio", "min_score",
    "max_bytes", "max_tensors", "max_name_bytes", "lossless",
}  # fmt: skip
NOT_FOR_ESTIMATORS |= {"validation_data", "folder"}


def test_what_is_refused():
    X, y = IRIS
    with pytest.raises(ValueError, match="MLPClassifier is not fitted"):
        qc.from_sklearn(MLPClassifier())
    with pytest.raises(ValueError, match="StandardScaler is not fitted"):
        qc.from_sklearn(make_pipeline(StandardScaler(), mlp(3)))
    with pytest.raises(TypeError, match="DecisionTreeClassifier; it must be"):
        qc.from_sklearn(DecisionTreeClassifier().fit(X, y))
    with pytest.raises(TypeError, match="PoissonRegressor"):  # its output is an exponential
        qc.from_sklearn(PoissonRegressor().fit(X, y))
    with pytest.raises(TypeError, match="step Normalizer"):
        qc.from_sklearn(make_pipeline(Normalizer(), LogisticRegression()).fit(X, y))
    with pytest.raises(TypeError, match="step MinMaxScaler"):
        qc.from_sklearn(make_pipeline(MinMaxScaler(clip=True), LogisticRegression()).fit(X, y))
    with pytest.raises(TypeError, match="estimator is int"):
        qc.from_sklearn(3)


def test_without_scikit_learn_a_sentence_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None; import qcore as qc; qc.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "qcore.sklearn needs sklearn" in done.stderr
    assert "pip install 'qcore-cpu[sklearn]'" in done.stderr.splitlines()[-1]


def test_a_network_knows_that_its_probabilities_are_one_versus_rest(tmp_path):
    X, y = IRIS
    model = SGDClassifier(loss="log_loss", random_state=0).fit(X, y)
    net = qc.from_sklearn(model)
    assert net.one_versus_rest
    np.testing.assert_allclose(net.predict_proba(X), model.predict_proba(X), atol=1e-5)
    net.save(tmp_path / "net")
    np.testing.assert_array_equal(qc.load(tmp_path / "net").predict_proba(X), net.predict_proba(X))
    small = qc.compress(net, X)
    assert np.abs(small.predict_proba(X) - model.predict_proba(X)).mean() < 0.02
    assert small.one_versus_rest
    with pytest.raises(ValueError, match="one_versus_rest"):
        net.to_onnx()
    with pytest.raises(ValueError, match="modified_huber"):
        qc.from_sklearn(SGDClassifier(loss="modified_huber", random_state=0).fit(X, y))
