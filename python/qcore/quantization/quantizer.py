"""The quantizer: post-training quantization of a network, or of named arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from qcore._estimator import Estimator
from qcore._models import named_weights
from qcore._names import matches, matches_any
from qcore._validation import check_int, check_one_of, float_array
from qcore.quantization.functions import quantize
from qcore.quantization.qparams import QParams, qparams_from_range
from qcore.quantization.schemes import CHOICES
from qcore.quantization.tensor import QTensor
from qcore.report import Report

if TYPE_CHECKING:
    from qcore.nn.sequential import Sequential

__all__ = ["Quantizer"]

Model = TypeVar("Model", "Sequential", dict[str, Any])


class Quantizer(Estimator):
    """Quantizes the weights of a trained model, and calibrates its activations.

    Parameters
    ----------
    bits : int or dict, default 8
        Width of a weight's code, 2 to 8; or by pattern, the first that names the tensor:
        ``{"fc1": 4, "*": 8}``.
    scheme : {"affine", "kmeans"}
        What codes stand for.
    levels : int, default 16
        Size of a k-means codebook.
    axis : int or None, default 0
        One scale for each index of this axis of a weight (its outputs), or one for the tensor.
    group_size : int, optional
        One scale for each so many inputs of an output, in place of `axis`.
    symmetric, narrow_range : bool, optional
        As in `qcore.quantize`.
    observer : {"minmax"}
        How ranges are found.
    activations : {"auto", "static", "dynamic"} or None, default "auto"
        How a network's activations become integers: "static", with ranges seen in calibration;
        "dynamic", row by row at run time; None: not at all, weights only. "auto" is "static" where
        `fit` gets samples, else "dynamic"; schemes other than affine, and groups, have no integer
        activations.
    ignore : sequence of str, default ("*bias",)
        Patterns of tensors to leave as they are; see `bits`. Tensors of fewer than two dimensions
        are always left.

    Attributes
    ----------
    bits_ : dict of str to int
        What each quantized tensor gets.
    input_qparams_ : dict of str to (QParams, "dynamic" or None)
        How each layer of a network takes its input.
    report_ : Report
        What was lost, tensor by tensor; after `transform`.

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

    def __init__(
        self,
        bits: int | Mapping[str, int] = 8,
        *,
        scheme: str = "affine",
        levels: int | None = None,
        axis: int | None = 0,
        group_size: int | None = None,
        symmetric: bool | None = None,
        narrow_range: bool | None = None,
        observer: str = "minmax",
        activations: str | None = "auto",
        ignore: Iterable[str] = ("*bias",),
    ) -> None:
        self.bits = bits
        self.scheme = scheme
        self.levels = levels
        self.axis = axis
        self.group_size = group_size
        self.symmetric = symmetric
        self.narrow_range = narrow_range
        self.observer = observer
        self.activations = activations
        self.ignore = ignore

    def fit(self, model: Any, X: ArrayLike | None = None, y: object = None) -> Quantizer:
        """Choose what to quantize, and see the ranges of a network's activations.

        Parameters
        ----------
        model : Sequential or dict of str to array
            The model; it is not changed.
        X : array_like, optional
            Samples, (n, inputs), of which the ranges of static activations are taken. No labels
            are needed.
        y : ignored

        Returns
        -------
        Quantizer
            Itself.
        """
        check_one_of(self.scheme, "scheme", CHOICES)
        check_one_of(self.observer, "observer", ("minmax",))
        check_one_of(self.activations, "activations", ("auto", "static", "dynamic", None))
        weights = named_weights(model)
        self.bits_ = {
            name: self._bits_of(name) for name, value in weights.items() if self._takes(name, value)
        }
        self.input_qparams_: dict[str, QParams | str | None] = {}
        if not isinstance(model, Mapping):
            self.input_qparams_ = self._calibrate(model, X)
        return self

    def transform(self, model: Model) -> Model:
        """Return the model with quantized weights; what was not seen by `fit` stays as it is."""
        self._check_fitted("bits_")
        weights = named_weights(model)
        new: dict[str, Any] = {}
        rows = []
        for name, value in weights.items():
            new[name] = value
            if name in self.bits_ and not isinstance(value, QTensor):
                new[name] = quantize(value, **self.tensor_options(name))
            rows.append(_row(name, value, new[name]))
        before = sum(row["float bytes"] for row in rows)
        after = sum(row["bytes"] for row in rows)
        totals = {"tensor": "all", "float bytes": before, "bytes": after}
        self.report_: Report = Report("quantized", rows, totals)
        if isinstance(model, Mapping):
            return new  # type: ignore[return-value]
        small = model.with_weights(new)
        for layer in small.layers:
            if isinstance(layer.weight, QTensor):
                layer.input_qparams = self.input_qparams_.get(layer.name)
        return small

    def fit_transform(self, model: Model, X: ArrayLike | None = None, y: object = None) -> Model:
        """Fit, then transform the same model."""
        self.fit(model, X, y)
        return self.transform(model)

    # the parts ---------------------------------------------------------------------------------
    def _bits_of(self, name: str) -> int:
        if not isinstance(self.bits, Mapping):
            return check_int(self.bits, "bits", 2, 8)
        for pattern, bits in self.bits.items():
            if matches(name, pattern):
                return check_int(bits, f"bits[{pattern!r}]", 2, 8)
        raise ValueError(f"bits names no width for {name!r}; add a pattern '*'")

    def _takes(self, name: str, value: Any) -> bool:
        if isinstance(value, QTensor) or getattr(value, "ndim", 0) < 2:
            return False
        floating = np.issubdtype(value.dtype, np.floating)
        return floating and not matches_any(name, self.ignore)

    def tensor_options(self, name: str) -> dict[str, Any]:
        """Return the arguments with which `qcore.quantize` makes the codes of a tensor."""
        if self.scheme == "kmeans":
            return {"scheme": "kmeans", "levels": self.levels, "axis": None}
        return {
            "bits": self.bits_[name],
            "axis": self.axis if self.group_size is None else None,
            "group_size": self.group_size,
            "symmetric": self.symmetric,
            "narrow_range": self.narrow_range,
            "observer": self.observer,
        }

    def _calibrate(self, net: Sequential, X: ArrayLike | None) -> dict[str, QParams | str | None]:
        mode = self.activations
        if self.scheme != "affine":
            if mode in ("static", "dynamic"):
                raise ValueError(f"activations is {mode!r}; scheme {self.scheme!r} has none")
            mode = None
        if self.group_size is not None:
            if mode in ("static", "dynamic"):
                raise ValueError(f"activations is {mode!r}; weights with a group_size have none")
            mode = None
        if mode == "auto":
            mode = "dynamic" if X is None else "static"
        names = [layer.name for layer in net.layers if f"{layer.name}.weight" in self.bits_]
        if mode != "static":
            return dict.fromkeys(names, mode)
        if X is None:
            raise ValueError("activations='static' needs samples: give X, or use 'dynamic'")
        ranges = input_ranges(net, X)
        return {
            name: qparams_from_range(*ranges[name], signed=False, symmetric=False) for name in names
        }


