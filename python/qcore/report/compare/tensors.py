"""What a model lost: two models side by side, tensor by tensor and in what they answer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.models import named_weights
from qcore._display.histograms import values_in_one_row
from qcore._display.progress import EpochProgress, Progress
from qcore._display.table import Report
from qcore.arrays.tensor.kinds import kind_of
from qcore.arrays.tensor.sums import dot
from qcore.arrays.tensor.tensor import QTensor

__all__ = ["Outputs", "compare_outputs", "compare_tensors", "decibel", "is_adjusted"]

# Elements at a time: what is compared is decoded in blocks, in float64.
_BLOCK = 1 << 20
_CHANGED = ", changed"


class Outputs(NamedTuple):
    """Two networks on the same samples.

    Attributes
    ----------
    samples : int
    sqnr_db : float
        Of the second one's outputs, the first one's being the signal.
    max_abs : float
        The greatest difference of an output.
    agreement : float or None
        The share of samples to which classifiers give the same label.
    score_name : str
        "accuracy" or "R²".
    before, after : float or None
        The scores; None without labels.
    engine : str
        What ran them.
    """

    samples: int
    sqnr_db: float
    max_abs: float
    agreement: float | None
    score_name: str
    before: float | None
    after: float | None
    engine: str = "qcore"


def compare_tensors(before: Any, after: Any, *, progress: Progress = False) -> Report:
    """Compare two models tensor by tensor.

    Parameters
    ----------
    before, after : Sequential or mapping of str to array
        The model as it was, and what became of it. Tensors of a mapping are asked for one by one,
        so an open file of any size will do.
    progress : bool, "auto" or callable
        As in `Sequential.fit`.

    Returns
    -------
    Report
        A row for each tensor of either: ``before`` and ``after`` (what it is), ``before bytes`` and
        ``bytes``, ``SQNR dB``, ``cosine``, ``max error`` and ``zeros``, the share of zeros after.
        The total ``SQNR dB`` is that of the float weights together; ``left out`` says how many
        tensors it does not count: integers, those with values that are not finite, and masks and
        other constants (one element; or, unchanged, matrices of not more than two values).

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> w = {"w": np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)}
    >>> report = compare_tensors(w, qc.compress(w, bits=4))
    >>> row = report.rows[0]
    >>> row["before"], row["after"], round(row["SQNR dB"])
    ('float32', 'int4 affine', 28)
    """
    old, new = _tensors(before), _tensors(after)
    names = list(dict.fromkeys([*old, *new]))
    rows = []
    with EpochProgress(progress, len(names), "comparing") as shown:
        for done, name in enumerate(names):
            shown.update(done, name)
            rows.append(_row(name, old, new))
    totals: dict[str, Any] = {"tensor": "all"}
    for column in ("before bytes", "bytes"):
        totals[column] = sum(row.get(column, 0) for row in rows)
    noise = sum(row.pop("_noise", 0.0) for row in rows)
    signal = sum(row.pop("_signal", 0.0) for row in rows)
    totals["SQNR dB"] = decibel(signal, noise)
    totals["left out"] = dict(Counter(row.pop("_kind") for row in rows if "_kind" in row))
    return Report("compared", rows, totals)


def compare_outputs(before: Any, after: Any, X: ArrayLike, y: ArrayLike | None = None) -> Outputs:
    """Run two networks on the same samples.

    Parameters
    ----------
    before, after : Sequential
    X : array_like, (n, inputs)
    y : array_like, optional
        Labels or targets, for the scores.
    """
    for model, name in ((before, "before"), (after, "after")):
        if not hasattr(model, "layers"):
            raise ValueError(f"{name} is no network; only networks can be run on samples")
    one, other = before.predict_proba(X), after.predict_proba(X)
    if one.shape != other.shape:
        raise ValueError(f"before gives outputs {one.shape}, after {other.shape}")
    difference = np.abs(one.astype(np.float64) - other)
    classifier = before.is_classifier or (y is not None and before.reads_labels(y))
    same = None
    if before.is_classifier:
        same = float(np.mean(before.predict(X) == after.predict(X)))
    elif classifier:  # logits of several classes
        same = float(np.mean(one.argmax(axis=1) == other.argmax(axis=1)))
    return Outputs(
        samples=len(one),
        sqnr_db=decibel(float(np.sum(one.astype(np.float64) ** 2)), float(np.sum(difference**2))),
        max_abs=float(difference.max(initial=0.0)),
        agreement=same,
        score_name="accuracy" if classifier else "R²",
        before=None if y is None else before.score(X, y),
        after=None if y is None else after.score(X, y),
    )


def is_adjusted(row: Mapping[str, Any]) -> bool:
    """Tell whether a row is a bias that was changed to make up for its layer: no loss of its own.

    Examples
    --------
    >>> is_adjusted({"shape": "10", "after": "float32, changed"})
    True
    """
    return row["after"].endswith(_CHANGED) and "x" not in row["shape"]


def _tensors(model: Any) -> Mapping[str, Any]:
    # An open file has its tensors asked for one by one; a dict is checked as a whole.
    return model if hasattr(model, "info") else named_weights(model)


def _row(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"tensor": name}
    before = old.get(name)
    after = new.get(name)
    shown = after if after is not None else before
    row["shape"] = "x".join(map(str, shown.shape)) or "scalar"  # type: ignore[union-attr]
    row["before"] = "missing" if before is None else kind_of(before)
    row["after"] = "missing" if after is None else kind_of(after)
    row["before bytes"] = 0 if before is None else _stored_bytes(old, name, before)
    row["bytes"] = 0 if after is None else _stored_bytes(new, name, after)
    if before is None or after is None:
        return row
    if before.shape != after.shape:
        row["before"] += f" of shape {'x'.join(map(str, before.shape))}"
        return row
    row |= _errors(before, after)
    weights = getattr(old, "weights", None)  # an ONNX graph knows what its nodes read as weights
    if weights is not None and name not in weights and "_signal" in row and not row["_noise"]:
        del row["_signal"], row["_noise"]
        row["_kind"] = "masks and constants"
    # -inf: of nothing but zeros, or beyond all measure.
    if row["before"] == row["after"] and row["SQNR dB"] < math.inf > row["max error"]:
        row["after"] += _CHANGED  # a pruned float, a corrected bias
    return row


def _stored_bytes(model: Mapping[str, Any], name: str, value: Any) -> int:
    """Return what a file spends on a tensor, positions of sparse ones and all."""
    parts = model.stored_parts(name) if hasattr(model, "stored_parts") else None
    return int(value.nbytes) if parts is None else sum(part.nbytes for part in parts[0])


def _errors(before: Any, after: Any) -> dict[str, Any]:
    signal = noise = power = product = worst = 0.0
    zeros = size = odd = ends = 0
    low, high = math.inf, -math.inf
    for x, y in _blocks(before, after):
        finite = np.isfinite(x) & np.isfinite(y)
        if not finite.all():
            odd += 1
            same = (x == y) | (np.isnan(x) & np.isnan(y))
            worst = worst if bool((same | finite).all()) else math.inf
            size += x.size - int(finite.sum())
            x, y = x[finite], y[finite]
        difference = x - y
        signal += dot(x, x)
        power += dot(y, y)
        product += dot(x, y)
        noise += dot(difference, difference)
        worst = max(worst, float(np.max(np.abs(difference), initial=0.0)))
        zeros += x.size - int(np.count_nonzero(y))
        size += x.size
        low, high = min(low, float(x.min(initial=low))), max(high, float(x.max(initial=high)))
    if noise == 0 and size > 1:
        ends = sum(
            int(np.count_nonzero((x == low) | (x == high))) for x, _ in _blocks(before, after)
        )
    noise = math.inf if worst == math.inf else noise
    norm = math.sqrt(signal) * math.sqrt(power)
    row = {
        "SQNR dB": decibel(signal, noise),
        "cosine": product / norm if norm else float(noise == 0),
        "max error": worst,
        "zeros": zeros / size if size else 0.0,
    }
    if not (_is_float(before) and _is_float(after)):
        return row | {"_kind": "integers"}
    if odd:
        return row | {"_kind": "not finite"}
    if size == 1 or (before.ndim > 1 and noise == 0 and ends == size > 0):
        return row | {"_kind": "masks and constants"}
    return row | {"_signal": signal, "_noise": noise}


def _is_float(value: Any) -> bool:
    """Whether a tensor stands for floats: codes do, too."""
    if isinstance(value, QTensor):
        return True
    return bool(np.issubdtype(value.dtype, np.inexact)) or value.dtype.name == "bfloat16"


def _blocks(before: Any, after: Any) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    one, other = values_in_one_row(before), values_in_one_row(after)
    for start in range(0, one.size, _BLOCK):
        stop = start + _BLOCK
        yield one[start:stop].astype(np.float64), other[start:stop].astype(np.float64)


def decibel(signal: float, noise: float) -> float:
    """Return ten times the logarithm of a ratio of squares; infinite where nothing was lost."""
    if noise == 0:
        return math.inf
    if noise == math.inf:
        return -math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf
