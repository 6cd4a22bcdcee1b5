"""Estimators that train one of scikit-learn's models and keep it compressed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._display.table import Report
from qcore._runtime.extras import require
from qcore.chain.activations import softmax
from qcore.frameworks.sklearn import from_sklearn
from qcore.nn.sequential import Sequential
from qcore.shrinking import Wishes, shrunk

require("sklearn", "qcore.sklearn")

from scipy.special import expit  # noqa: E402
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.utils import check_random_state, get_tags  # noqa: E402
from sklearn.utils.metaestimators import available_if  # noqa: E402
from sklearn.utils.validation import check_is_fitted, validate_data  # noqa: E402

__all__ = ["CompressedClassifier", "CompressedRegressor", "compressed_estimator"]


def _has_probabilities(model: _Compressed) -> bool:
    return hasattr(model._trainee(), "predict_proba")


class _Compressed(BaseEstimator):  # type: ignore[misc]
    """What classifier and regressor share: training, then compression, then prediction."""

    estimator_: Any
    network_: Sequential
    report_: Report
    n_features_in_: int

    def __init__(
        self,
        estimator: Any = None,
        *,
        bits: int | Mapping[str, int] | None = 8,
        group_size: int | None = None,
        sparsity: float | None = None,
        pattern: str = "unstructured",
        activations: str | None = "auto",
        scheme: str = "affine",
        levels: int | None = None,
        ignore: Iterable[str] = ("*bias",),
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.bits = bits
        self.group_size = group_size
        self.sparsity = sparsity
        self.pattern = pattern
        self.activations = activations
        self.scheme = scheme
        self.levels = levels
        self.ignore = ignore
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, **fit_params: Any) -> Any:
        """Train a clone of the estimator, then compress it.

        Parameters
        ----------
        X : array_like, (n, inputs)
            Samples; activations are calibrated on them too.
        y : array_like, (n,) or (n, outputs)
            Labels or targets.
        **fit_params
            For the estimator's own ``fit``, ``sample_weight`` for one.

        Returns
        -------
        estimator
            Itself.
        """
        estimator = clone(self._trainee())
        if self.random_state is not None:
            _set_random_states(estimator, self.random_state)
        trained = estimator.fit(X, y, **fit_params)
        return self._adopt(trained, X, y)

    def _adopt(self, trained: Any, X: ArrayLike | None, y: ArrayLike | None) -> Any:
        """Keep a fitted estimator, compressed."""
        samples = None
        if X is not None:
            samples = validate_data(self, X, dtype=[np.float64, np.float32])
        own = ("estimator", "random_state")
        options = {k: v for k, v in self.get_params(deep=False).items() if k not in own}
        network = from_sklearn(trained)
        if (self.bits, self.sparsity, self.pattern) == (None, None, "unstructured"):
            network.report_ = Report("compressed", [])  # floats, as they were asked for
            return self._keep(trained, network)
        return self._keep(trained, shrunk(network, samples, y, Wishes(**options)))

    def _keep(self, trained: Any, network: Sequential) -> Any:
        self.estimator_ = trained
        self.network_ = network
        self.report_ = network.report_
        self.n_features_in_ = network.layers[0].in_features
        if hasattr(trained, "feature_names_in_"):
            self.feature_names_in_ = trained.feature_names_in_
        return self

    def _trainee(self) -> Any:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: the network alone, of the float estimator nothing."""
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "estimator_"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        trainee = get_tags(self._trainee())
        tags.target_tags = trainee.target_tags
        if trainee.classifier_tags is not None and tags.classifier_tags is not None:
            tags.classifier_tags.multi_label = trainee.classifier_tags.multi_label
        return tags

    def _samples(self, X: ArrayLike) -> NDArray[Any]:
        """Return checked samples; plain arrays skip scikit-learn's costly checks."""
        if not hasattr(self, "network_"):
            check_is_fitted(self, "network_")  # asks for tags of all there is inside: slow
        # A normalization takes float64 before it is rounded.
        kind = np.float32 if self.network_.normalization is None else np.float64
        with np.errstate(over="ignore", invalid="ignore"):
            if self._is_plain(X):
                samples: NDArray[Any] = np.ascontiguousarray(X, kind)
                # Not finite too where the sum is beyond float32: the long way tells them apart.
                if np.isfinite(np.float32(samples.sum())):
                    return samples
            samples = validate_data(self, X, dtype=kind, order="C", reset=False)
            return samples  # noqa: RET504

    def _is_plain(self, X: ArrayLike) -> bool:
        return (
            type(X) is np.ndarray
            and X.ndim == 2
            and len(X) > 0
            and X.shape[1] == self.n_features_in_
            and X.dtype in (np.float32, np.float64)
            and not hasattr(self, "feature_names_in_")
        )

    def _logits(self, X: ArrayLike) -> NDArray[np.float32]:
        samples = self._samples(X)
        return self.network_.predict_logits(samples)


