"""One call: a trained model in, a small one out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import ArrayLike

from qcore.frameworks.sklearn import from_sklearn, is_estimator
from qcore.pruning.pruner import Pruner
from qcore.quantization.quantizer import Quantizer
from qcore.report import Report

__all__ = ["CompressedWeights", "compress"]


class CompressedWeights(dict[str, Any]):
    """A dict of named arrays that remembers how it was made.

    Attributes
    ----------
    report_ : Report
    """

    report_: Report


def compress(
    model: Any,
    X: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    bits: int | Mapping[str, int] | None = 8,
    sparsity: float | None = None,
    activations: str | None = "auto",
    scheme: str = "affine",
    levels: int | None = None,
    ignore: Iterable[str] = ("*bias",),
) -> Any:
    """Prune and quantize a trained model, without training.

    Parameters
    ----------
    model : Sequential, scikit-learn estimator or dict of str to array
        The model; it is not changed. An estimator is one that `from_sklearn` takes, fitted.
    X : array_like, optional
        Samples, (n, inputs), from which a network's activations are calibrated.
    y : ignored
        For scikit-learn's sake.
    bits : int, dict or None, default 8
        Width of a weight's code, as in `Quantizer`; None: the weights stay floats.
    sparsity : float, optional
        The share of all weights, in [0, 1), that becomes zero: those least in magnitude, over the
        whole model. Without training after it, expect 0.5 to cost little and 0.9 much.
    activations, scheme, levels, ignore
        As in `Quantizer`.

    Returns
    -------
    Sequential, CompressedClassifier or CompressedRegressor, or dict
        Of the model's kind, with ``report_``, what was done to each tensor.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> small = qc.compress({"w": np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)})
    >>> small["w"].bits, small["w"].nbytes
    (8, 96)
    """
    estimator = None
    if is_estimator(model):
        estimator, model = model, from_sklearn(model)
    small = model
    reports: list[Report] = []
    patterns = tuple(ignore)
    if sparsity is not None:
        pruner = Pruner(sparsity=sparsity, scope="global", ignore=patterns)
        small = pruner.fit_transform(small)
        reports.append(pruner.report_)
    if bits is not None:
        quantizer = Quantizer(
            bits, scheme=scheme, levels=levels, activations=activations, ignore=patterns
        )
        small = quantizer.fit_transform(small, X)
        reports.append(quantizer.report_)
    if not reports:
        raise ValueError("bits and sparsity are both None: there is nothing to do")
    if isinstance(small, Mapping):
        small = CompressedWeights(small)
    small.report_ = _merged(reports)
    if estimator is None:
        return small
    from qcore.sklearn import compressed_estimator

    options: dict[str, Any] = {"bits": bits, "sparsity": sparsity, "activations": activations}
    options |= {"scheme": scheme, "levels": levels, "ignore": patterns}
    return compressed_estimator(estimator, small, options)


def _merged(reports: list[Report]) -> Report:
    """Join the rows of several reports tensor by tensor; the later one wins."""
    rows: dict[str, dict[str, Any]] = {}
    for report in reports:
        for row in report.rows:
            rows.setdefault(row["tensor"], {}).update(row)
    totals: dict[str, Any] = {}
    for report in reports:
        totals.update(report.totals)
    return Report("compressed", rows.values(), totals)
