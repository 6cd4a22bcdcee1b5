"""What a quantizer was asked for, tensor by tensor."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from qcore._arguments.estimator import Estimator
from qcore._arguments.names import matches, matches_any
from qcore._arguments.validation import FLOATS
from qcore.arrays.layerwise.layerwise import ALGORITHMS
from qcore.arrays.params.observer import Observer
from qcore.arrays.tensor.scheme import SCHEMES
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import ArgumentError
from qcore.estimators.quantizer import choice

if TYPE_CHECKING:
    from qcore._display.progress import Progress

__all__ = ["QuantizerOptions"]


class QuantizerOptions(Estimator):
    """The options of `Quantizer`, which documents them, and what follows from them for a tensor."""

    bits_: dict[str, int]
    mixture_: dict[str, NDArray[np.uint8] | str]
    #: Weights of a graph whose inputs do not lie side by side: they have a scale for each output.
    _ungrouped: Collection[str] = ()
    #: Weights of a graph whose rows are gathered, not multiplied.
    _tables: Collection[str] = ()
    _on_graph = False
    #: How activations become integers where there are samples and nobody says how.
    _auto = "static"
    #: The graph and the samples on which that was tried last, and what each way lost.
    _tried: tuple[Any, Any, dict[str, float]] | None = None

    def __init__(
        self,
        bits: int | tuple[int | str, ...] | Mapping[str, int] = 8,
        *,
        scheme: str | Mapping[str, str] = "affine",
        levels: int | Mapping[str, int] | None = None,
        axis: int | Mapping[str, int | None] | None = 0,
        group_size: int | Mapping[str, int | None] | None = None,
        scale_dtype: DTypeLike | None = None,
        symmetric: bool | Mapping[str, bool | None] | None = None,
        narrow_range: bool | Mapping[str, bool | None] | None = None,
        observer: str | Mapping[str, str] = "auto",
        percentile: float | Mapping[str, float] = 99.99,
        algorithm: str | tuple[str, ...] | Mapping[str, str | tuple[str, ...]] = "auto",
        activations: str | Mapping[str, str | None] | None = "auto",
        attention: str = "auto",
        target_bits: float | None = None,
        target_bytes: int | None = None,
        target_us: float | None = None,
        min_score: float | None = None,
        granularity: str = "channel",
        nested: int | None = None,
        ignore: Iterable[str] = ("*bias",),
        progress: Progress = "auto",
    ) -> None:
        self.bits = bits
        self.scheme = scheme
        self.levels = levels
        self.axis = axis
        self.group_size = group_size
        self.scale_dtype = scale_dtype
        self.symmetric = symmetric
        self.narrow_range = narrow_range
        self.observer = observer
        self.percentile = percentile
        self.algorithm = algorithm
        self.activations = activations
        self.attention = attention
        self.target_bits = target_bits
        self.target_bytes = target_bytes
        self.target_us = target_us
        self.min_score = min_score
        self.granularity = granularity
        self.nested = nested
        self.ignore = ignore
        self.progress = progress

    def _option(self, option: str, name: str) -> Any:
        """Return an option for a tensor."""
        if option == "group_size" and name in self._ungrouped:
            return None
        found = self._given(option, name)
        if option != "symmetric" or found is not None:
            return found
        few = 1 < self.bits_.get(name, 8) < 8 and self._given("scheme", name) == "affine"
        if name in self._tables and few:
            return False  # rows that are read and not multiplied: zero points cost little
        # The kernel of groups has the zero at code 0.
        return True if self._runs_in_groups(name) else None

    def _given(self, option: str, name: str) -> Any:
        value = getattr(self, option)
        if not isinstance(value, Mapping):
            return value
        for pattern, found in value.items():
            if matches(name, pattern):
                return found
        raise ValueError(f"{option} names no value for {name!r}; add a pattern '*'")

    def _runs_in_groups(self, name: str) -> bool:
        """Whether a weight of a graph is multiplied as integers group by group."""
        return (
            self._on_graph
            and name not in self._ungrouped
            and self._given("group_size", name) is not None
            and self._given("activations", name) in ("auto", "dynamic")
            and self._given("scheme", name) == "affine"
            and self.bits_.get(name, 8) <= 4
        )

    def narrow_range_of(self, name: str) -> bool:
        """Whether a tensor's least code was asked to be left out: 2 bits are ternary then."""
        return bool(self._option("narrow_range", name))

    def algorithms_of(self, name: str, samples: bool) -> tuple[str, ...]:
        """Return what improves on rounding a tensor, with or without samples."""
        return self._algorithm(name, samples)

    def _algorithm(self, name: str, samples: bool) -> tuple[str, ...]:
        if isinstance(self.mixture_.get(name), str):
            return ()
        if samples and name in self.mixture_:
            return ALGORITHMS
        if samples and self.nested is not None:
            return ALGORITHMS[:3]  # one bias serves both precisions
        return choice.algorithm(
            self._option("algorithm", name), self._option("scheme", name), self.bits_[name],
            samples, self._option("symmetric", name), self._per_output(name),
        )  # fmt: skip

    def _per_output(self, name: str) -> bool:
        grouped = self._option("group_size", name) is not None
        return grouped or self._option("axis", name) == 0

    def _mode(self, name: str, samples: bool) -> str | None:
        """Return how a layer's activations become integers."""
        mode: str | None = self._option("activations", name)
        odd = None
        grouped = self._option("group_size", name) is not None
        if self._runs_in_groups(name):
            return "dynamic"
        rows = self.mixture_.get(name)
        if isinstance(rows, str) or (rows is not None and rows.min() > 8):
            return None
        if self._on_graph and rows is not None and rows.min() != rows.max():
            return None  # several widths: the weight is multiplied as floats
        if self._option("scheme", name) != "affine":
            odd = f"scheme {self._option('scheme', name)!r} has"
        elif grouped:
            odd = "weights with a group_size have"
        elif self.bits_[name] == 16:
            odd = "weights of 16 bits have"
        if odd is not None:
            if mode in ("static", "dynamic"):
                raise ArgumentError("activations", f"activations is {mode!r}; {odd} none")
            return None
        if mode == "auto":
            return self._auto if samples else "dynamic"
        if mode == "static" and not samples:
            raise ValueError("activations='static' needs samples: give X, or use 'dynamic'")
        return mode

    def _takes(self, name: str, value: Any) -> bool:
        if isinstance(value, QTensor) or getattr(value, "ndim", 0) < 2:
            return False
        floating = value.dtype.newbyteorder("=").type in FLOATS
        return bool(floating and not matches_any(name, self.ignore))

    def _observer(self, layer: str) -> Observer:
        method = self._option("observer", f"{layer}.weight")
        percentile = self._option("percentile", f"{layer}.weight")
        return Observer("minmax" if method == "auto" else method, percentile=percentile)

    def tensor_options(self, name: str, *, fitted: bool = False) -> dict[str, Any]:
        """Return the arguments with which `qcore.quantize` makes the codes of a tensor.

        `fitted`: by an algorithm, which finds the range itself.
        """
        option = {key: self._option(key, name) for key in choice.OPTIONS}
        scheme = SCHEMES[option["scheme"]]
        if option["group_size"] is not None or scheme.group_size or scheme.is_fitted:
            option["axis"] = None
        option["observer"] = choice.observer(option, self.bits_[name], fitted)
        return {"bits": self.bits_[name], **option}
