"""The pruner: weights of a network, or of named arrays, set to 0, at once or while it trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._estimator import Estimator
from qcore._models import named_weights, rebuilt
from qcore._names import matches, matches_any
from qcore._table import Report
from qcore._validation import check_fraction, check_instance, check_one_of
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.pruning.criteria import Criterion, Evidence, find_criterion, refuse_nan
from qcore.arrays.pruning.functions import apply_mask, check_evidence, keep_in_array, prune_array
from qcore.arrays.pruning.obs import Surgeon
from qcore.arrays.pruning.patterns import Mask, Pattern, parse_pattern
from qcore.arrays.pruning.regrowth import regrown
from qcore.arrays.pruning.schedules import ConstantSparsity, PolynomialDecay, Schedule
from qcore.errors import ArgumentError
from qcore.estimators.graphs.matrices import matrices_of, with_matrices
from qcore.estimators.pruner.evidence import gather_evidence, layer_stats
from qcore.estimators.pruner.graphs import channel_masks, graph_stats, operated, sensitive_shares
from qcore.estimators.pruner.layerwise import lone_surgery, prune_layers
from qcore.estimators.pruner.report import pruning_report
from qcore.estimators.pruner.sensitivity import Trial, sensitive_targets
from qcore.graph.graph import BaseGraph

if TYPE_CHECKING:
    from qcore._progress import Progress
    from qcore.chain.chain import Chain

__all__ = ["Pruner"]

Model = TypeVar("Model", bound="Chain | BaseGraph | dict[str, Any]")
Masks = dict[str, Mask]
Share = float | Mapping[str, float] | None

SCOPES = ("auto", "layer", "global", "sensitivity")


class Pruner(Estimator):
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
            return self._fit_graph(model, X, stats)
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
        size = sum(mask.size for mask in self.masks_.values())
        kept = sum(int(np.count_nonzero(mask)) for mask in self.masks_.values())
        self.sparsity_ = 1.0 - kept / size if size else 0.0
        return self

    def _fit_graph(
        self, graph: BaseGraph, X: Any, stats: Mapping[str, InputStats] | None
    ) -> Pruner:
        """Choose which weights of a graph go, each as a matrix (out, in)."""
        criterion = find_criterion(self.criterion)
        self._check_scope(criterion)
        by_damage = self._scope == "sensitivity"
        if criterion.needs == "gradient" or (by_damage and self.pattern == "neurons"):
            found = f"scope {self._scope!r} and criterion {self.criterion!r}"
            raise ValueError(
                f"{found}: channels of graphs have the scopes 'layer' and 'global', and "
                "criteria that need no gradient"
            )
        matrices = matrices_of(graph)
        chosen = self._chosen(matrices)
        self.targets_ = self._targets(chosen)
        self.left_ = []
        self.updated_, self.scores_, self._bias_masks, self._biases = {}, {}, {}, {}
        if self.pattern == "neurons":
            self.masks_, self._bias_masks = channel_masks(graph, self.targets_)
        else:
            needs = criterion.updates or criterion.needs == "stats"
            if needs and stats is None:
                stats = graph_stats(graph, X, chosen, self.progress)
            if needs and stats is not None:
                self.left_ = [name for name in chosen if name not in stats]
                chosen = {name: w for name, w in chosen.items() if name in stats}
                self.targets_ = {name: self.targets_[name] for name in chosen}
            if by_damage:
                if X is None:
                    raise ValueError("scope is 'sensitivity'; it needs samples X")
                trial = self._graph_trial(chosen, criterion, stats)
                self.targets_ = sensitive_shares(
                    graph, X, self.targets_, chosen, trial, self.progress
                )
            if criterion.updates:
                assert stats is not None
                shares = {name: self._pattern(name) for name in chosen}
                self.updated_, self._biases, self.masks_ = operated(graph, chosen, stats, shares)
            else:
                rng = np.random.default_rng(self.random_state)
                evidence = {
                    name: Evidence((stats or {}).get(name) if needs else None, rng=rng)
                    for name in chosen
                }
                self.masks_ = self._masks(matrices, chosen, criterion, evidence, self.targets_)
        size = sum(mask.size for mask in self.masks_.values())
        kept = sum(int(np.count_nonzero(mask)) for mask in self.masks_.values())
        self.sparsity_ = 1.0 - kept / size if size else 0.0
        return self

    def _graph_trial(
        self,
        matrices: Mapping[str, NDArray[Any]],
        criterion: Criterion,
        stats: Mapping[str, InputStats] | None,
    ) -> Callable[[str, float], NDArray[np.float32]]:
        """Return the function that prunes one matrix."""
        last: dict[str, Surgeon] = {}

        def trial(name: str, sparsity: float) -> NDArray[np.float32]:
            pattern, share = parse_pattern(self.pattern, sparsity)
            w, found = matrices[name], (stats or {}).get(name)
            if criterion.updates:
                assert found is not None
                if name not in last:
                    last.clear()  # one at a time: a surgeon of n inputs holds n² floats twice
                    last[name] = Surgeon(w, found, centred=False)
                return last[name].prune(pattern, share)[0].astype(np.float32)
            evidence = Evidence(found, rng=np.random.default_rng(self.random_state))
            keep = keep_in_array(w, pattern, share, criterion, evidence)
            return np.where(keep, w, np.float32(0)).astype(np.float32)

        return trial

    def _transform_graph(self, graph: BaseGraph) -> BaseGraph:
        matrices = matrices_of(graph)
        new: dict[str, NDArray[Any]] = {}
        for name, mask in self.masks_.items():
            if name not in matrices or matrices[name].shape != mask.shape:
                raise ValueError(f"model has no matrix {name!r} of {mask.shape}, as fit has seen")
            new[name] = self._pruned_tensor(name, matrices[name])
        biases = dict(self._biases)
        for name, keep in self._bias_masks.items():
            bias = np.asarray(graph.constants[name])
            biases[name] = np.where(keep, bias.reshape(-1), np.float32(0))
        small = with_matrices(graph, new, biases)
        pruned = {name: np.asarray(small.constants[name]) for name in self.masks_}
        report = pruning_report(pruned, self.masks_, {})
        note = "left: its outputs read different inputs"
        left = [{"tensor": name, "note": note} for name in self.left_]
        self.report_ = Report(report.title, [*report.rows, *left], report.totals)
        return small

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
        self.report_ = pruning_report(named_weights(model), self.masks_, self.scores_)
        self.sparsity_ = 1.0 - float(self.report_.totals["density"])

    def transform(self, model: Model) -> Model:
        """Return the model with the weights that `fit` chose set to 0.

        With the criterion "sparsegpt", the weights that stay, and the biases that make up for their
        layers, are those that `fit` found.
        """
        self._check_fitted("masks_")
        if isinstance(model, BaseGraph):
            return self._transform_graph(model)  # type: ignore[return-value]
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
