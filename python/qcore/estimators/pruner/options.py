"""What a pruner was asked for, and what follows from it for the tensors of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.estimator import Estimator
from qcore._arguments.names import matches, matches_any
from qcore._arguments.validation import check_fraction, check_one_of
from qcore.arrays.pruning.criteria import Criterion, Evidence, find_criterion, refuse_nan
from qcore.arrays.pruning.functions import check_evidence, keep_in_array
from qcore.arrays.pruning.patterns import Mask, Pattern, parse_pattern
from qcore.arrays.pruning.schedules import Schedule
from qcore.errors import ArgumentError

if TYPE_CHECKING:
    from qcore._display.progress import Progress

__all__ = ["SCOPES", "Masks", "PrunerOptions", "Share"]

Masks = dict[str, Mask]
Share = float | Mapping[str, float] | None

SCOPES = ("auto", "layer", "global", "sensitivity")


class PrunerOptions(Estimator):
    """The options of `Pruner`, which documents them, and what follows from them."""

    targets_: dict[str, float]

    def __init__(
        self,
        sparsity: Share = None,
        *,
        pattern: str = "unstructured",
        criterion: str = "magnitude",
        scope: str = "auto",
        schedule: Schedule | None = None,
        random_state: int | np.random.Generator | None = None,
        ignore: Iterable[str] = ("*bias",),
        progress: Progress = "auto",
    ) -> None:
        self.sparsity = sparsity
        self.pattern = pattern
        self.criterion = criterion
        self.scope = scope
        self.schedule = schedule
        self.random_state = random_state
        self.ignore = ignore
        self.progress = progress

    # the parts ---------------------------------------------------------------------------------
    def _shares(self) -> Share:
        if self.sparsity is not None or self.schedule is None:
            return self.sparsity
        for name in ("final_sparsity", "target_sparsity"):
            if hasattr(self.schedule, name):
                return float(getattr(self.schedule, name))
        raise ValueError("sparsity is None, and the schedule does not say which one is the last")

    @property
    def _scope(self) -> str:
        """The scope, with what "auto" means here."""
        if self.scope != "auto":
            return self.scope
        criterion = find_criterion(self.criterion)
        by_layer = (
            ":" in self.pattern
            or isinstance(self.sparsity, Mapping)
            or criterion.updates
            or criterion.by_row
        )
        return "layer" if by_layer else "global"

    def _check_scope(self, criterion: Criterion) -> None:
        check_one_of(self.scope, "scope", SCOPES)
        if self.schedule is not None:
            for name in ("sparsity", "should_prune"):
                if not callable(getattr(self.schedule, name, None)):
                    kind = type(self.schedule).__name__
                    raise TypeError(
                        f"schedule is {kind}; it needs the methods sparsity and should_prune"
                    )
        if self._scope == "layer":
            return
        if parse_pattern(self.pattern, None if ":" in self.pattern else 0.0)[0].implied is not None:
            raise ArgumentError(
                "scope", f"scope is {self.scope!r}; pattern {self.pattern!r} is by layer only"
            )
        if criterion.updates and self._scope == "global":
            name = criterion.name
            raise ValueError(f"scope is 'global'; criterion {name!r} ranks within layers only")
        if isinstance(self.sparsity, Mapping):
            raise ArgumentError(
                "scope", f"scope is {self.scope!r}; it takes one sparsity, not a dict"
            )

    def _targets(self, chosen: Iterable[str]) -> dict[str, float]:
        """Return the sparsity of each tensor, checked."""
        shares = self._shares()
        if not isinstance(shares, Mapping):
            return dict.fromkeys(chosen, parse_pattern(self.pattern, shares)[1])
        targets = {}
        for name in chosen:
            found = [key for key in shares if matches(name, key)]
            if not found:
                raise ValueError(f"sparsity names none for {name!r}; add a pattern '*'")
            share = check_fraction(shares[found[0]], f"sparsity[{found[0]!r}]")
            targets[name] = parse_pattern(self.pattern, share)[1]
        return targets

    def _masks(
        self,
        weights: Mapping[str, Any],
        chosen: Mapping[str, NDArray[Any]],
        criterion: Criterion,
        evidence: Mapping[str, Evidence],
        targets: Mapping[str, float],
    ) -> Masks:
        pattern = parse_pattern(self.pattern, next(iter(targets.values()), 0.0))[0]
        for name in chosen:
            check_evidence(criterion, evidence[name])
        masks: Masks = {}
        if self._scope == "global":
            scores = [criterion.score(w, evidence[name]) for name, w in chosen.items()]
            share = next(iter(targets.values()), 0.0)
            kept = pattern.keep(scores, share, criterion.power)
            masks = dict(zip(chosen, kept, strict=True))
        else:
            for name, w in chosen.items():
                masks[name] = keep_in_array(w, pattern, targets[name], criterion, evidence[name])
        return _with_biases(masks, weights) if self.pattern == "neurons" else masks

    def _pattern(self, name: str) -> tuple[Pattern, float]:
        return parse_pattern(self.pattern, self.targets_[name])

    def _chosen(self, weights: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """Return the tensors to prune, C-contiguous; those of outputs are no neurons to prune."""
        chosen = {}
        matrices = [name for name, value in weights.items() if getattr(value, "ndim", 0) >= 2]
        outputs = matrices[-1:] if self.pattern == "neurons" else []
        for name, value in weights.items():
            if getattr(value, "ndim", 0) < 2 or matches_any(name, self.ignore):
                continue
            if not isinstance(value, np.ndarray):
                kind = type(value).__name__
                raise TypeError(f"{name} is a {kind}; prune before quantizing, or ignore it")
            if value.dtype.type not in (np.float16, np.float32, np.float64) or name in outputs:
                continue
            refuse_nan(value, name)
            chosen[name] = np.ascontiguousarray(value, value.dtype.newbyteorder("="))
        return chosen


def _with_biases(masks: Masks, weights: Mapping[str, Any]) -> Masks:
    """Add the biases of pruned neurons."""
    found = dict(masks)
    for name, mask in masks.items():
        layer, _, part = name.rpartition(".")
        bias = f"{layer}.bias" if part == "weight" else ""
        rows: Mask = np.any(mask.reshape(len(mask), -1), axis=1)
        if getattr(weights.get(bias), "shape", None) == rows.shape:
            found[bias] = rows
    return found
