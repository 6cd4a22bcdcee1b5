"""Networks of one origin: what each scores, weighs and takes, and which of them are beaten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from qcore.bench.latency import BATCH, measure_latency
from qcore.report.compare.pareto import pareto_front

__all__ = ["Variant", "measure_variants", "speed_rows", "variant_rows"]

# Samples that predictions are timed on where none are given: what they hold does not count.
_SAMPLES = 256
_SECONDS = 0.6


class Variant(NamedTuple):
    """One network; None stands for what was not measured.

    Attributes
    ----------
    name : str
    nbytes : int
        Of its file or, where there is none, of its tensors.
    score : float or None
        Accuracy, 0 to 1, or R².
    batch1_us, batch1024_us : float or None
        Microseconds of a prediction of one sample and of 1,024: medians, on this machine.
    """

    name: str
    nbytes: int
    score: float | None = None
    batch1_us: float | None = None
    batch1024_us: float | None = None


def measure_variants(
    networks: Mapping[str, Any],
    sizes: Sequence[int],
    X: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    seconds: float = _SECONDS,
) -> list[Variant]:
    """Time networks in turns and, with labels, score them.

    Parameters
    ----------
    networks : mapping of str to Sequential
        By name; all of them take samples of the same width.
    sizes : sequence of int
        Bytes of each.
    X, y : array_like, optional
        Samples, (n, inputs), and their labels or targets.
    seconds : float, default 0.6
        About how long the timing takes; longer for networks that take longer for 1,024 samples.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> net = qc.nn.Sequential.from_arrays([np.eye(2, 3)], [np.ones(3)], layout="in_out")
    >>> [found] = measure_variants({"net": net}, [100])
    >>> found.name, found.nbytes, found.score, found.batch1_us > 0
    ('net', 100, None, True)
    """
    first = next(iter(networks.values()))
    inputs = first.layers[0].in_features
    for name, net in networks.items():
        if net.layers[0].in_features != inputs:
            found = net.layers[0].in_features
            raise ValueError(f"{name} takes {found} inputs; {next(iter(networks))} takes {inputs}")
    samples = (
        np.random.default_rng(0).random((_SAMPLES, inputs), np.float32)
        if X is None or not len(np.asarray(X))
        else np.asarray(X, np.float32)
    )
    times = measure_latency(
        {name: net.predict_proba for name, net in networks.items()}, samples, seconds=seconds
    )
    return [
        Variant(
            name, size, None if X is None or y is None else net.score(X, y),
            float(np.median(times[name].single)), float(np.median(times[name].batch)),
        )
        for (name, net), size in zip(networks.items(), sizes, strict=True)
    ]  # fmt: skip


def speed_rows(variants: Sequence[Variant]) -> list[dict[str, Any]]:
    """Return what the second variant takes beside the first, for each size of a batch.

    Examples
    --------
    >>> speed_rows([Variant("a", 9, None, 6.0, 90.0), Variant("b", 3, None, 2.0, 45.0)])
    [{'batch': 1, 'before_us': 6.0, 'after_us': 2.0, 'speedup': 3.0}, \
{'batch': 1024, 'before_us': 90.0, 'after_us': 45.0, 'speedup': 2.0}]
    """
    before, after = variants[:2]
    pairs = (
        (1, before.batch1_us, after.batch1_us), (BATCH, before.batch1024_us, after.batch1024_us)
    )  # fmt: skip
    return [
        {"batch": batch, "before_us": one, "after_us": other, "speedup": one / other}
        for batch, one, other in pairs
        if one is not None and other is not None
    ]


def variant_rows(variants: Sequence[Variant]) -> list[dict[str, Any]]:
    """Return the variants as dicts, with ``pareto_bytes`` and ``pareto_time``.

    Each tells whether no other variant is as good in score and better in bytes, or in the time of
    one sample; None where the variant has no score or no time.

    Examples
    --------
    >>> rows = variant_rows([Variant("a", 9, 0.9), Variant("b", 3, 0.8), Variant("c", 5, 0.7)])
    >>> [row["pareto_bytes"] for row in rows]
    [True, True, False]
    """
    rows = [variant._asdict() for variant in variants]
    for key, cost in (("pareto_bytes", "nbytes"), ("pareto_time", "batch1_us")):
        known = [row for row in rows if row["score"] is not None and row[cost] is not None]
        front = pareto_front([row["score"] for row in known], [row[cost] for row in known])
        for row in rows:
            row[key] = None
        for row, stands in zip(known, front, strict=True):
            row[key] = stands
    return rows
