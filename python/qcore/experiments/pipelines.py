"""Fifty scikit-learn pipelines, compressed at the defaults: what each loses, and what is said.

``python -m qcore.experiments.pipelines`` prints the table. Ten data sets, those that come with
scikit-learn and some that are generated in mixed units, times five models; in five folds, so that
each sample is judged once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler
from sklearn.svm import LinearSVC, LinearSVR

import qcore as qc
from qcore._display.table import Report
from qcore.errors import AccuracyWarning

__all__ = ["Loss", "losses", "main"]

FOLDS = 5
#: What a score may drop by without a warning.
ALLOWED = 0.01

Data = tuple[NDArray[Any], NDArray[Any]]


class Loss(NamedTuple):
    """What a pipeline lost.

    Attributes
    ----------
    data, model : str
    before, after : float
        Accuracy, or R², over all samples.
    warned : int
        The folds, of five, in which `compress` warned.
    """

    data: str
    model: str
    before: float
    after: float
    warned: int

    @property
    def is_silent(self) -> bool:
        """Whether more than a point was lost and nothing was said."""
        return self.before - self.after > ALLOWED and not self.warned


def _units(data: Data) -> Data:
    """Give each column a unit and an origin of its own, from 1e-4 to 1e5."""
    X, y = data
    rng = np.random.default_rng(0)
    scale = 10.0 ** rng.uniform(-4, 5, X.shape[1])
    return (X + rng.normal(0, 5, X.shape[1])) * scale, y


DATA: dict[str, tuple[str, Callable[[], Data]]] = {
    "breast cancer": ("labels", lambda: datasets.load_breast_cancer(return_X_y=True)),
    "digits": ("labels", lambda: datasets.load_digits(return_X_y=True)),
    "iris": ("labels", lambda: datasets.load_iris(return_X_y=True)),
    "wine": ("labels", lambda: datasets.load_wine(return_X_y=True)),
    "diabetes": ("numbers", lambda: datasets.load_diabetes(return_X_y=True, scaled=False)),
    "classes, mixed units": (
        "labels",
        lambda: _units(
            datasets.make_classification(
                1000, 20, n_informative=10, n_classes=4, class_sep=2.0, random_state=0
            )
        ),
    ),
    "blobs, mixed units": (
        "labels",
        lambda: _units(
            datasets.make_blobs(600, 8, centers=5, cluster_std=3.0, random_state=0)[:2]
        ),
    ),
    "moons, mixed units": (
        "labels", lambda: _units(datasets.make_moons(500, noise=0.15, random_state=0)),
    ),
    "regression, mixed units": (
        "numbers",
        lambda: _units(datasets.make_regression(500, 15, noise=10.0, random_state=0)[:2]),
    ),
    "Friedman 1, mixed units": (
        "numbers", lambda: _units(datasets.make_friedman1(800, 10, noise=0.5, random_state=0)),
    ),
}  # fmt: skip

MODELS: dict[str, dict[str, Any]] = {
    "labels": {
        "logistic, no scaler": LogisticRegression(max_iter=2000),
        "standard, logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "robust, SVC": make_pipeline(RobustScaler(), LinearSVC(random_state=0)),
        "standard, MLP": make_pipeline(
            StandardScaler(), MLPClassifier((32, 16), max_iter=200, random_state=0)
        ),
        "min-max, MLP of tanh": make_pipeline(
            MinMaxScaler(), MLPClassifier((32,), "tanh", max_iter=200, random_state=0)
        ),
    },
    "numbers": {
        "linear, no scaler": LinearRegression(),
        "standard, ridge": make_pipeline(StandardScaler(), Ridge()),
        "robust, SVR": make_pipeline(RobustScaler(), LinearSVR(random_state=0)),
        "standard, MLP": make_pipeline(
            StandardScaler(),
            MLPRegressor(hidden_layer_sizes=(32, 16), max_iter=400, random_state=0),
        ),
        "min-max, MLP of tanh": make_pipeline(
            MinMaxScaler(),
            MLPRegressor(hidden_layer_sizes=(32,), activation="tanh", max_iter=400, random_state=0),
        ),
    },
}


def losses(data: str) -> list[Loss]:
    """Return what each model loses on a data set of the table."""
    kind, load = DATA[data]
    X, y = load()
    splitter = StratifiedKFold if kind == "labels" else KFold
    score = accuracy_score if kind == "labels" else r2_score
    folds = list(splitter(FOLDS, shuffle=True, random_state=0).split(X, y))
    found = []
    for name, model in MODELS[kind].items():
        answers = np.empty((2, len(y)), y.dtype if kind == "labels" else np.float64)
        warned = 0
        for train, test in folds:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                trained = clone(model).fit(X[train], y[train])
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always", AccuracyWarning)
                small = qc.compress(trained, X[train])
            warned += any(issubclass(one.category, AccuracyWarning) for one in said)
            answers[:, test] = trained.predict(X[test]), small.predict(X[test])
        before, after = (float(score(y, one)) for one in answers)
        found.append(Loss(data, name, before, after, warned))
    return found


def main() -> None:
    """Print the table, and how many lost more than a point without a word."""
    every = [loss for data in DATA for loss in losses(data)]
    rows = [
        {
            "data": one.data,
            "model": one.model,
            "score": 100 * one.before,
            "compressed": 100 * one.after,
            "drop": 100 * (one.before - one.after),
            "warned": f"{one.warned} of {FOLDS}" if one.warned else "",
        }
        for one in every
    ]
    print(Report("pipelines", rows))
    silent = [one for one in every if one.is_silent]
    lost = sum(one.before - one.after > ALLOWED for one in every)
    print(f"{len(every)} pipelines; {lost} lost more than a point, {len(silent)} without a warning")


if __name__ == "__main__":
    main()
