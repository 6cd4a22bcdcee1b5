"""What a page shows, gathered from two models: plain data, before anything is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._environment import environment
from qcore.files.formats import open_tensors
from qcore.quantization.tensor import QTensor
from qcore.report.comparison import Outputs
from qcore.report.details import Histogram, histogram, zeros_map
from qcore.report.precision import Precision, precision_of
from qcore.report.table import Report

__all__ = ["Contents", "Detail", "contents_of", "contents_of_files"]

# Samples on which layers are tried one by one.
_TRIALS = 2048


@dataclass(frozen=True)
class Detail:
    """One tensor, to look at.

    Attributes
    ----------
    histogram : Histogram
    zeros : ndarray or None
        The share of values that are not 0, block by block.
    """

    histogram: Histogram
    zeros: NDArray[np.float64] | None


@dataclass(frozen=True)
class Contents:
    """What a page shows of a compression.

    Attributes
    ----------
    title, subtitle : str
    before, after : int
        Bytes of the files, or of the models where there are none.
    report : Report
        A row for each tensor, with the columns of `compare`.
    details : dict of str to Detail
    precision : list of Precision
        Each quantized tensor at every width.
    layers : list of dict
        What the outputs lose when one layer alone is compressed: ``tensor``, ``sqnr``, ``changed``.
    outputs : Outputs or None
    command, recipe : str
        What made it; empty where nothing is known.
    facts : dict of str to str
        What stands at the foot of the page.
    """

    title: str
    subtitle: str
    before: int
    after: int
    report: Report
    details: Mapping[str, Detail] = field(default_factory=dict)
    precision: list[Precision] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    outputs: Outputs | None = None
    command: str = ""
    recipe: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


def contents_of_files(
    source: Path,
    output: Path,
    report: Report,
    command: str,
    *,
    recipe: Any = None,
    samples: Any = None,
    outputs: Outputs | None = None,
    seconds: float | None = None,
    before: Any = None,
) -> Contents:
    """Gather what a page shows of two files.

    Parameters
    ----------
    source, output : Path
        The model and what became of it.
    report : Report
    command : str
    recipe : Recipe, optional
        What made it; default: the one in `output`.
    samples : (X, y), optional
        Where given and both are networks, layers are tried one by one.
    outputs : Outputs, optional
    seconds : float, optional
        How long it took.
    before : Sequential or mapping, optional
        The model, where it is not `source` as it stands.
    """
    from qcore.files.checkpoint import load

    found = open_tensors(output)
    text = recipe.to_toml() if recipe is not None else getattr(found, "about", {}).get("recipe", "")
    old: Any = before if before is not None else open_tensors(source)
    if recipe is not None and recipe.network is not None:
        old = recipe.prepare(load(source))
    new: Any = found
    X = getattr(samples, "X", None)
    if X is not None:
        old, new = (old if hasattr(old, "layers") else load(source)), load(output)
    facts = {} if seconds is None else {"compressed in": f"{seconds:.1f} s"}
    return contents_of(
        old, new, report, title=output.name, subtitle=f"made from {source.name}", command=command,
        recipe=text, X=X, outputs=outputs, facts=facts,
        sizes=(source.stat().st_size, output.stat().st_size),
    )  # fmt: skip


def contents_of(
    before: Any,
    after: Any,
    report: Report,
    *,
    title: str,
    subtitle: str = "",
    command: str = "",
    recipe: str = "",
    X: Any = None,
    outputs: Outputs | None = None,
    facts: Mapping[str, str] | None = None,
    sizes: tuple[int, int] | None = None,
) -> Contents:
    """Gather what a page shows of two models: networks, or mappings of names to tensors."""
    old, new = _tensors(before), _tensors(after)
    details: dict[str, Detail] = {}
    precision = []
    for row in report.rows:
        name = row["tensor"]
        if name not in old or name not in new:
            continue
        one, other = old[name], new[name]
        changed = math.isfinite(row.get("SQNR dB", math.inf))
        if changed or isinstance(other, QTensor):
            details[name] = Detail(histogram(one, other), zeros_map(other))
        if isinstance(other, QTensor) and isinstance(one, np.ndarray) and one.ndim > 1:
            precision.append(precision_of(name, one))
    totals = report.totals
    machine = environment()
    shown = dict(facts or {}) | {
        "qcore": machine["qcore"], "CPU": machine["cpu"],
        "instruction set": f"{machine['isa']}, {machine['threads']} threads",
        "NumPy": machine["numpy"], "Python": machine["python"],
    }  # fmt: skip
    size, left = sizes or (totals["before bytes"], totals["bytes"])
    return Contents(
        title, subtitle, size, left, report, details,
        precision, _by_layer(before, after, report, X), outputs, command, recipe, shown,
    )  # fmt: skip


def _tensors(model: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = model if isinstance(model, Mapping) else model.named_weights()
    return found


def _by_layer(before: Any, after: Any, report: Report, X: Any) -> list[dict[str, Any]]:
    """Try each compressed weight alone in the network as it was."""
    if X is None or not hasattr(before, "predict_logits") or not hasattr(after, "named_weights"):
        return []
    step = max(1, math.ceil(len(X) / _TRIALS))
    samples = np.asarray(X)[::step]
    exact = before.predict_logits(samples).astype(np.float64)
    labels = before.predict(samples)
    new = after.named_weights()
    rows = []
    for row in report.rows:
        name = row["tensor"]
        if name not in new or not math.isfinite(row.get("SQNR dB", math.inf)):
            continue
        tried = before.with_weights({name: np.asarray(new[name], np.float32)})
        noise = float(np.sum((tried.predict_logits(samples) - exact) ** 2))
        signal = float(np.sum(exact**2))
        rows.append(
            {
                "tensor": name,
                "sqnr": 10 * math.log10(signal / noise) if noise > 0 < signal else None,
                "changed": float(np.mean(tried.predict(samples) != labels)),
            }
        )
    return rows