def input_ranges(net: Sequential, X: ArrayLike) -> dict[str, tuple[float, float]]:
    """Return the least and greatest input of each layer over samples, in blocks of rows."""
    samples = float_array(X, "X")
    if samples.ndim != 2 or not len(samples):
        raise ValueError(f"X has shape {samples.shape}; it must be (n, inputs) with n above 0")
    ranges: dict[str, tuple[float, float]] = {}
    for start in range(0, len(samples), 4096):
        value = np.ascontiguousarray(samples[start : start + 4096], np.float32)
        for layer in net.layers:
            low, high = float(value.min()), float(value.max())
            if not (np.isfinite(low) and np.isfinite(high)):
                raise ValueError(f"the input of {layer.name} has values that are not finite")
            least, most = ranges.get(layer.name, (low, high))
            ranges[layer.name] = (min(low, least), max(high, most))
            value = layer.forward(value)
    return ranges


def _row(name: str, before: Any, after: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"tensor": name, "shape": "x".join(map(str, before.shape))}
    row["float bytes"] = int(np.prod(before.shape)) * 4
    row["bytes"] = int(after.nbytes)
    if isinstance(after, QTensor):
        row |= {"scheme": after.scheme, "bits": after.bits, "clipped": after.clipped}
        if not isinstance(before, QTensor):
            error = after.error(before)
            row |= {"SQNR dB": error.sqnr_db, "cosine": error.cosine, "max error": error.max_abs}
    return row
