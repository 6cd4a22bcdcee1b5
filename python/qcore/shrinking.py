"""Networks and arrays made small without training: what was asked for, and how it is done."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from numpy.typing import ArrayLike

from qcore._arguments.names import matches_any
from qcore._display.table import Report
from qcore.arrays.pruning.criteria import find_criterion
from qcore.arrays.pruning.patterns import parse_pattern
from qcore.chain.agreement import disagreement
from qcore.chain.chain import Chain
from qcore.errors import AccuracyWarning, ArgumentError
from qcore.estimators.graphs.batches import batches_of
from qcore.estimators.graphs.corrections import graph_disagreement, output_totals
from qcore.estimators.pruner.choice import untrained_options
from qcore.estimators.pruner.pruner import Pruner
from qcore.estimators.quantizer.branches import float_bytes_of_branches
from qcore.estimators.quantizer.graphs import by_rows, told_of, without_codes
from qcore.estimators.quantizer.quantizer import Quantizer
from qcore.estimators.quantizer.widening import (
    LEAST,
    MARGIN,
    is_well,
    least_judged,
    wide_values,
    wide_weights,
)
from qcore.graph.graph import BaseGraph

__all__ = ["CompressedWeights", "Wishes", "merged_report", "prune_and_quantize", "shrunk"]


#: Bytes of constants in branches that are no weights to speak of.
SMALL = 256


#: What a report says of the samples by which its graph is judged.
JUDGED_ON = {True: "validation_data", False: "X, to which the codes are fitted"}

#: Of the error that weights as floats have to leave to be worth their bytes.
ENOUGH = 0.7

#: What products may lose by taking wide values as int8 row by row: of the error with floats.
BY_ROWS = 1.25


class CompressedWeights(dict[str, Any]):
    """A dict of named arrays that remembers how it was made.

    Attributes
    ----------
    report_ : Report
    """

    report_: Report


@dataclass(frozen=True)
class Wishes:
    """What a model is to become, as `qcore.compress` documents it."""

    bits: int | Mapping[str, int] | None = 8
    group_size: int | None = None
    sparsity: float | Mapping[str, float] | None = None
    pattern: str = "unstructured"
    activations: str | None = "auto"
    scheme: str = "affine"
    levels: int | None = None
    ignore: Iterable[str] = ("*bias",)

    def __post_init__(self) -> None:
        matches_any("", self.ignore)  # refuses what are no patterns
        object.__setattr__(self, "ignore", tuple(self.ignore))
        pattern = self.pattern
        parse_pattern(pattern, None if ":" in str(pattern) else 0.0)
        if pattern != "unstructured" and ":" not in pattern and self.sparsity is None:
            raise ArgumentError(
                "pattern", f"pattern is {pattern!r}; it needs sparsity, the share that goes"
            )
        if self.bits == 1 and self.prunes:
            raise ValueError("bits is 1 with pruning; codes of 1 bit are signs, and have no 0")

    @property
    def prunes(self) -> bool:
        """Whether weights are to go."""
        return self.sparsity is not None or self.pattern != "unstructured"

    def options(self) -> dict[str, Any]:
        """Return the wishes by name."""
        return asdict(self)

    def pruner(self, model: Any, X: ArrayLike | None, y: ArrayLike | None) -> Pruner | None:
        """Return what prunes a model, if anything does."""
        if not self.prunes:
            return None
        chosen = untrained_options(
            self.pattern,
            samples=X is not None and not isinstance(model, Mapping),
            labels=y is not None and not isinstance(model, BaseGraph),
            by_name=isinstance(self.sparsity, Mapping),
        )
        return Pruner(self.sparsity, pattern=self.pattern, ignore=self.ignore, **chosen)

    def quantizer(self) -> Quantizer | None:
        """Return what quantizes a model, if anything does."""
        if self.bits is None:
            return None
        return Quantizer(
            self.bits,
            scheme=self.scheme,
            levels=self.levels,
            group_size=self.group_size,
            activations=self.activations,
            ignore=self.ignore,
        )


def shrunk(
    model: Any, X: ArrayLike | None, y: ArrayLike | None, wishes: Wishes, *,
    judges: Any = None, stacklevel: int = 2,
) -> Any:  # fmt: skip
    """Return a network or a dict of arrays as it was wished, with ``report_``.

    What a graph does not bear as codes is found on the samples `judges`; by default on X.

    Warns
    -----
    AccuracyWarning
        If samples are given and the answers to them are not what they were.
    """
    pruner, quantizer = wishes.pruner(model, X, y), wishes.quantizer()
    if pruner is None and quantizer is None:
        raise ValueError("bits and sparsity are both None: there is nothing to do")
    if isinstance(model, BaseGraph) and isinstance(X, Iterator):
        X = batches_of(model, X)  # it can be gone through once
    if isinstance(model, BaseGraph) and isinstance(judges, Iterator):
        judges = batches_of(model, judges)
    small = prune_and_quantize(model, X, y, pruner, quantizer, judges=judges)
    if isinstance(small, BaseGraph):
        _tell_of_branches(small, stacklevel)
    judges = X if judges is None else judges
    if X is None or not isinstance(model, (Chain, BaseGraph)):
        return small
    if isinstance(model, BaseGraph):
        totals = output_totals(model, small, judges)
        small.report_.totals.update(totals)
        small.report_.totals["judged on"] = JUDGED_ON[judges is not X]
        lost = graph_disagreement(totals)
    else:
        lost = disagreement(model, small, X, y)
    if lost is not None:
        advice = "more bits, less sparsity, or activations=None cost less"
        message = f"compressed, {lost}: {advice}"
        warnings.warn(message, AccuracyWarning, stacklevel=stacklevel + 1)
    return small


def _tell_of_branches(small: BaseGraph, stacklevel: int) -> None:
    """Warn of weights in branches that are chosen at run time and have stayed floats."""
    left = float_bytes_of_branches(small)
    if left and sum(left.values()) > SMALL:
        name = next(iter(left))
        warnings.warn(
            f"the branches of {name!r} are chosen at run time; {sum(left.values()):,} bytes of "
            "their weights stay floats: Graph.fixed, with the inputs and shapes that choose, "
            "leaves one branch",
            stacklevel=stacklevel + 2,
        )


def prune_and_quantize(
    model: Any,
    X: ArrayLike | None,
    y: ArrayLike | None,
    pruner: Pruner | None,
    quantizer: Quantizer | None,
    *,
    judges: Any = None,
) -> Any:
    """Return the model pruned and quantized: in one pass, where weights that stay move anyway."""
    reports: list[Report] = []
    one_pass = None
    if pruner is not None and quantizer is not None and X is not None:
        updates = find_criterion(pruner.criterion).updates
        one_pass = pruner if updates and not isinstance(model, Mapping) else None
    if pruner is not None and one_pass is None:
        model = pruner.fit_transform(model, X, y)
        reports.append(pruner.report_)
    wide: list[str] = []
    if quantizer is not None:
        before, model = model, quantizer.fit_transform(model, X, prune=one_pass)
        reports += ([] if one_pass is None else [one_pass.report_]) + [quantizer.report_]
        if isinstance(before, BaseGraph) and X is not None:
            found = _Judged(X, LEAST, 1.0)
            if judges is not None:
                found = _Judged(judges, least_judged(before), MARGIN)
            if one_pass is None:
                model, wide = _bearable(before, model, X, found, quantizer)
            else:
                model, wide = _bearable_pruned(before, model, X, found, quantizer, one_pass)
                reports[-2] = one_pass.report_
            reports[-1] = quantizer.report_
    if isinstance(model, Mapping):
        model = CompressedWeights(model)
    model.report_ = merged_report(reports)
    if wide:
        model.report_.totals["left wide"] = wide
    return model


class _Judged(NamedTuple):
    """Samples that judge a graph, what share of answers is to stay the same, by which margin."""

    X: Any
    least: float
    margin: float


def _bearable(
    before: BaseGraph, small: BaseGraph, X: Any, judges: _Judged, quantizer: Quantizer
) -> tuple[BaseGraph, list[str]]:
    """Return a quantized graph with what it does not bear as codes left wide, and what that is."""
    small.report_ = quantizer.report_
    wide: list[str] = []
    if is_well(before, small, *judges):
        return small, wide
    if small.codes:
        small, wide = _with_wide_values(before, X, judges, quantizer)
    # Fewer bits were asked for, whatever they cost; and floats in place of 8 bits cost bytes and
    # time, for which answers have to change as they are, without a margin.
    if quantizer.bits != 8 or is_well(before, small, judges.X, judges.least):
        return small, wide
    weights = wide_weights(before, small)
    if not weights:
        return small, wide
    report, ignore = quantizer.report_, quantizer.ignore
    quantizer.ignore = (*ignore, *(f"re:^{re.escape(name)}$" for name in weights))
    try:
        tried = quantizer.fit_transform(before, X)
    finally:
        quantizer.ignore = ignore
    errors = [output_totals(before, one, judges.X)["output error"] for one in (small, tried)]
    if errors[1] > ENOUGH * errors[0]:
        quantizer.report_ = report
        return small, wide
    return tried, wide + weights


def _bearable_pruned(
    before: BaseGraph, small: BaseGraph, X: Any, judges: _Judged, quantizer: Quantizer,
    pruner: Pruner,
) -> tuple[BaseGraph, list[str]]:  # fmt: skip
    """Return a pruned and quantized graph with what costs it much as codes left wide.

    What pruning takes is not to count: it is held against itself without codes of values.
    """
    wide = wide_values(small.changed(codes={}), small, judges.X) if small.codes else []
    if wide:
        small = quantizer.leave_wide(wide).fit_transform(before, X, prune=pruner)
    return small, wide


def _with_wide_values(
    before: BaseGraph, X: Any, judges: _Judged, quantizer: Quantizer
) -> tuple[BaseGraph, list[str]]:
    """Return a quantized graph whose costliest values are floats, and which these are.

    Of few samples, weights that make up for what codes do to their inputs learn the samples: they
    may answer worse than those that are fitted to inputs in floats, which are tried first.
    """
    apart = quantizer.leave_wide((), apart=True).fit_transform(before, X)
    wide = wide_values(before, apart, judges.X, least=judges.least, margin=judges.margin)
    report = quantizer.report_

    def judged(graph: BaseGraph, report: Report) -> BaseGraph:
        graph.report_ = report
        report.totals.update(output_totals(before, graph, judges.X))
        return graph

    small = judged(without_codes(apart, wide, report), report)
    error, rows = _error(small), False
    tried = by_rows(quantizer, small, wide, report)
    if tried is not None:
        rows = _error(judged(tried, report)) <= BY_ROWS * error
        small = tried if rows else judged(told_of(small, report), report)
    quantizer.leave_wide(wide, apart=True, by_rows=rows)
    if not wide or is_well(before, small, judges.X, judges.least):
        return small, wide
    error = _error(small)
    tried = quantizer.leave_wide(wide, by_rows=rows).fit_transform(before, X)
    if _error(judged(tried, quantizer.report_)) < error:
        return tried, wide
    quantizer.leave_wide(wide, apart=True, by_rows=rows).report_ = report
    return small, wide


def _error(small: BaseGraph) -> float:
    """Return what the outputs lose by the report of a quantized graph."""
    return float(small.report_.totals["output error"])


def merged_report(reports: list[Report]) -> Report:
    """Join the rows of several reports tensor by tensor; the later one wins."""
    rows: dict[str, dict[str, Any]] = {}
    for report in reports:
        for row in report.rows:
            rows.setdefault(row["tensor"], {}).update(row)
    totals: dict[str, Any] = {}
    for report in reports:
        totals.update(report.totals)
    return Report("compressed", rows.values(), totals)
