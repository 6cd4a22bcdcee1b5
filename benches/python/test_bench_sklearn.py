"""One sample through a digit classifier: scikit-learn's floats, and the compressed estimator."""

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

import qcore as qc


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(0)
    X, y = rng.random((500, 784)), rng.integers(0, 10, 500)
    return MLPClassifier((128,), max_iter=1, random_state=0).fit(X, y), X


@pytest.mark.benchmark(group="predict one sample")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["MLPClassifier", "CompressedClassifier"])
def test_predict_one(benchmark, trained, kind):
    model, X = trained
    if kind == "CompressedClassifier":
        model = qc.compress(model, X)
    benchmark(model.predict, X[:1])
