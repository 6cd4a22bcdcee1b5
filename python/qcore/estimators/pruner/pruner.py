"""The pruner: weights of a network, or of named arrays, set to 0, at once or while it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.models import named_weights, rebuilt
from qcore._arguments.validation import check_instance
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.pruning.criteria import Criterion, Evidence, find_criterion
from qcore.arrays.pruning.functions import apply_mask, keep_in_array, prune_array
from qcore.arrays.pruning.obs import Surgeon
from qcore.arrays.pruning.patterns import Mask, parse_pattern
from qcore.arrays.pruning.regrowth import regrown
from qcore.arrays.pruning.schedules import ConstantSparsity, PolynomialDecay
from qcore.estimators.pruner.evidence import gather_evidence, layer_stats
from qcore.estimators.pruner.fitting_graphs import (
    begin_graph,
    count_kept,
    describe_graph,
    fit_graph,
    transform_graph,
)
from qcore.estimators.pruner.layerwise import lone_surgery, prune_layers
from qcore.estimators.pruner.options import Masks, PrunerOptions
from qcore.estimators.pruner.report import pruning_report
from qcore.estimators.pruner.sensitivity import Trial, sensitive_targets
from qcore.graph.graph import BaseGraph

if TYPE_CHECKING:
    from qcore.chain.chain import Chain

__all__ = ["Pruner"]

Model = TypeVar("Model", bound="Chain | BaseGraph | dict[str, Any]")


class Pruner(PrunerOptions):
    """Sets the least important weights of a model to 0.

    Parameters
    ----------
    sparsity : float or dict, optional
        The share of zeros, 0 to 1, in each tensor or in all together; see `scope`. A dict gives it
        by pattern, the first that matches, as in ``{"fc1": 0.95, "*": 0.8}``. Default: the
        schedule's last; an N:M pattern implies it.
    pattern : {"unstructured", "N:M", "RxC", "rows", "columns", "neurons"}
        The shape of what goes; see `qcore.prune`. "neurons" leaves the last layer, whose neurons
        are the outputs, and sets the biases of pruned neurons to 0 too, ignored or not;
        `qcore.compact` then makes the arrays smaller.
    criterion : {"magnitude", "l1", "l2", "random", "taylor", "wanda", "sparsegpt"}
        What a weight is judged by; see `qcore.prune`. For a network, `fit` takes what a criterion
        needs from samples: "wanda" and "sparsegpt" from `X`, "taylor" from `X` and `y`.
    scope : {"auto", "layer", "global", "sensitivity"}
        Rank the weights of each tensor alone; or those of all tensors together: one threshold,
        under which layers with room to spare lose more; or each tensor alone, with a sparsity of
        its own that follows from how much the network's output suffers (needs samples). "auto":
        "global", and "layer" where the pattern, the criterion or a dict of sparsities asks for it.
    schedule : PolynomialDecay, ConstantSparsity, Regrowth, Rewinding or the like, optional
        How sparsity rises while a network trains with ``fit(..., prune=pruner)``, and whether
        weights come back. Default: from 0 to `sparsity` between a tenth and six tenths of the
        training.
    random_state : int, Generator or None
        Of the criterion "random".
    ignore : sequence of str, default ("*bias",)
        Patterns of tensors to leave: globs, or regular expressions after "re:". Tensors of fewer
        than two dimensions are never pruned.
    progress : bool, "auto" or callable
        A bar on standard error for what takes long, "sparsegpt" and "sensitivity"; "auto": on a
        terminal only. A callable gets (done, total, text).

    Attributes
    ----------
    masks_ : dict of str to ndarray of bool
        True where a weight is kept.
    targets_ : dict of str to float
        The sparsity that each tensor was to have.
    sparsity_ : float
        The share of zeros in the pruned tensors together; after `transform`, as it came out.
    scores_ : dict of str to float
        What a network scores on the samples and labels that `fit` got if only this tensor is
        pruned; "all": if all are.
    left_ : list of str
        Weights of a graph that a criterion on samples cannot judge, and leaves: those whose outputs
        read different inputs, such as depthwise convolutions'.
    report_ : Report
        Density and bytes, tensor by tensor, and the scores; after `transform`.

    References
    ----------
    Zhu and Gupta, "To prune, or not to prune", ICLR 2018 workshop (gradual pruning). For criteria
    and patterns see `qcore.prune`.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> w = {"fc1.weight": np.arange(1.0, 9.0).reshape(2, 4), "fc1.bias": np.ones(2)}
    >>> qc.Pruner(0.5).fit_transform(w)["fc1.weight"]
    array([[0., 0., 0., 0.],
           [5., 6., 7., 8.]])
    """

    left_: list[str]
    _bias_masks: Masks
    _biases: dict[str, NDArray[np.float32]]

    # the estimator -----------------------------------------------------------------------------
    def fit(
        self,
        model: Any,
        X: ArrayLike | None = None,
        y: ArrayLike | None = None,
        *,
        stats: Mapping[str, InputStats] | None = None,
        gradients: Mapping[str, ArrayLike] | None = None,
    ) -> Pruner:
        """Choose which weights go, at the final sparsity.

        Parameters
        ----------
        model : Sequential or dict of str to array
            The model; it is not changed.
        X, y : array_like, optional
            Samples and labels, for a network and a criterion or scope that needs them.
        stats : mapping of str to InputStats, optional
            Of the inputs of each tensor's layer, by the tensor's name; for "wanda" and "sparsegpt"
            on a dict.
        gradients : mapping of str to array_like, optional
            Of the loss, by the tensor's name; for "taylor" on a dict.

        Returns
        -------
        Pruner
            Itself.

        Raises
        ------
        ValueError
            If options do not fit together, a weight is NaN, or evidence is missing.
        """
        for name, evidence_of in (("stats", stats), ("gradients", gradients)):
            if evidence_of is not None:
                check_instance(evidence_of, Mapping, name)
        if isinstance(model, BaseGraph):
            fit_graph(self, model, X, stats)
            return self
        self.allocate(model, X, y)
        weights, criterion = named_weights(model), find_criterion(self.criterion)
        chosen = self._chosen(weights)
        self.updated_: dict[str, NDArray[Any]] = {}
        if not criterion.updates:
            evidence = self._evidence(model, X, y, stats, gradients)
            self.masks_ = self._masks(weights, chosen, criterion, evidence, self.targets_)
        elif isinstance(model, Mapping) or stats:
            self.masks_ = {}
            for name, w in chosen.items():
                found = stats.get(name) if stats else layer_stats(model, name, X)
                self.updated_[name], self.masks_[name] = prune_array(
                    w, *self._pattern(name), criterion, Evidence(found)
                )
        else:
            shares = {name: self._pattern(name) for name in chosen}
            if X is None:
                raise ValueError("X is None; this criterion needs samples")
            self.updated_, self.masks_ = prune_layers(model, X, shares, self.progress)
        self.scores_ = self._scores(model, X, y)
        count_kept(self)
        return self

    def allocate(
        self,
        model: Any,
        X: ArrayLike | None = None,
        y: ArrayLike | None = None,
    ) -> Pruner:
        """Find the sparsity of each tensor, `targets_`, and choose no weights yet.

        With the scope "sensitivity", from samples; the parameters are those of `fit`.
        """
        criterion = find_criterion(self.criterion)
        self._check_scope(criterion)
        self.targets_ = self._targets(self._chosen(named_weights(model)))
        if self._scope == "sensitivity":
            if isinstance(model, Mapping) or X is None:
                raise ValueError("scope is 'sensitivity'; it needs a network and samples X")
            trial = self._trial(model, X, y, criterion)
            self.targets_ = sensitive_targets(model, self.targets_, X, trial, self.progress)
        return self

    # within a quantizer ------------------------------------------------------------------------
    def begin(self, model: Any, X: ArrayLike | None = None, y: ArrayLike | None = None) -> Pruner:
        """Choose all that can be chosen before the first layer has changed; see `prune_layer`."""
        if not find_criterion(self.criterion).updates:
            return self.fit(model, X, y)
        if isinstance(model, BaseGraph):
            begin_graph(self, model, X)
            return self
        self.allocate(model, X, y)
        self.masks_, self.updated_, self.scores_ = {}, {}, {}
        return self

    def prune_layer(
        self, name: str, w: NDArray[Any], stats: InputStats, *, centred: bool
    ) -> tuple[NDArray[Any], Mask]:
        """Return a weight, pruned, and its mask: one layer after another, as `Quantizer` goes.

        Parameters
        ----------
        name : str
        w : ndarray of float, (outputs, inputs)
        stats : InputStats
            Of the layer's inputs, with the exact ones where they differ.
        centred : bool
            Leave the error of the mean to the bias.
        """
        if name not in self.targets_:
            return w, w != 0
        if find_criterion(self.criterion).updates:
            pruned, self.masks_[name] = Surgeon(w, stats, centred=centred).prune(
                *self._pattern(name)
            )
            return pruned.astype(w.dtype), self.masks_[name]
        return apply_mask(w, self.masks_[name]), self.masks_[name]

    def describe(self, model: Any) -> None:
        """Report on a model that this pruned."""
        if isinstance(model, BaseGraph):
            describe_graph(self, model)
            return
        self.report_ = pruning_report(named_weights(model), self.masks_, self.scores_)
        self.sparsity_ = 1.0 - float(self.report_.totals["density"])

    def transform(self, model: Model) -> Model:
        """Return the model with the weights that `fit` chose set to 0.

        With the criterion "sparsegpt", the weights that stay, and the biases that make up for their
        layers, are those that `fit` found.
        """
        self._check_fitted("masks_")
        if isinstance(model, BaseGraph):
            return transform_graph(self, model)  # type: ignore[return-value]
        weights = named_weights(model)
        missing = sorted(set(self.masks_) - set(weights))
        if missing:
            raise ValueError(f"model has no tensor {missing[0]!r}, which fit has seen")
        new: dict[str, Any] = dict(weights)
        for name, mask in self.masks_.items():
            if weights[name].shape != mask.shape:
                shape = weights[name].shape
                raise ValueError(f"{name} has shape {shape}; fit has seen {mask.shape}")
            new[name] = self._pruned_tensor(name, weights[name])
        new |= self.updated_
        small: Model = rebuilt(model, new)
        self.describe(small)
        return small

    def fit_transform(
        self, model: Model, X: ArrayLike | None = None, y: ArrayLike | None = None, **evidence: Any
    ) -> Model:
        """Fit, then transform the same model."""
        return self.fit(model, X, y, **evidence).transform(model)

    # training ----------------------------------------------------------------------------------
    def for_training(self, total_steps: int) -> Pruner:
        """Return a pruner for a training of so many steps: this one, with a schedule.

        A schedule that was given stays. The default one ends on a turn, so that the final sparsity
        is reached to the digit; an N:M pattern has no degrees and is there from a tenth on.
        """
        criterion = find_criterion(self.criterion)
        if criterion.needs or self._scope == "sensitivity":
            found = f"criterion {self.criterion!r} and scope {self._scope!r}"
            raise ValueError(f"{found} do not go with training, which judges by the weights alone")
        shares = self._shares()
        final = max(shares.values()) if isinstance(shares, Mapping) else shares
        pattern, final = parse_pattern(self.pattern, final)
        new = type(self)(**self.get_params() | {"progress": False})
        if self.schedule is not None:
            fitting = getattr(self.schedule, "for_training", None)
            new.schedule = self.schedule if fitting is None else fitting(total_steps)
            return new
        begin = total_steps // 10
        room = max(1, total_steps * 6 // 10 - begin)
        frequency = min(100, max(1, room // 10))
        if pattern.implied is not None:
            new.schedule = ConstantSparsity(final, begin, frequency=frequency)
        else:
            end = begin + room // frequency * frequency
            new.schedule = PolynomialDecay(0.0, final, begin, end, frequency=frequency)
        return new

    def masks_at(
        self,
        weights: Mapping[str, Any],
        step: int,
        gradients: Mapping[str, NDArray[Any]] | None = None,
    ) -> Masks | None:
        """Return new masks where the schedule prunes at a step, else None.

        They follow from the weights as they are, those that were pruned among them: a trainer
        that sets these to 0 after each step keeps them pruned as sparsity rises. Tensors that are
        not pruned have no mask. Where `sparsity` is a dict, the schedule is that of its greatest
        value, and the others rise in proportion.

        Parameters
        ----------
        weights : mapping of str to array
            The weights now.
        step : int
            The step that is about to be taken, from 0 on.
        gradients : mapping of str to ndarray, optional
            Of the loss, for all weights, where the schedule regrows by them.

        Returns
        -------
        dict of str to ndarray of bool, or None
            True where a weight is kept.
        """
        if self.schedule is None:
            raise ValueError("schedule is None; training needs one: see for_training")
        if not self.schedule.should_prune(step):
            return None
        criterion = find_criterion(self.criterion)
        chosen = self._chosen(weights)
        targets = self._targets(chosen)
        share = self.schedule.sparsity(step)
        greatest = max(targets.values(), default=0.0)
        if isinstance(self.sparsity, Mapping) and greatest:
            targets = {name: share * target / greatest for name, target in targets.items()}
        elif parse_pattern(self.pattern, greatest)[0].implied is None:
            targets = dict.fromkeys(targets, share)
        evidence = dict.fromkeys(chosen, Evidence(rng=np.random.default_rng(self.random_state)))

        def masks(share_of: Callable[[float], float]) -> Masks:
            shares = {name: share_of(target) for name, target in targets.items()}
            return self._masks(weights, chosen, criterion, evidence, shares)

        moved = getattr(self.schedule, "regrowth", lambda step: 0.0)(step)
        if not moved:
            return masks(lambda target: target)
        if self.pattern != "unstructured":
            raise ValueError(f"the schedule regrows; pattern {self.pattern!r} does not")
        kept = masks(lambda target: 1.0 - (1.0 - target) * (1.0 - moved))
        if gradients is None:
            raise ValueError("gradients is None; the schedule regrows by them")
        scores = {name: np.abs(gradients[name]) for name in chosen}
        return regrown(kept, scores, targets, together=self._scope == "global")

    def _scores(self, model: Any, X: ArrayLike | None, y: ArrayLike | None) -> dict[str, float]:
        """Return what a network scores with each tensor pruned alone, and with all."""
        if isinstance(model, Mapping) or X is None or y is None:
            return {}
        weights = model.named_weights()
        new = {name: self._pruned_tensor(name, weights[name]) for name in self.masks_}
        scores = {
            name: float(model.with_weights({name: value}).score(X, y))
            for name, value in new.items()
        }
        scores["all"] = float(model.with_weights(new | self.updated_).score(X, y))
        return scores

    def _pruned_tensor(self, name: str, value: Any) -> NDArray[Any]:
        """Return a tensor as `fit` found that it is to be."""
        if name in self.updated_:
            return self.updated_[name]
        return apply_mask(np.asarray(value), self.masks_[name])

    def _evidence(
        self,
        model: Any,
        X: ArrayLike | None,
        y: ArrayLike | None,
        stats: Mapping[str, InputStats] | None,
        gradients: Mapping[str, ArrayLike] | None,
    ) -> dict[str, Evidence]:
        """Return what the criterion needs to know of each tensor."""
        rng = np.random.default_rng(self.random_state)
        criterion = find_criterion(self.criterion)
        return gather_evidence(model, self.targets_, criterion, X, y, stats, gradients, rng)

    def _trial(self, net: Chain, X: ArrayLike, y: ArrayLike | None, criterion: Criterion) -> Trial:
        """Return the function that prunes one tensor of a network, for what finds targets."""
        if criterion.updates:
            return lone_surgery(net, X, self.pattern)
        weights = self._chosen(net.named_weights())
        evidence = self._evidence(net, X, y, None, None)

        def trial(name: str, sparsity: float) -> dict[str, NDArray[Any]]:
            pattern = parse_pattern(self.pattern, sparsity)[0]
            w = weights[name]
            mask = keep_in_array(w, pattern, sparsity, criterion, evidence[name])
            return {name: np.where(mask, w, w.dtype.type(0))}

        return trial
