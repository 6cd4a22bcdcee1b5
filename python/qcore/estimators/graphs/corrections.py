"""What changed weights do to a graph's outputs, and biases that make up for some of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.layerwise.bias_correction import corrected_bias
from qcore.arrays.params.input_stats import InputStats
from qcore.estimators.graphs.batches import batches_of
from qcore.estimators.graphs.matrices import bias_name
from qcore.graph.classifier import chances, gives_labels, labels_places
from qcore.graph.graph import BaseGraph

__all__ = ["corrected_biases", "graph_disagreement", "output_error", "output_totals"]

#: Samples whose outputs are compared for the report.
JUDGES = 256


def corrected_biases(
    graph: BaseGraph,
    before: Mapping[str, NDArray[Any]],
    after: Mapping[str, Any],
    stats: Mapping[str, InputStats],
    names: Collection[str],
) -> dict[str, NDArray[np.float32]]:
    """Return the biases, by their own names, that keep the mean outputs of the weights `names`."""
    found: dict[str, NDArray[np.float32]] = {}
    for name in names:
        bias = bias_name(graph, name) if name in stats else None
        if bias is None:
            continue
        old = graph.constants.get(bias)
        if old is not None and np.size(old) != len(before[name]):
            continue  # broadcast over outputs: it has no entry for each
        old = None if old is None else np.asarray(old, np.float32).reshape(-1)
        found[bias] = corrected_bias(before[name], after[name], old, stats[name])
    return found


class _Losses:
    """What outputs lose as a share of their variance: of several, the one that loses most.

    A state of large numbers is not to hide what became of an answer.
    """

    def __init__(self) -> None:
        self._lost: dict[str, float] = {}
        self._sums: dict[str, NDArray[np.float64]] = {}

    def add(self, name: str, found: NDArray[Any], exact: NDArray[np.float64]) -> None:
        moments = (exact.size, float(exact.sum()), float(np.sum(exact**2)))
        self._lost[name] = self._lost.get(name, 0.0) + float(np.sum((found - exact) ** 2))
        self._sums[name] = self._sums.get(name, np.zeros(3)) + moments

    @property
    def share(self) -> float:
        return max(map(self._share, self._lost), default=0.0)

    def _share(self, name: str) -> float:
        count, total, squares = map(float, self._sums[name])
        spread = squares - total * total / count
        lost = self._lost[name]
        return lost / spread if spread > 1e-12 * squares else float(lost > 0)


def output_error(
    after: BaseGraph, batches: Sequence[Mapping[str, NDArray[Any]]],
    exact: Sequence[Mapping[str, NDArray[Any]]],
) -> float:  # fmt: skip
    """Return what a graph's outputs for batches are off by, as a share of their variance."""
    losses = _Losses()
    for batch, wanted in zip(batches, exact, strict=True):
        for name, value in after.run(batch).items():
            if value.dtype.kind == "f" and value.size:
                losses.add(name, value, wanted[name].astype(np.float64))
    return losses.share


class _Answers:
    """The share of answers that stay: labels, texts of labels, chances on one side of a half."""

    def __init__(self, graph: BaseGraph) -> None:
        self._labels = gives_labels(graph)
        self._chances = chances(graph)
        self._reads = labels_places(graph)
        self._same: dict[str, NDArray[np.float64]] = {}
        #: Of how many samples labels were compared.
        self.labelled = 0

    def add(self, name: str, found: NDArray[Any], exact: NDArray[Any]) -> bool:
        """Take in an output for a batch; returns whether it has answers."""
        if exact.dtype.kind != "f" or not exact.size:
            self._labels = False
        elif name in self._chances and exact.size == len(exact):
            self._count(name, (found > 0.5) == (exact > 0.5))
        elif self._labels and exact.ndim == 2 and exact.shape[1] > 1:
            self._count(name, found.argmax(axis=1) == exact.argmax(axis=1))
            self.labelled += len(exact)
        elif self._reads and exact.ndim == 3:
            labels, others = exact.argmax(axis=2), found.argmax(axis=2)
            blank = np.bincount(labels.reshape(-1)).argmax()
            texts = (_text(row, blank) == _text(other, blank)
                     for row, other in zip(labels, others, strict=True))  # fmt: skip
            self._count(name, np.fromiter(texts, bool, len(exact)))
            self.labelled += len(exact)
        return name in self._same

    def _count(self, name: str, same: NDArray[Any]) -> None:
        self._same.setdefault(name, np.zeros(2))[:] += float(np.sum(same)), same.size

    @property
    def share(self) -> float | None:
        shares = [float(same / seen) for same, seen in self._same.values()]
        return min(shares, default=None)


def _text(labels: NDArray[Any], blank: Any) -> list[int]:
    """Return the labels of places as they are read: no repeats, and not the most frequent one."""
    new = np.append(True, labels[1:] != labels[:-1])
    found: list[int] = labels[new & (labels != blank)].tolist()
    return found


def output_totals(
    before: BaseGraph, after: BaseGraph, X: Any, *, margin: float = 1.0
) -> dict[str, Any]:
    """Return what the outputs lose on the first samples, as a share of their variance.

    Of several outputs the one that loses most counts. Of classifiers, and of outputs that are the
    chance of one thing, also ``agreement``, the share of samples with the same answer, and ``state
    error``, what outputs of an input's shape lose: a state is given back, and its errors add up.

    `margin`: answers are compared as if outputs were off so many times as far, and what changes
    then is divided by that. A small error turns answers over in proportion to its size, so that
    this is the same share as far as it is known, of which few samples tell `margin` times as much.
    """
    given = {value.shape for value in before.inputs if value.dtype == "float32" and value.shape}
    losses, states, answers = _Losses(), _Losses(), _Answers(before)
    for batch in batches_of(before, X):
        exact, found = before.run(batch), after.run(batch)
        for name, wanted in exact.items():
            has_answers = answers.add(name, _off(found[name], wanted, margin), wanted)
            if wanted.dtype.kind == "f" and wanted.size:
                exactly = wanted.astype(np.float64)
                losses.add(name, found[name], exactly)
                if not has_answers and before.values[name].shape in given:
                    states.add(name, found[name], exactly)
        if answers.labelled >= JUDGES:
            break
    agreement = answers.share
    if agreement is not None:
        agreement = 1 - (1 - agreement) / margin
    totals: dict[str, Any] = {"output error": losses.share}
    if agreement is not None:
        totals["agreement"] = agreement
        if states.share:
            totals["state error"] = states.share
    return totals


def _off(found: NDArray[Any], exact: NDArray[Any], margin: float) -> NDArray[Any]:
    """Return outputs that are off `margin` times as far."""
    if margin == 1 or exact.dtype.kind != "f":
        return found
    off: NDArray[Any] = exact + np.float32(margin) * (found - exact)
    return off


def graph_disagreement(totals: Mapping[str, Any], least: float = 0.99) -> str | None:
    """Return what is wrong where a compressed graph answers otherwise; None where it does not.

    Less than a share of `least` of the answers are the same, or a state beside them is off by more
    than the rest of it (a hundredth, of its spread); or outputs of a graph without answers are off
    by more than a tenth of their spread.
    """
    agreement = totals.get("agreement")
    if agreement is not None and agreement < least:
        return f"the graph gives {100 * (1 - agreement):.1f} % of the samples another answer"
    if agreement is None:
        error, most = float(totals.get("output error", 0.0)), 0.1
    else:
        error, most = float(totals.get("state error", 0.0)), 1 - least
    if error <= most**2:
        return None
    return f"the outputs of the graph are off by {100 * error**0.5:.0f} % of their spread"