class CompressedClassifier(ClassifierMixin, _Compressed):  # type: ignore[misc]
    """A classifier of scikit-learn's, trained in floats and kept compressed.

    Parameters
    ----------
    estimator : estimator, default MLPClassifier()
        What to train: anything that `qcore.from_sklearn` takes. It is cloned, not changed.
    bits, group_size, sparsity, pattern, activations, scheme, levels, ignore
        As in `qcore.compress`.
    random_state : int, RandomState or None
        For every ``random_state`` that the estimator has; None leaves them as they are.

    Attributes
    ----------
    estimator_ : estimator
        The fitted one that was compressed, in floats. Pickles leave it out.
    network_ : Sequential
        The compressed network: save it with `qcore.save`.
    classes_ : ndarray
        The labels.
    report_ : Report
        What compression did, tensor by tensor.
    n_features_in_, feature_names_in_
        As scikit-learn has them.

    Examples
    --------
    >>> import qcore as qc
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> model = qc.sklearn.CompressedClassifier(LogisticRegression(max_iter=1000)).fit(X, y)
    >>> model.score(X, y) > 0.95, model.network_.layers[0].weight.bits
    (True, 8)
    """

    classes_: NDArray[Any]

    def _trainee(self) -> Any:
        return MLPClassifier() if self.estimator is None else self.estimator

    def _keep(self, trained: Any, network: Sequential) -> Any:
        self.classes_ = trained.classes_
        return super()._keep(trained, network)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return a label for each sample, (n,); for several labels at once 0 and 1, (n, labels)."""
        logits = self._logits(X)
        if self.network_.classes_ is None:
            return (logits > 0).astype(np.intp)
        if logits.shape[1] == 1:
            codes = (logits[:, 0] > 0).astype(np.intp)
        else:
            codes = logits.argmax(axis=1)
        labels: NDArray[Any] = self.classes_[codes]
        return labels

    def decision_function(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the sums before the last activation: (n, classes), or (n,) for two classes."""
        logits = self._logits(X)
        return logits[:, 0] if logits.shape[1] == 1 else logits

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Return the probability of each class, (n, classes); where the estimator has them."""
        logits = self._logits(X)
        if len(logits.T) > 1 and self.network_.classes_ is not None:
            if not self._one_versus_rest():
                return softmax(logits)
            each: NDArray[Any] = expit(logits.astype(np.float64))
            each /= each.sum(axis=1, keepdims=True)
            return each
        each = expit(logits)
        if len(logits.T) > 1:
            return each
        return np.concatenate([1 - each, each], axis=1)

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Return the logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            logarithms: NDArray[Any] = np.log(self.predict_proba(X))
        return logarithms

    def _one_versus_rest(self) -> bool:
        """Whether the estimator scales logistic functions, one for each class, to a sum of 1."""
        model = self._trainee()
        while hasattr(model, "steps") or hasattr(model, "estimator"):
            model = model.steps[-1][1] if hasattr(model, "steps") else model.estimator
        return (
            type(model).__name__ == "SGDClassifier" or getattr(model, "solver", "") == "liblinear"
        )


class CompressedRegressor(RegressorMixin, _Compressed):  # type: ignore[misc]
    """A regressor of scikit-learn's, trained in floats and kept compressed.

    Parameters
    ----------
    estimator : estimator, default MLPRegressor()
        What to train: anything that `qcore.from_sklearn` takes. It is cloned, not changed.
    bits, group_size, sparsity, pattern, activations, scheme, levels, ignore
        As in `qcore.compress`.
    random_state : int, RandomState or None
        For every ``random_state`` that the estimator has; None leaves them as they are.

    Attributes
    ----------
    estimator_, network_, report_, n_features_in_, feature_names_in_
        As in `CompressedClassifier`.

    Examples
    --------
    >>> import qcore as qc
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> X, y = load_diabetes(return_X_y=True)
    >>> small = qc.sklearn.CompressedRegressor(Ridge(0.1)).fit(X, y)
    >>> abs(small.score(X, y) - Ridge(0.1).fit(X, y).score(X, y)) < 0.01
    True
    """

    def _trainee(self) -> Any:
        return MLPRegressor() if self.estimator is None else self.estimator

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the value of each sample: (n,), or (n, outputs) for several."""
        found = self._logits(X).astype(np.float64)  # as scikit-learn's own do
        return found[:, 0] if found.shape[1] == 1 else found


def compressed_estimator(
    estimator: Any, network: Sequential, options: Mapping[str, Any]
) -> CompressedClassifier | CompressedRegressor:
    """Return an estimator that predicts with `network`, which was made from a fitted one.

    Fitting it again, as cross validation does, trains a clone of `estimator`.
    """
    kind = CompressedClassifier if hasattr(estimator, "classes_") else CompressedRegressor
    known = set(kind._get_param_names()) - {"estimator"}
    new = kind(clone(estimator), **{k: v for k, v in options.items() if k in known})
    kept: CompressedClassifier | CompressedRegressor = new._keep(estimator, network)
    return kept


def _set_random_states(estimator: Any, random_state: int | np.random.RandomState) -> None:
    """Set every parameter of that name, nested ones too, to a seed of its own."""
    state = check_random_state(random_state)
    names = sorted(estimator.get_params(deep=True))
    seeds = {
        name: int(state.randint(2**31 - 1))
        for name in names
        if name == "random_state" or name.endswith("__random_state")
    }
    estimator.set_params(**seeds)
