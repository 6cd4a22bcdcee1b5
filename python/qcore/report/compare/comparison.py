"""Two models side by side: all there is to say of what compression saved and cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._display.histograms import Histogram, histogram, zeros_map
from qcore._display.table import Report
from qcore._runtime.environment import environment
from qcore.arrays.tensor.tensor import QTensor
from qcore.files.drafts import write_text
from qcore.frameworks.sklearn import from_sklearn, is_estimator
from qcore.graph.graph import BaseGraph
from qcore.report.compare.graphs import compare_graph_outputs, graph_losses, graph_variants
from qcore.report.compare.precision import Precision, precision_of
from qcore.report.compare.tensors import Outputs, compare_outputs, compare_tensors
from qcore.report.compare.variants import Variant, measure_variants
from qcore.report.page.layers import layer_losses

if TYPE_CHECKING:
    from qcore.report.page.figure import Figure

__all__ = ["Comparison", "Detail", "compare"]


@dataclass(frozen=True)
class Detail:
    """One tensor, to look at.

    Attributes
    ----------
    histogram : Histogram
    zeros : ndarray or None
        The share of values that are not 0, block by block.
    """

    histogram: Histogram
    zeros: NDArray[np.float64] | None


@dataclass(frozen=True)
class Comparison:
    """What compression saved and cost; made by `compare`.

    Attributes
    ----------
    title, subtitle : str
    before, after : int
        Bytes of the files, or of the models where there are none.
    report : Report
        A row for each tensor, with the columns of `compare`.
    details : dict of str to Detail
    precision : list of Precision
        Each quantized tensor at every width.
    layers : list of dict
        What the outputs lose when one layer alone is compressed: ``tensor``, ``sqnr``, ``changed``.
    outputs : Outputs or None
    variants : list of Variant
        The networks before and after, and others beside them: what each scores, weighs and takes.
    command, recipe : str
        What made it; empty where nothing is known.
    facts : dict of str to str
        What stands at the foot of the page.
    """

    title: str
    subtitle: str
    before: int
    after: int
    report: Report
    details: Mapping[str, Detail] = field(default_factory=dict)
    precision: list[Precision] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    outputs: Outputs | None = None
    variants: Sequence[Variant] = ()
    command: str = ""
    recipe: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def figures(self) -> list[Figure]:
        """What there is to see, each to be shown or saved on its own."""
        from qcore.report.page.gallery import figures_of

        return figures_of(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a page: one HTML file that holds all it needs.

        Raises
        ------
        ImportError
            If the extra ``report`` is not there.
        OSError
            If the file cannot be written; an old one stays as it was.
        """
        from qcore.report.page.page import render_comparison

        write_text(Path(path), render_comparison(self))

    def __str__(self) -> str:
        return str(self.report)

    def _repr_html_(self) -> str:
        from qcore.report.page.notebook import comparison_html

        return comparison_html(self)


def compare(
    before: Any,
    after: Any,
    X: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    report: Report | None = None,
    outputs: Outputs | None = None,
    variants: Sequence[Variant] | None = None,
    sizes: tuple[int, int] | None = None,
    title: str = "compressed",
    subtitle: str = "",
    command: str = "",
    recipe: str = "",
    facts: Mapping[str, str] | None = None,
) -> Comparison:
    """Show what a small model saved and what it lost.

    Parameters
    ----------
    before, after : Sequential, Graph, fitted estimator or mapping of str to array
        The model, and what became of it. A mapping is asked for one tensor at a time.
    X, y : array_like, optional
        Samples, on which two networks are run, and labels, by which they are scored.
    report, outputs, variants, sizes
        What is known already and need not be found out again: the rows of `compare_tensors`, the
        results of `compare_outputs` and of `measure_variants`, the bytes of the files.
    title, subtitle, command, recipe, facts
        Words for the page; see `Comparison`.

    Returns
    -------
    Comparison
        Shows itself in a notebook; ``save`` writes it as a page.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> w = {"w": np.linspace(-1, 1, 4096, dtype=np.float32).reshape(64, 64)}
    >>> comparison = qc.compare(w, qc.compress(w, bits=4))
    >>> comparison.before, comparison.after
    (16384, 2304)
    >>> [figure.name for figure in comparison.figures]
    ['bytes', 'sqnr', 'curve', 'sensitivity']
    """
    before, after = (_network_of(model) for model in (before, after))
    _check_shapes(before, after)
    found = compare_tensors(before, after) if report is None else report
    details, precision = _look_at(before, after, found)
    layers: list[dict[str, Any]] = []
    size, left = sizes or (found.totals["before bytes"], found.totals["bytes"])
    both = {"before": before, "after": after}
    if isinstance(before, BaseGraph) and isinstance(after, BaseGraph):
        if X is not None:
            outputs = outputs or compare_graph_outputs(before, after, X, y)
            layers = graph_losses(before, after, X)
            if variants is None:
                variants = graph_variants(both, (size, left), X, y)
    else:
        if outputs is None and X is not None:
            outputs = compare_outputs(before, after, X, y)
        if X is not None and hasattr(before, "predict_logits") and hasattr(after, "named_weights"):
            layers = layer_losses(before, after, X)
        if variants is None and all(hasattr(one, "predict_proba") for one in both.values()):
            variants = measure_variants(both, (size, left), X, y)
    variants = variants or ()
    shown = dict(facts or {}) | _machine()
    return Comparison(
        title, subtitle, size, left, found, details, precision, layers, outputs, variants, command,
        recipe, shown,
    )  # fmt: skip


def _check_shapes(before: Any, after: Any) -> None:
    """Refuse arrays of one name and two shapes; only networks lose neurons."""
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return
    for name in before:
        if name in after and _shape(before, name) != _shape(after, name):
            shapes = f"{_shape(before, name)} before and {_shape(after, name)} after"
            raise ValueError(f"{name} has shape {shapes}; they are not one tensor")


def _shape(model: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Return the shape of a tensor; a file is not read for it."""
    shape: tuple[int, ...] = model.info(name).shape if hasattr(model, "info") else ()
    return shape or tuple(np.shape(model[name]))


def _look_at(before: Any, after: Any, report: Report) -> tuple[dict[str, Detail], list[Precision]]:
    """Return the histograms of the tensors that changed, and what other widths would cost."""
    old, new = _tensors(before), _tensors(after)
    details: dict[str, Detail] = {}
    precision = []
    for row in report.rows:
        name = row["tensor"]
        if name not in old or name not in new:
            continue
        one, other = old[name], new[name]
        if one.shape != other.shape:  # neurons went
            continue
        if math.isfinite(row.get("SQNR dB", math.inf)) or isinstance(other, QTensor):
            details[name] = Detail(histogram(one, other), zeros_map(other))
        if isinstance(other, QTensor) and isinstance(one, np.ndarray) and one.ndim > 1:
            precision.append(precision_of(name, one))
    return details, precision


def _machine() -> dict[str, str]:
    found = environment()
    return {
        "qcore": found["qcore"], "CPU": found["cpu"],
        "instruction set": f"{found['isa']}, {found['threads']} threads",
        "NumPy": found["numpy"], "Python": found["python"],
    }  # fmt: skip


def _tensors(model: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = model if isinstance(model, Mapping) else model.named_weights()
    return found


def _network_of(model: Any) -> Any:
    """Return the network of a fitted estimator, of ours or of scikit-learn's; else the model."""
    if hasattr(model, "network_"):
        return model.network_
    return from_sklearn(model) if is_estimator(model) else model
