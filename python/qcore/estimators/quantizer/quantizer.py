"""The quantizer: post-training quantization of a network, or of named arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from qcore._arguments.models import named_weights
from qcore._arguments.validation import check_instance, single_samples
from qcore._display.table import Report
from qcore.arrays.layerwise.algorithms import DATA_FREE
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.tensor.tensor import QTensor
from qcore.chain.chain import Chain
from qcore.estimators.calibration.calibration import layer_inputs
from qcore.estimators.quantizer import choice
from qcore.estimators.quantizer.branches import with_report_of_branches
from qcore.estimators.quantizer.coder import Coder, bias_of
from qcore.estimators.quantizer.graphs import GraphCodes, graph_matrices, tables, ungrouped
from qcore.estimators.quantizer.mixing import mix_chain, mix_graph
from qcore.estimators.quantizer.report import output_columns, tensor_rows, totals_of
from qcore.estimators.quantizer.walking import activation_qparams, quantize_layers
from qcore.graph.graph import BaseGraph

if TYPE_CHECKING:
    from qcore.chain.layers import Dense
    from qcore.estimators.pruner.pruner import Pruner

__all__ = ["Quantizer"]

#: Samples that `fit` keeps, on which the report judges the network.
JUDGES = 1000

Model = TypeVar("Model", bound="Chain | BaseGraph | dict[str, Any]")


class Quantizer(Coder):
    """Quantizes the weights of a trained model, and calibrates its activations.

    Every option of a tensor may be a dict that gives it by layer: patterns to values, of which the
    first that names the tensor counts, as in ``{"fc1": 4, "*": 8}``. The targets, `granularity`,
    `nested`, `ignore` and `progress` are the network's.

    Parameters
    ----------
    bits : int, tuple or dict, default 8
        Width of a weight's code, 1 to 8, or 16. A tuple is a mixture, of which each output of each
        layer gets one: integer widths, and "float16" and "float32", which take the layer's input as
        a float, as in ``(2, 4, 8, "float32")``; it needs one of the targets, and a network with
        samples.
    scheme : str, default "affine"
        What codes stand for, as in `qcore.quantize`.
    levels : int, optional
        Size of a fitted codebook.
    axis : int or None, default 0
        One scale for each index of this axis of a weight (its outputs), or one for the tensor.
        Codebooks that are fitted have one for the tensor.
    group_size : int, optional
        One scale for each so many inputs, instead of `axis`.
    scale_dtype : dtype, optional
        As in `qcore.quantize`.
    symmetric, narrow_range : bool, optional
        As in `qcore.quantize`.
    observer : {"auto", "minmax", "percentile", "mse", "entropy"}
        How ranges are found, of weights and of activations. "auto": "mse" for weights of fewer than
        8 bits that no algorithm fits and for the values of a graph, else "minmax".
    percentile : float, default 99.99
        Of the observer of that name.
    algorithm : "auto", str or tuple of str
        What improves on rounding the weights of a network to the nearest code: any of
        "clip_search", "gptq", "coordinate_descent", "adaround" and "bias_correction", see
        `qcore.arrays.layerwise.layerwise`; or, without samples, "hqq". Before them, "smoothquant",
        "awq" or "cross_layer_equalization" move scales between layers, see
        `qcore.estimators.equalization.equalization`, and "hadamard" rotates the inputs of layers,
        which adds a layer for each, see `qcore.estimators.equalization.hadamard`. Most need
        samples, or `stats`. "auto": where there are samples, all of layerwise for affine codes of
        2 to 7 bits, and "gptq" and "bias_correction" for 8; else none.
    activations : {"auto", "static", "dynamic"}, None or dict, default "auto"
        How a network's activations become integers: "static", with ranges seen in calibration
        (what `compress` finds to bear none is taken row by row, or as floats); "dynamic", row by
        row at run time; None: not at all, weights only. "auto" is "static" where `fit` gets
        samples, else "dynamic"; a graph with attention is tried both ways on a part of the samples
        and judged by another, and its dense products take rows where ranges lose a quarter more:
        the report has "static error" and "dynamic error". Schemes other than affine, groups and
        weights of 16 bits have no integer activations. The state of an LSTM or a GRU has no range
        that samples could show: its codes are always made step by step.
    attention : {"auto", "int8", "float32"}, default "auto"
        How the attentions of a graph multiply queries and keys, and weights and values. "int8": as
        codes that are made of them head by head while they run; "auto": so where this takes at most
        3 % from an attention's output on the samples (the length of the error, of the output's),
        and nowhere without samples.
    target_bits : float, optional
        Of a mixture: bits a weight on average, over the codes.
    target_bytes : int, optional
        Of a mixture: bytes of all tensors, scales, widths, zero points and biases included.
    target_us : float, optional
        Of a mixture: microseconds that one sample takes, by the measured time of each layer alone
        at each width. Kernels take whole layers, so the rows of a layer then share a width.
    min_score : float, optional
        Of a mixture: the fewest bits with which the network scores so much on the samples and
        labels that `fit` gets; without labels, agrees with the float network.
    granularity : {"channel", "layer"}
        Of a mixture: whether outputs of a layer may have different widths.
    nested : int, optional
        4: the 8-bit codes contain those of 4 bits, see `Sequential.set_precision`.
    ignore : sequence of str, default ("*bias",)
        Patterns of tensors to leave as they are: globs, or regular expressions after ``re:``.
        Tensors of fewer than two dimensions are always left.
    progress : bool, "auto" or callable
        A bar on standard error; "auto": on a terminal only. A callable gets (done, total, text).

    Attributes
    ----------
    bits_ : dict of str to int
        What each quantized tensor gets.
    input_qparams_ : dict of str to (QParams, "dynamic" or None)
        How each layer of a network takes its input.
    mixture_ : dict of str to (ndarray or str)
        Of a mixture: the width of each row of each weight, or the type it stays in.
    curve_ : list of dict
        Of a mixture: mean bits and the error they were predicted to leave, of each that was tried.
    stats_ : dict of str to InputStats
        What was seen of each weight's inputs, where an algorithm needs it.
    report_ : Report
        What was lost, tensor by tensor; after `transform`. Where `fit` got samples, also the error
        of the network's output that each layer alone causes, and scores; of a mixture, ``curve``.

    References
    ----------
    Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference: A whitepaper",
    2018 (per-channel weights, per-tensor activations).

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> w = {"fc1.weight": np.eye(4, dtype=np.float32), "fc1.bias": np.ones(4, np.float32)}
    >>> small = qc.Quantizer(bits=4).fit_transform(w)
    >>> small["fc1.weight"].bits, small["fc1.bias"].dtype
    (4, dtype('float32'))
    """

    report_: Report
    _wide: Collection[str] = ()
    _apart: bool = False
    _by_rows: bool = False

    # fitting -----------------------------------------------------------------------------------
    def fit(
        self,
        model: Any,
        X: ArrayLike | None = None,
        y: object = None,
        *,
        stats: Mapping[str, InputStats] | None = None,
        prune: Pruner | None = None,
    ) -> Quantizer:
        """Choose what to quantize and how, and see what a network's layers get as input.

        Parameters
        ----------
        model : Sequential or dict of str to array
            The model; it is not changed.
        X : array_like, optional
            Samples, (n, inputs), for the ranges of static activations and for algorithms. No
            labels are needed; a thousand are plenty.
        y : array_like, optional
            Labels, (n,): the report then has scores, and `min_score` is held to them.
        stats : dict of str to InputStats, optional
            For a dict of weights: the inputs of those that an algorithm is to fit, by the weight's
            name.
        prune : Pruner, optional
            Prune a network in the same pass: weights that stay make up for those that go as they
            do for rounding, layer by layer. Its `fit` is not needed, and is called.

        Returns
        -------
        Quantizer
            Itself.
        """
        if isinstance(model, BaseGraph):
            return self._fit_graph(model, X, y, stats, prune)
        self._ungrouped, self._tables, self._on_graph = (), (), False
        self.begin(model)
        model = self._prepare(model, X)
        self._pruner = self._begin_pruning(prune, model, X, y)
        if isinstance(self.bits, tuple):
            mix_chain(self, model, X, y)
        if isinstance(model, Mapping):
            if stats is not None:
                check_instance(stats, Mapping, "stats")
            self.stats_.update(stats or {})
            for name in self.bits_:
                if self._algorithm(name, self.stats_.get(name) is not None):
                    self._known[name] = (model[name], *self.fitted(name, model[name], model))
            return self
        if stats is not None:
            raise ValueError("stats is given; a network's are taken from X, leave it out")
        modes = {name: self._mode(name, X is not None) for name in self.bits_}
        for layer in self._layers(model):
            mode = modes[f"{layer.name}.weight"]
            self.input_qparams_[layer.name] = mode if mode != "static" else None
        if X is not None:
            samples = single_samples(X, model.layers[0].in_features)
            self._judges = samples[:JUDGES].copy(), None if y is None else np.asarray(y)[:JUDGES]
            quantize_layers(self, model, samples, modes)
        elif any(set(self._algorithm(name, False)) - set(DATA_FREE) for name in self.bits_):
            raise ValueError("algorithm needs samples: give X, or leave it out")
        return self

    def _fit_graph(
        self,
        graph: BaseGraph,
        X: Any,
        y: Any,
        stats: Mapping[str, InputStats] | None,
        prune: Pruner | None,
    ) -> Quantizer:
        for name, given in (("stats", stats), ("nested", self.nested)):
            if given is not None:
                raise ValueError(f"{name} is given; a graph has none, leave it out")
        self._ungrouped, self._tables = ungrouped(graph), tables(graph)
        self._on_graph = True
        self.begin(graph_matrices(graph))
        if isinstance(self.bits, tuple):
            mix_graph(self, graph, X, y)
        if X is None and any(
            set(self._algorithm(name, False)) - set(DATA_FREE) for name in self.bits_
        ):
            raise ValueError("algorithm needs samples: give X, or leave it out")
        self._pruner = self._begin_pruning(prune, graph, X, y)
        self._codes = GraphCodes(self, graph, X, y)
        self.input_qparams_.update(self._codes.codes)
        return self

    def stands_in(self, graph: BaseGraph) -> None:
        """Take the weights, which streams fit by name, as those of a graph."""
        self._ungrouped, self._tables = ungrouped(graph), tables(graph)
        self._on_graph = True

    def leave_wide(
        self, values: Collection[str], *, apart: bool = False, by_rows: bool = False
    ) -> Quantizer:
        """Let these values of a graph be floats in what `fit` makes of it next.

        Weights make up for what codes do to their inputs, unless they are to be fitted `apart`:
        to what the inputs are as floats. Products take them `by_rows`, as int8 with a scale for
        each row, or as floats.
        """
        self._wide, self._apart, self._by_rows = frozenset(values), apart, by_rows
        return self

    def partial_fit(self, model: Chain, X: ArrayLike, y: object = None) -> Quantizer:
        """Take in some more samples, with what was seen before; for data that do not fit in memory.

        Statistics are those of the float network: unlike after `fit`, layers do not make up for the
        errors of those before them.
        """
        if isinstance(model, Mapping):
            raise TypeError("model is a dict; partial_fit is for networks, which have inputs")
        if not hasattr(self, "_observers"):
            self.begin(model)
            self._observers = {
                layer.name: self._observer(layer.name) for layer in self._layers(model)
            }
        for layer, value in layer_inputs(model, single_samples(X, model.layers[0].in_features)):
            name = f"{layer.name}.weight"
            if name not in self.bits_:
                continue
            seen = self._observers[layer.name].update(value)
            mode = self._mode(name, True)
            static = mode == "static"
            self.input_qparams_[layer.name] = activation_qparams(seen) if static else mode
            if self._algorithm(name, True):
                self.stats_.setdefault(name, InputStats()).update(value)
        return self

    def transform(self, model: Model) -> Model:
        """Return the model with quantized weights; what was not seen by `fit` stays as it is."""
        self._check_fitted("bits_")
        if isinstance(model, BaseGraph):
            if self._codes is None:
                raise ValueError("model is a Graph; fit has seen none")
            coded, self.report_ = with_report_of_branches(self, *self._codes.apply(model))
            if self._pruner is not None:
                self._pruner.describe(coded)
            return coded  # type: ignore[return-value]
        given = model
        model = self._preparation.apply(given)
        weights = named_weights(model)
        new: dict[str, Any] = dict(weights)
        for name, value in weights.items():
            if name in self.bits_ and not isinstance(value, QTensor):
                new[name], bias = self.fitted(name, value, weights)
                if bias is not None:
                    new[bias_of(name)] = bias
        rows = tensor_rows(weights, new, self._preparation.added(given, model))
        if isinstance(model, Mapping):
            self.report_ = Report("quantized", rows, totals_of(rows))
            return new  # type: ignore[return-value]
        assert isinstance(model, Chain)
        # A layer that had no bias may have got one.
        small = model.with_weights({name: new[name] for name in weights})
        for layer in small.layers:
            if f"{layer.name}.bias" not in weights and f"{layer.name}.bias" in new:
                layer.use_bias, layer.bias = True, new[f"{layer.name}.bias"]
            if isinstance(layer.weight, QTensor):
                layer.input_qparams = self.input_qparams_.get(layer.name)
        if self._pruner is not None:
            self._pruner.describe(small)
        self.report_ = self._report(model, small, rows)
        return small

    def _report(self, net: Chain, small: Chain, rows: list[dict[str, Any]]) -> Report:
        """Return what was lost, on the samples too, where `fit` got some."""
        totals = totals_of(rows)
        if self._judges is not None:
            layers, whole = output_columns(net, small, *self._judges)
            rows = [row | layers.get(row["tensor"], {}) for row in rows]
            totals |= whole
        return Report("quantized", rows, totals, self.curve_)

    def fit_transform(
        self,
        model: Model,
        X: ArrayLike | None = None,
        y: object = None,
        *,
        stats: Mapping[str, InputStats] | None = None,
        prune: Pruner | None = None,
    ) -> Model:
        """Fit, then transform the same model."""
        self.fit(model, X, y, stats=stats, prune=prune)
        return self.transform(model)

    # the parts ---------------------------------------------------------------------------------
    def _begin_pruning(
        self, prune: Pruner | None, model: Any, X: ArrayLike | None, y: Any
    ) -> Pruner | None:
        """Let the pruner choose what does not need the layers before to be quantized."""
        if prune is None:
            return None
        if isinstance(model, Mapping) or X is None:
            raise ValueError("prune is given; one pass needs a network and samples X")
        if isinstance(self.bits, tuple) or self.nested is not None:
            raise ValueError("prune is given; one pass goes with codes of one width, not nested")
        prune.begin(model, X, y)
        for name in {*prune.targets_, *prune.masks_}:
            if name not in self.bits_:
                raise ValueError(f"prune takes {name}, which is not quantized: prune it before")
        return prune

    def _prepare(self, model: Any, X: ArrayLike | None) -> Any:
        """Return the model after what is done to all of it first."""
        asked = {
            name: choice.network_algorithms(self._option("algorithm", name)) for name in self.bits_
        }
        first = next((step for steps in asked.values() for step in steps), None)
        if isinstance(model, Mapping):
            if first is None:
                return model
            raise ValueError(f"algorithm has {first!r}, which is for networks, not for a dict")
        inputs = model.layers[0].in_features
        samples = None if X is None else single_samples(X, inputs)
        options_of = self.tensor_options
        name = f"{model.layers[0].name}.weight"
        scales = name in self.bits_ and self._mode(name, X is not None) is not None
        return self._preparation.fit(
            model, samples, list(self.bits_), asked, options_of, scales_input=scales
        )

    def _layers(self, net: Chain) -> list[Dense]:
        return [layer for layer in net.layers if f"{layer.name}.weight" in self.bits_]
