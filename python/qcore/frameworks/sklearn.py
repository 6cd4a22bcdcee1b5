"""scikit-learn's dense models as networks.

A network takes what the estimator takes and gives what it gives: scalers in front of the model are
its normalization, and the activation of the last layer is that of its probabilities.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.estimator import NotFittedError
from qcore.arrays.products.activations import names_in
from qcore.chain.layers import Dense
from qcore.chain.normalization import Normalization
from qcore.nn.sequential import Sequential

__all__ = ["from_sklearn", "is_estimator"]

_ACTIVATIONS = names_in("sklearn")
# Models that predict ``x @ coef_.T + intercept_``, or the label where that is greatest.
_LINEAR = (
    "ARDRegression", "BayesianRidge", "ElasticNet", "HuberRegressor", "Lars",
    "LinearDiscriminantAnalysis", "LinearRegression", "LinearSVC", "LinearSVR",
    "LogisticRegression", "OrthogonalMatchingPursuit", "PassiveAggressiveClassifier",
    "PassiveAggressiveRegressor", "Perceptron", "QuantileRegressor", "Ridge", "RidgeClassifier",
    "RidgeClassifierCV", "RidgeCV", "SGDClassifier", "SGDRegressor", "TheilSenRegressor",
)  # fmt: skip


def is_estimator(model: object) -> bool:
    """Whether a model is scikit-learn's, found out without importing it."""
    return any(kind.__module__.partition(".")[0] == "sklearn" for kind in type(model).__mro__)


def from_sklearn(estimator: Any) -> Sequential:
    """Build a network from a fitted scikit-learn estimator.

    Parameters
    ----------
    estimator : estimator
        A fitted `MLPClassifier`, `MLPRegressor` or linear model (`LogisticRegression`, `LinearSVC`,
        `SGDClassifier`, `Ridge`, ...), a `Pipeline` of scalers (`StandardScaler`, `MinMaxScaler`,
        `MaxAbsScaler`, `RobustScaler`) and one of these, or a search (`GridSearchCV`) over it. It
        is not changed.

    Returns
    -------
    Sequential
        Of float32 weights. ``predict`` gives the estimator's labels or values, ``predict_logits``
        its ``decision_function``, and ``predict_proba`` its probabilities, where these are the
        softmax or the logistic function of the decision (one column, that of the second class, for
        two classes). One-versus-rest models of three classes and more are marked so, see
        `nn.Sequential`; those without probabilities have the softmax of their decisions.

    Raises
    ------
    TypeError
        If it is not one of these kinds.
    ValueError
        If it is not fitted, or does what dense layers cannot.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = np.float32([[0.0], [1.0], [2.0], [3.0]]), np.array(["low", "low", "high", "high"])
    >>> net = qc.from_sklearn(LogisticRegression().fit(X, y))
    >>> net.predict(X).tolist()
    ['low', 'low', 'high', 'high']
    """
    if not is_estimator(estimator):
        raise TypeError(f"estimator is {type(estimator).__name__}; it must be scikit-learn's")
    model, scale, shift = _unwrapped(estimator)
    if hasattr(model, "network_"):  # a wrapper of ours, which scalers may stand before
        return _scaled(model.network_, scale, shift)
    kinds = [kind.__name__ for kind in type(model).__mro__]
    if "BaseMultilayerPerceptron" in kinds:
        layers = _perceptron(model)
    elif any(kind in _LINEAR for kind in kinds):
        layers = _linear(model)
    else:
        raise TypeError(
            f"estimator is {type(model).__name__}; it must be an MLPClassifier, an MLPRegressor, "
            "a linear model, or a Pipeline of scalers and one of these"
        )
    normalization = None
    if scale is not None and shift is not None:
        normalization = Normalization(-shift / scale, scale)
    network = Sequential(
        (
            Dense.from_weights(weight, bias, layout="in_out", activation=activation)
            for weight, bias, activation in layers
        ),
        normalization=normalization,
    )
    if _has_labels(model):
        network.classes_ = np.array(model.classes_)
        network.one_versus_rest = _is_one_versus_rest(model, network)
    return network


def _scaled(
    network: Sequential, scale: NDArray[np.float64] | None, shift: NDArray[np.float64] | None
) -> Sequential:
    """Return a network whose inputs are scaled before all else that it does to them."""
    if scale is None or shift is None:
        return network
    inner = network.normalization
    if inner is not None:
        scale, shift = scale * inner.scale, (shift - inner.mean) * inner.scale
    new: Sequential = network.copy()
    new.normalization = Normalization(-shift / scale, scale)
    return new


