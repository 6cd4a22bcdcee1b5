"""What users of scikit-learn expect of a compressed estimator besides predictions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import qcore as qc
from qcore.report.compare.comparison import compare

X, Y = load_breast_cancer(return_X_y=True)
MODEL = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def test_logarithms_of_probabilities():
    small = qc.sklearn.CompressedClassifier(MODEL).fit(X, Y)
    assert np.allclose(np.exp(small.predict_log_proba(X)), small.predict_proba(X))


def test_bits_of_none_leave_floats():
    small = qc.sklearn.CompressedClassifier(MODEL, bits=None).fit(X, Y)
    assert small.network_.layers[0].weight.dtype == np.float32
    assert small.score(X, Y) == MODEL.fit(X, Y).score(X, Y)


def test_save_and_compare_take_fitted_estimators(tmp_path):
    model = MODEL.fit(X, Y)
    small = qc.compress(model, X)
    qc.save(tmp_path / "small.safetensors", small)
    loaded = qc.load(tmp_path / "small.safetensors")
    assert np.array_equal(loaded.predict(X), small.predict(X))
    found = compare(model, small, X.astype(np.float32), Y)
    assert found.outputs.before == pytest.approx(model.score(X, Y))


def test_one_row_does_not_ask_scikit_learn_for_tags(monkeypatch):
    small = qc.compress(MODEL.fit(X, Y), X)
    monkeypatch.setattr(type(small), "__sklearn_tags__", None)
    assert small.predict(X[:1]).shape == (1,)


def test_a_refusal_says_where_the_compressed_model_goes():
    model = make_pipeline(PCA(5), LogisticRegression(max_iter=5000)).fit(X, Y)
    with pytest.raises(TypeError, match=r"has the step PCA; .* put CompressedClassifier or"):
        qc.compress(model, X)
    kept = make_pipeline(StandardScaler(), PCA(5), qc.sklearn.CompressedClassifier(MODEL))
    assert kept.fit(X, Y).score(X, Y) > 0.95


def test_a_fitted_pipeline_that_ends_in_a_wrapper_is_taken(tmp_path):
    X, y = load_breast_cancer(return_X_y=True)
    inner = make_pipeline(MinMaxScaler(), LogisticRegression())
    pipeline = make_pipeline(StandardScaler(), qc.sklearn.CompressedClassifier(inner)).fit(X, y)
    wrapper = pipeline[-1]
    assert wrapper.estimator_.score(pipeline[0].transform(X), y) > 0.9
    net = qc.from_sklearn(pipeline)
    np.testing.assert_array_equal(net.predict(X), pipeline.predict(X))
    off = np.abs(net.predict_logits(X)[:, 0] - pipeline.decision_function(X))
    assert off.max() < 0.05 * np.ptp(pipeline.decision_function(X))
    qc.save(tmp_path / "net.safetensors", net)
    np.testing.assert_array_equal(qc.load(tmp_path / "net.safetensors").predict(X), net.predict(X))
    found = qc.compare(make_pipeline(StandardScaler(), inner).fit(X, y), pipeline, X, y)
    assert found.outputs is not None
    with pytest.raises(TypeError, match=r"Pipeline, an estimator; save the network"):
        qc.save(tmp_path / "pipeline.safetensors", pipeline)
