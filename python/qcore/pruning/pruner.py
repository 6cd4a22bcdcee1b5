"""The pruner: weights of a network, or of named arrays, set to 0, at once or while it trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._estimator import Estimator
from qcore._models import named_weights, rebuilt
from qcore._names import matches_any
from qcore._validation import check_one_of
from qcore.pruning.functions import apply_mask
from qcore.pruning.masks import (
    check_options,
    keep_groups,
    keep_largest,
    keep_neurons,
    refuse_nan,
)
from qcore.pruning.schedules import ConstantSparsity, PolynomialDecay, Schedule
from qcore.report import Report

if TYPE_CHECKING:
    from qcore.nn.sequential import Sequential

__all__ = ["Pruner"]

Model = TypeVar("Model", "Sequential", dict[str, Any])
Masks = dict[str, NDArray[np.bool_]]

SCOPES = ("layer", "global")


class Pruner(Estimator):
    """Sets the least important weights of a model to 0.

    Parameters
    ----------
    sparsity : float, optional
        The share of zeros, 0 to 1, in each tensor or in all together; see `scope`. Default: the
        schedule's last; an N:M pattern implies it.
    pattern : {"unstructured", "N:M", "neurons"}
        The shape of what goes; see `qcore.prune`. "neurons" leaves the last layer, whose neurons
        are the outputs, and sets the biases of pruned neurons to 0 too, ignored or not.
    criterion : {"magnitude"}
        What a weight is judged by.
    scope : {"layer", "global"}
        Rank the weights of each tensor alone, or those of all tensors together: one threshold,
        under which layers with room to spare lose more.
    schedule : PolynomialDecay, ConstantSparsity or the like, optional
        How sparsity rises while a network trains with ``fit(..., prune=pruner)``. Default: from 0
        to `sparsity` between a tenth and six tenths of the training.
    ignore : sequence of str, default ("*bias",)
        Patterns of tensors to leave: globs, or regular expressions after "re:". Tensors of fewer
        than two dimensions are always left.

    Attributes
    ----------
    masks_ : dict of str to ndarray of bool
        True where a weight is kept.
    sparsity_ : float
        The share of zeros in the pruned tensors together; after `transform`, as it came out.
    report_ : Report
        Zeros and bytes, tensor by tensor; after `transform`.

    References
    ----------
    Zhu and Gupta, "To prune, or not to prune", ICLR 2018 workshop (gradual pruning).

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> w = {"fc1.weight": np.arange(1.0, 9.0).reshape(2, 4), "fc1.bias": np.ones(2)}
    >>> qc.Pruner(0.5).fit_transform(w)["fc1.weight"]
    array([[0., 0., 0., 0.],
           [5., 6., 7., 8.]])
    """

    def __init__(
        self,
        sparsity: float | None = None,
        *,
        pattern: str = "unstructured",
        criterion: str = "magnitude",
        scope: str = "layer",
        schedule: Schedule | None = None,
        ignore: Iterable[str] = ("*bias",),
    ) -> None:
        self.sparsity = sparsity
        self.pattern = pattern
        self.criterion = criterion
        self.scope = scope
        self.schedule = schedule
        self.ignore = ignore

    # the estimator -----------------------------------------------------------------------------
    def fit(self, model: Any, X: ArrayLike | None = None, y: object = None) -> Pruner:
        """Choose which weights go, at the final sparsity.

        Parameters
        ----------
        model : Sequential or dict of str to array
            The model; it is not changed.
        X, y : ignored
            The magnitude of a weight needs no samples.

        Returns
        -------
        Pruner
            Itself.
        """
        self.masks_ = self._masks(named_weights(model), self._final_sparsity())
        size = sum(mask.size for mask in self.masks_.values())
        kept = sum(int(np.count_nonzero(mask)) for mask in self.masks_.values())
        self.sparsity_ = 1.0 - kept / size if size else 0.0
        return self

    def transform(self, model: Model) -> Model:
        """Return the model with the weights that `fit` chose set to 0."""
        self._check_fitted("masks_")
        weights = named_weights(model)
        missing = sorted(set(self.masks_) - set(weights))
        if missing:
            raise ValueError(f"model has no tensor {missing[0]!r}, which fit has seen")
        new: dict[str, Any] = dict(weights)
        for name, mask in self.masks_.items():
            if weights[name].shape != mask.shape:
                shape = weights[name].shape
                raise ValueError(f"{name} has shape {shape}; fit has seen {mask.shape}")
            new[name] = apply_mask(np.asarray(weights[name]), mask)
        self.report_ = _report(new, set(self.masks_))
        self.sparsity_ = 1.0 - float(self.report_.totals["density"])
        small: Model = rebuilt(model, new)
        return small

    def fit_transform(self, model: Model, X: ArrayLike | None = None, y: object = None) -> Model:
        """Fit, then transform the same model."""
        return self.fit(model, X, y).transform(model)

    # training ----------------------------------------------------------------------------------
    def for_training(self, total_steps: int) -> Pruner:
        """Return a pruner for a training of so many steps: this one, with a schedule.

        A schedule that was given stays. The default one ends on a turn, so that the final sparsity
        is reached to the digit; an N:M pattern has no degrees and is there from a tenth on.
        """
        final, groups = check_options(self._final_sparsity(), self.pattern, self.criterion)
        new = type(self)(**self.get_params())
        if self.schedule is not None:
            return new
        begin = total_steps // 10
        room = max(1, total_steps * 6 // 10 - begin)
        frequency = min(100, max(1, room // 10))
        if groups is not None:
            new.schedule = ConstantSparsity(final, begin, frequency=frequency)
        else:
            end = begin + room // frequency * frequency
            new.schedule = PolynomialDecay(0.0, final, begin, end, frequency=frequency)
        return new

    def masks_at(self, weights: Mapping[str, Any], step: int) -> Masks | None:
        """Return new masks where the schedule prunes at a step, else None.

        They follow from the magnitudes as they are, those of pruned weights among them: a trainer
        that sets these to 0 after each step keeps them pruned as sparsity rises. Tensors that are
        not pruned have no mask.

        Parameters
        ----------
        weights : mapping of str to array
            The weights now.
        step : int
            The step that is about to be taken, from 0 on.

        Returns
        -------
        dict of str to ndarray of bool, or None
            True where a weight is kept.
        """
        if self.schedule is None:
            raise ValueError("schedule is None; training needs one: see for_training")
        if not self.schedule.should_prune(step):
            return None
        return self._masks(weights, self.schedule.sparsity(step))

    # the parts ---------------------------------------------------------------------------------
    def _final_sparsity(self) -> float | None:
        if self.sparsity is not None or self.schedule is None:
            return self.sparsity
        for name in ("final_sparsity", "target_sparsity"):
            if hasattr(self.schedule, name):
                return float(getattr(self.schedule, name))
        raise ValueError("sparsity is None, and the schedule does not say which one is the last")

    def _masks(self, weights: Mapping[str, Any], sparsity: float | None) -> Masks:
        check_one_of(self.scope, "scope", SCOPES)
        if _is_groups(self.pattern):
            sparsity = self.sparsity
        share, groups = check_options(sparsity, self.pattern, self.criterion)
        if self.scope == "global" and self.pattern != "unstructured":
            raise ValueError(f"scope is 'global'; pattern {self.pattern!r} is by layer only")
        chosen = self._chosen(weights)
        if groups is not None:
            return {name: keep_groups(w, *groups) for name, w in chosen.items()}
        if self.pattern == "neurons":
            return _neuron_masks(chosen, weights, share)
        if self.scope == "global":
            return dict(zip(chosen, keep_largest(list(chosen.values()), share), strict=True))
        return {name: keep_largest([w], share)[0] for name, w in chosen.items()}

    def _chosen(self, weights: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        chosen = {}
        for name, value in weights.items():
            if getattr(value, "ndim", 0) < 2 or matches_any(name, self.ignore):
                continue
            if not isinstance(value, np.ndarray):
                kind = type(value).__name__
                raise TypeError(f"{name} is a {kind}; prune before quantizing, or ignore it")
            if value.dtype.type not in (np.float16, np.float32, np.float64):
                continue
            refuse_nan(value, name)
            chosen[name] = np.ascontiguousarray(value, value.dtype.newbyteorder("="))
        return chosen


def _is_groups(pattern: object) -> bool:
    return isinstance(pattern, str) and ":" in pattern


def _neuron_masks(
    chosen: Mapping[str, NDArray[Any]], weights: Mapping[str, Any], share: float
) -> Masks:
    masks: Masks = {}
    matrices = [name for name, value in weights.items() if getattr(value, "ndim", 0) >= 2]
    for name, w in chosen.items():
        if name == matrices[-1]:
            continue
        rows = keep_neurons(w, share)
        masks[name] = np.ascontiguousarray(
            np.broadcast_to(rows.reshape(-1, *[1] * (w.ndim - 1)), w.shape)
        )
        layer, _, part = name.rpartition(".")
        bias = f"{layer}.bias" if part == "weight" else ""
        if getattr(weights.get(bias), "shape", None) == rows.shape:
            masks[bias] = rows
    return masks


def _report(weights: Mapping[str, Any], pruned: set[str]) -> Report:
    rows = []
    for name, value in weights.items():
        row: dict[str, Any] = {"tensor": name, "shape": "x".join(map(str, value.shape))}
        row["bytes"] = row["sparse bytes"] = int(value.nbytes)
        if name in pruned:
            size, nnz = int(value.size), int(np.count_nonzero(value))
            row |= {"size": size, "nnz": nnz, "density": nnz / size if size else 1.0}
            # As a file holds it: the kept values, and a bit for each position.
            row["sparse bytes"] = min(row["bytes"], nnz * value.dtype.itemsize + -(-size // 8))
        rows.append(row)
    totals: dict[str, Any] = {"tensor": "all"}
    for column in ("bytes", "sparse bytes", "size", "nnz"):
        totals[column] = sum(row.get(column, 0) for row in rows)
    totals["density"] = totals["nnz"] / totals["size"] if totals["size"] else 1.0
    return Report("pruned", rows, totals)
