"""What a model lost: two models side by side, tensor by tensor and in what they answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._histograms import values_in_one_row
from qcore._models import named_weights
from qcore._progress import EpochProgress, Progress
from qcore._sums import dot
from qcore._table import Report
from qcore.arrays.tensor.kinds import kind_of

__all__ = ["Outputs", "compare_outputs", "compare_tensors", "is_adjusted"]

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
    """

    samples: int
    sqnr_db: float
    max_abs: float
    agreement: float | None
    score_name: str
    before: float | None
    after: float | None


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
    totals["SQNR dB"] = _decibel(signal, noise)
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
        if not hasattr(model, "predict_proba"):
            raise ValueError(f"{name} is no network; only networks can be run on samples")
    one, other = before.predict_proba(X), after.predict_proba(X)
    if one.shape != other.shape:
        raise ValueError(f"before gives outputs {one.shape}, after {other.shape}")
    difference = np.abs(one.astype(np.float64) - other)
    classifier = before.layers[-1].activation in ("softmax", "sigmoid")
    same = None
    if classifier:
        same = float(np.mean(before.predict(X) == after.predict(X)))
    return Outputs(
        samples=len(one),
        sqnr_db=_decibel(float(np.sum(one.astype(np.float64) ** 2)), float(np.sum(difference**2))),
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
    if row["before"] == row["after"] and math.isfinite(row["SQNR dB"]):
        row["after"] += _CHANGED  # a pruned float, a corrected bias
    return row


def _stored_bytes(model: Mapping[str, Any], name: str, value: Any) -> int:
    """Return what a file spends on a tensor, positions of sparse ones and all."""
    parts = model.stored_parts(name) if hasattr(model, "stored_parts") else None
    return int(value.nbytes) if parts is None else sum(part.nbytes for part in parts[0])


def _errors(before: Any, after: Any) -> dict[str, Any]:
    signal = noise = power = product = worst = 0.0
    zeros = size = 0
    for x, y in _blocks(before, after):
        difference = x - y
        signal += dot(x, x)
        power += dot(y, y)
        product += dot(x, y)
        noise += dot(difference, difference)
        worst = max(worst, float(np.max(np.abs(difference), initial=0.0)))
        zeros += x.size - int(np.count_nonzero(y))
        size += x.size
    norm = math.sqrt(signal * power)
    return {
        "SQNR dB": _decibel(signal, noise),
        "cosine": product / norm if norm else float(noise == 0),
        "max error": worst,
        "zeros": zeros / size if size else 0.0,
        "_signal": signal,
        "_noise": noise,
    }


def _blocks(before: Any, after: Any) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    one, other = values_in_one_row(before), values_in_one_row(after)
    for start in range(0, one.size, _BLOCK):
        stop = start + _BLOCK
        yield one[start:stop].astype(np.float64), other[start:stop].astype(np.float64)


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf
