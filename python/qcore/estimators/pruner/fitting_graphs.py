"""What `Pruner` does with a graph: every weight as a matrix (out, in), channels along seams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore._display.table import Report
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.pruning.criteria import Criterion, Evidence, find_criterion
from qcore.arrays.pruning.functions import keep_in_array
from qcore.arrays.pruning.obs import Surgeon
from qcore.arrays.pruning.patterns import parse_pattern
from qcore.estimators.graphs.corrections import corrected_biases
from qcore.estimators.graphs.matrices import bias_name, matrices_of, with_matrices
from qcore.estimators.pruner.graphs import (
    channel_masks,
    graph_stats,
    judged,
    operated,
    sensitive_shares,
)
from qcore.estimators.pruner.report import pruning_report
from qcore.estimators.pruner.sensitivity import FINE
from qcore.graph.graph import BaseGraph

if TYPE_CHECKING:
    from qcore.estimators.pruner.pruner import Pruner

__all__ = ["begin_graph", "count_kept", "describe_graph", "fit_graph", "transform_graph"]


def begin_graph(
    pruner: Pruner, graph: BaseGraph, X: Any, stats: Mapping[str, InputStats] | None = None
) -> Mapping[str, InputStats] | None:
    """Choose how sparse the weights of a graph become; returns the statistics that this took."""
    criterion = find_criterion(pruner.criterion)
    pruner._check_scope(criterion)
    by_damage = pruner._scope == "sensitivity"
    if criterion.needs == "gradient" or (by_damage and pruner.pattern == "neurons"):
        found = f"scope {pruner._scope!r} and criterion {pruner.criterion!r}"
        raise ValueError(
            f"{found}: channels of graphs have the scopes 'layer' and 'global', and "
            "criteria that need no gradient"
        )
    chosen = pruner._chosen(matrices_of(graph))
    pruner.targets_ = pruner._targets(chosen)
    pruner.left_ = []
    pruner.masks_, pruner.updated_, pruner.scores_ = {}, {}, {}
    pruner._bias_masks, pruner._biases = {}, {}
    if pruner.pattern == "neurons":
        return stats
    if criterion.updates or criterion.needs == "stats":
        if X is None and stats is None:
            raise ValueError("X is None; this criterion needs samples")
        names = judged(graph, chosen) if stats is None else [n for n in chosen if n in stats]
        pruner.left_ = [name for name in chosen if name not in names]
        chosen = {name: chosen[name] for name in names}
        pruner.targets_ = {name: pruner.targets_[name] for name in chosen}
        if stats is None and (by_damage or not criterion.updates):
            stats = graph_stats(graph, X, chosen, pruner.progress)
    if by_damage:
        if X is None:
            raise ValueError("scope is 'sensitivity'; it needs samples X")
        trials = _Trials(pruner, graph, chosen, criterion, stats or {})
        pruner.targets_ = sensitive_shares(
            graph, X, pruner.targets_, chosen, trials.pruned, pruner.progress,
            trials.curve if criterion.updates and pruner.pattern == "unstructured" else None,
        )  # fmt: skip
    return stats


def fit_graph(
    pruner: Pruner, graph: BaseGraph, X: Any, stats: Mapping[str, InputStats] | None
) -> None:
    """Choose which weights of a graph go, each as a matrix (out, in)."""
    given = stats
    stats = begin_graph(pruner, graph, X, stats)
    criterion, matrices = find_criterion(pruner.criterion), matrices_of(graph)
    chosen = {name: matrices[name] for name in pruner.targets_}
    if pruner.pattern == "neurons":
        pruner.masks_, pruner._bias_masks = channel_masks(graph, pruner.targets_)
    elif criterion.updates:
        shares = {name: pruner._pattern(name) for name in chosen}
        pruner.updated_, pruner._biases, pruner.masks_ = operated(
            graph, chosen, given, shares, X, pruner.progress
        )
    else:
        needs, rng = criterion.needs == "stats", np.random.default_rng(pruner.random_state)
        evidence = {
            name: Evidence((stats or {}).get(name) if needs else None, rng=rng) for name in chosen
        }
        pruner.masks_ = pruner._masks(matrices, chosen, criterion, evidence, pruner.targets_)
    count_kept(pruner)


def count_kept(pruner: Pruner) -> None:
    """Say how many of the weights that were to lose some are gone."""
    size = sum(mask.size for mask in pruner.masks_.values())
    kept = sum(int(np.count_nonzero(mask)) for mask in pruner.masks_.values())
    pruner.sparsity_ = 1.0 - kept / size if size else 0.0


def describe_graph(pruner: Pruner, small: BaseGraph) -> None:
    """Report on a graph that is pruned."""
    count_kept(pruner)
    pruned = {name: small.constants[name] for name in pruner.masks_}
    report = pruning_report(pruned, pruner.masks_, {})
    note = "left: its outputs read different inputs"
    left = [{"tensor": name, "note": note} for name in pruner.left_]
    pruner.report_ = Report(report.title, [*report.rows, *left], report.totals)


def transform_graph(pruner: Pruner, graph: BaseGraph) -> BaseGraph:
    """Return a graph with the weights that `fit_graph` chose set to 0."""
    matrices = matrices_of(graph)
    new: dict[str, NDArray[Any]] = {}
    for name, mask in pruner.masks_.items():
        if name not in matrices or matrices[name].shape != mask.shape:
            raise ValueError(f"model has no matrix {name!r} of {mask.shape}, as fit has seen")
        new[name] = pruner._pruned_tensor(name, matrices[name])
    biases = dict(pruner._biases)
    for name, keep in pruner._bias_masks.items():
        bias = np.asarray(graph.constants[name])
        biases[name] = np.where(keep, bias.reshape(-1), np.float32(0))
    small = with_matrices(graph, new, biases)
    describe_graph(pruner, small)
    return small


class _Trials:
    """Single matrices of a graph, pruned one at a time."""

    def __init__(
        self, pruner: Pruner, graph: BaseGraph, matrices: Mapping[str, NDArray[Any]],
        criterion: Criterion, stats: Mapping[str, InputStats],
    ) -> None:  # fmt: skip
        self._pruner, self._graph, self._matrices = pruner, graph, matrices
        self._criterion, self._stats = criterion, stats
        self._last: tuple[str, Surgeon] | None = None

    def pruned(
        self, name: str, sparsity: float
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        """Return a matrix that has lost so much, and the bias that keeps its mean outputs."""
        pattern, share = parse_pattern(self._pruner.pattern, sparsity)
        w = self._matrices[name]
        if self._criterion.updates:
            new = self._surgeon(name).prune(pattern, share, refit=False)[0].astype(np.float32)
            return new, corrected_biases(self._graph, {name: w}, {name: new}, self._stats, [name])
        evidence = Evidence(
            self._stats.get(name), rng=np.random.default_rng(self._pruner.random_state)
        )
        keep = keep_in_array(w, pattern, share, self._criterion, evidence)
        return np.where(keep, w, np.float32(0)).astype(np.float32), {}

    def curve(self, name: str) -> NDArray[Any]:
        """Return what a matrix loses at each sparsity that is tried, in proportion."""
        return self._surgeon(name).curve(FINE)

    def _surgeon(self, name: str) -> Surgeon:
        if self._last is None or self._last[0] != name:
            self._last = None  # one at a time: a surgeon of n inputs holds n² floats twice
            has_bias = bias_name(self._graph, name) is not None
            surgeon = Surgeon(self._matrices[name], self._stats[name], centred=has_bias)
            self._last = name, surgeon
        return self._last[1]
