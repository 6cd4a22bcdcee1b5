"""The codes of one tensor after another: what a quantizer knows while it fits, and what follows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.models import named_weights
from qcore._arguments.validation import check_one_of
from qcore.arrays.layerwise.algorithms import DATA_FREE
from qcore.arrays.layerwise.bias_correction import corrected_bias
from qcore.arrays.layerwise.float_rows import fit_rows
from qcore.arrays.layerwise.layerwise import fit_codes
from qcore.arrays.layerwise.nested import nested_codes
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.params.qparams import QParams, check_bits, check_scale_dtype
from qcore.arrays.pruning.criteria import find_criterion
from qcore.arrays.schemes.table import CHOICES
from qcore.arrays.tensor.functions import quantize
from qcore.arrays.tensor.options import Options
from qcore.arrays.tensor.tensor import QTensor
from qcore.estimators.mixed.graphs import coded_steps, plain_stats
from qcore.estimators.mixed.mixed import Mixture, check_choices
from qcore.estimators.mixed.mixture_target import TARGETS
from qcore.estimators.quantizer import choice
from qcore.estimators.quantizer.options import QuantizerOptions
from qcore.estimators.quantizer.preparation import Preparation

if TYPE_CHECKING:
    from qcore.estimators.pruner.pruner import Pruner
    from qcore.estimators.quantizer.graphs import GraphCodes

__all__ = ["Coder", "bias_of"]


class Coder(QuantizerOptions):
    """What `Quantizer` has seen of a model, and the codes that it gives each of its tensors."""

    mixture_: dict[str, NDArray[np.uint8] | str]
    curve_: list[dict[str, float]]
    _judges: tuple[NDArray[np.float32], Any] | None = None
    _pruner: Pruner | None = None
    _codes: GraphCodes | None = None
    #: Weights of a graph of which one width holds for all outputs, or none.
    _whole: Collection[str] = ()

    def begin(self, model: Any) -> None:
        """Forget what was fitted, and see which tensors of a model are to get codes."""
        names = [name for name, value in named_weights(model).items() if self._takes(name, value)]
        self.mixture_ = {}
        self.curve_ = []
        self._auto = "static"
        if isinstance(self.bits, tuple):
            check_choices(self.bits)
            self.bits_ = dict.fromkeys(names, 8)
        else:
            for name in TARGETS:
                if getattr(self, name) is not None:
                    found = f"{name} is {getattr(self, name)!r}"
                    raise ValueError(f"{found}; it is for a tuple of bits, a mixture")
            self.bits_ = {name: check_bits(self._option("bits", name)) for name in names}
        check_one_of(self.nested, "nested", (None, 4))
        if self.nested is not None and set(self.bits_.values()) - {8}:
            raise ValueError("nested codes of 4 bits lie in those of 8: bits must be 8")
        check_one_of(self.attention, "attention", ("auto", "int8", "float32"))
        for name in names:
            modes = ("auto", "static", "dynamic", None)
            check_one_of(self._option("activations", name), "activations", modes)
            check_one_of(self._option("scheme", name), "scheme", CHOICES)
            check_one_of(self._option("observer", name), "observer", choice.OBSERVER_CHOICES)
        self.input_qparams_: dict[str, QParams | str | None] = {}
        self.stats_: dict[str, InputStats] = {}
        self._preparation = Preparation()
        self._codes = None
        self._whole = ()
        self._judges = None
        self._upper_stats: dict[str, InputStats] = {}
        self._known: dict[str, tuple[Any, QTensor, NDArray[np.float32] | None]] = {}
        vars(self).pop("_observers", None)

    def take_mixture(self, mixture: Mixture) -> None:
        """Let the widths of a mixture hold."""
        self.mixture_ = {
            name: rows
            for name, rows in mixture.items()
            if not isinstance(rows, str) or rows != "float32"
        }
        self.bits_ = {
            name: 16 if isinstance(rows, str) else int(rows[rows <= 8].max(initial=2))
            for name, rows in self.mixture_.items()
        }

    def fitted(
        self, name: str, value: NDArray[Any], weights: Mapping[str, Any]
    ) -> tuple[QTensor, NDArray[np.float32] | None]:
        """Return the tensor, from `fit` if it is the same, and the bias if it is corrected."""
        known = self._known.get(name)
        if known is not None and np.array_equal(known[0], value):
            return known[1], known[2]
        q = self._quantize(name, value)
        stats = self.stats_.get(name)
        corrects = "bias_correction" in self._algorithm(name, stats is not None)
        if stats is None or not corrects or not name.endswith("weight"):
            return q, None
        bias = weights.get(bias_of(name))
        corrected = corrected_bias(value, q, bias, stats)
        if q.float_rows is not None:
            # Rows that stay floats take the input as it is, not as integers of these statistics.
            assert q.row_bits is not None
            corrected = np.where(q.row_bits > 8, np.float32(0) if bias is None else bias, corrected)
        return q, corrected

    def quantized(self, name: str, value: NDArray[Any], stats: InputStats | None) -> QTensor:
        """Return the codes of one matrix, on the statistics of what it is multiplied with."""
        if stats is not None:
            self.stats_[name] = stats
        return self._quantize(name, value)

    def _quantize(self, name: str, value: NDArray[Any]) -> QTensor:
        stats = self.stats_.get(name)
        steps = self._algorithm(name, stats is not None)
        if self._on_graph and stats is None:  # its outputs read different rows
            steps = tuple(step for step in steps if step in DATA_FREE)
        rows = self.mixture_.get(name)
        if isinstance(rows, str):
            return quantize(value, scheme=rows)
        if rows is not None and name not in self._whole:
            kind = check_scale_dtype(self._option("scale_dtype", name))
            if stats is None:
                stats, steps = plain_stats(value.shape[1]), coded_steps(steps)
            return fit_rows(value, stats, steps, Options(8, axis=0, scale_dtype=kind), rows)
        if self.nested is not None and stats is not None:
            return nested_codes(value, stats, self._upper_stats.get(name, stats), steps)
        options = self.tensor_options(name, fitted=bool(steps))
        if self._pruner is not None and (stats is not None or not self._on_graph):
            return self._pruned(name, value, steps, options)
        return quantize(value, algorithm=steps, stats=stats if steps else None, **options)

    def _pruned(
        self, name: str, value: NDArray[Any], steps: tuple[str, ...], options: dict[str, Any]
    ) -> QTensor:
        """Prune and quantize a tensor: the codes that stay make up for both."""
        assert self._pruner is not None
        stats, centred = self.stats_[name], "bias_correction" in steps
        pruned, keep = self._pruner.prune_layer(name, value, stats, centred=centred)
        if not steps or "hqq" in steps or options.pop("scheme") != "affine":
            return quantize(
                pruned, algorithm="hqq" if "hqq" in steps else (), **self.tensor_options(name)
            )
        options["observer"] = "minmax"
        options["scale_dtype"] = check_scale_dtype(options["scale_dtype"])
        updates = find_criterion(self._pruner.criterion).updates
        target = pruned if updates and name in self._pruner.targets_ else None
        return fit_codes(value, stats, steps, Options(**options), keep=keep, target=target)


def bias_of(name: str) -> str:
    """Return the name of the bias that belongs to a weight of a chain."""
    return f"{name.removesuffix('weight')}bias"