def _is_one_versus_rest(model: Any, network: Sequential) -> bool:
    """Whether a model scales logistic functions, one for each of its classes, to a sum of 1."""
    if network.layers[-1].activation != "softmax" or not hasattr(model, "predict_proba"):
        return False
    if getattr(model, "solver", "") == "liblinear" or getattr(model, "multi_class", "") == "ovr":
        return True
    return any(kind.__name__ == "SGDClassifier" for kind in type(model).__mro__)


_Layer = tuple[NDArray[np.float64], NDArray[np.float64], str]


def _unwrapped(
    estimator: Any,
) -> tuple[Any, NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Return the model, and the scale and shift of its inputs that scalers before it make."""
    if hasattr(estimator, "best_estimator_"):
        return _unwrapped(estimator.best_estimator_)
    if not hasattr(estimator, "steps"):
        return estimator, None, None
    scale = shift = None
    for _, step in estimator.steps[:-1]:
        if step is None or step == "passthrough":
            continue
        factor, offset = _affine(step)
        if scale is None or shift is None:
            scale, shift = factor, offset
        else:
            scale, shift = scale * factor, shift * factor + offset
    model, inner_scale, inner_shift = _unwrapped(estimator.steps[-1][1])
    if inner_scale is None or inner_shift is None:
        return model, scale, shift
    if scale is None or shift is None:
        return model, inner_scale, inner_shift
    return model, scale * inner_scale, shift * inner_scale + inner_shift


def _affine(scaler: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scale and shift of a fitted scaler: what it computes is ``x * scale + shift``."""
    kind = type(scaler).__name__
    _check_fitted(scaler, "n_features_in_")
    ones = np.ones(scaler.n_features_in_)
    if kind == "MinMaxScaler" and not scaler.clip:
        return ones * scaler.scale_, ones * scaler.min_
    if kind in ("StandardScaler", "MaxAbsScaler", "RobustScaler"):
        centre = next(
            (
                value
                for name in ("mean_", "center_")
                if (value := getattr(scaler, name, None)) is not None
            ),
            0.0,
        )
        if kind == "StandardScaler" and not scaler.with_mean:
            centre = 0.0
        factor = ones if scaler.scale_ is None else 1.0 / scaler.scale_
        return factor, -centre * factor
    raise TypeError(
        f"estimator has the step {kind}; before the model there may be a StandardScaler, "
        "MinMaxScaler (without clip), MaxAbsScaler or RobustScaler; to keep other steps, put "
        "CompressedClassifier or CompressedRegressor last in the Pipeline and fit it again"
    )


def _perceptron(model: Any) -> list[_Layer]:
    _check_fitted(model, "coefs_")
    if model.out_activation_ not in _ACTIVATIONS:
        raise ValueError(f"estimator has the output {model.out_activation_!r}, which has no layer")
    hidden = len(model.coefs_) - 1
    activations = [model.activation] * hidden + [model.out_activation_]
    return [
        (np.asarray(weight, np.float64), np.asarray(bias, np.float64), _ACTIVATIONS[activation])
        for weight, bias, activation in zip(
            model.coefs_, model.intercepts_, activations, strict=True
        )
    ]


def _linear(model: Any) -> list[_Layer]:
    _check_fitted(model, "coef_")
    weight = np.atleast_2d(np.asarray(model.coef_, np.float64))
    outputs = len(weight)
    bias = np.broadcast_to(np.asarray(model.intercept_, np.float64), (outputs,))
    activation = "linear"
    if hasattr(model, "classes_"):
        activation = "sigmoid" if outputs == 1 else "softmax"
        if getattr(model, "loss", "") == "modified_huber":
            raise ValueError(
                "estimator has loss='modified_huber', whose probabilities no activation gives; "
                "loss='log_loss' has those of a layer"
            )
        if _has_labels(model) and outputs != (
            1 if len(model.classes_) == 2 else len(model.classes_)
        ):
            raise ValueError(
                f"estimator has {outputs} outputs for {len(model.classes_)} classes; "
                "a network has one for each class, or one for two classes"
            )
    return [(weight.T, bias, activation)]


def _has_labels(model: Any) -> bool:
    """Whether outputs stand for labels, one of which is predicted; not so with several at once."""
    if not hasattr(model, "classes_"):
        return False
    binarizer = getattr(model, "_label_binarizer", None)
    return binarizer is None or not str(binarizer.y_type_).startswith("multilabel")


def _check_fitted(estimator: Any, attribute: str) -> None:
    if not hasattr(estimator, attribute):
        raise NotFittedError(f"this {type(estimator).__name__} is not fitted: call fit first")
