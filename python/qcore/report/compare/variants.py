"""Networks of one origin: what each scores, weighs and takes, and which of them are beaten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from qcore.bench.latency import BATCH, measure_latency
from qcore.report.compare.chance import difference_error, is_tie, share_error
from qcore.report.compare.pareto import TIME_TIE, pareto_front

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
    error : float or None
        Standard error of an accuracy: what other samples of the kind might change.
    ties : tuple of str
        Variants whose accuracy differs from this one's by no more than chance.
    """

    name: str
    nbytes: int
    score: float | None = None
    batch1_us: float | None = None
    batch1024_us: float | None = None
    error: float | None = None
    ties: tuple[str, ...] = ()


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
    scores = {} if X is None or y is None else _scores(networks, X, y)
    return [
        Variant(
            name, size, scores[name].score if scores else None,
            float(np.median(times[name].single)), float(np.median(times[name].batch)),
            *(scores[name][1:] if scores else ()),
        )
        for name, size in zip(networks, sizes, strict=True)
    ]  # fmt: skip


class _Score(NamedTuple):
    score: float
    error: float | None
    ties: tuple[str, ...]


def _scores(networks: Mapping[str, Any], X: ArrayLike, y: ArrayLike) -> dict[str, _Score]:
    """Return each network's score and, of accuracies, what chance has to do with it."""
    scores = {name: net.score(X, y) for name, net in networks.items()}
    right = {name: net.right(X, y) for name, net in networks.items()}
    if any(found is None for found in right.values()):
        return {name: _Score(score, None, ()) for name, score in scores.items()}
    return {
        name: _Score(
            score, share_error(score, len(right[name])),
            tuple(
                other for other in networks
                if other != name
                and is_tie(score - scores[other], difference_error(right[name], right[other]))
            ),
        )
        for name, score in scores.items()
    }  # fmt: skip


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
    one sample; None where the variant has no score or no time. Ties go to what costs less.

    Examples
    --------
    >>> rows = variant_rows([Variant("a", 9, 0.9), Variant("b", 3, 0.8), Variant("c", 5, 0.7)])
    >>> [row["pareto_bytes"] for row in rows]
    [True, True, False]
    """
    rows = [variant._asdict() for variant in variants]
    for key, cost, slack in (
        ("pareto_bytes", "nbytes", 0.0), ("pareto_time", "batch1_us", TIME_TIE)
    ):  # fmt: skip
        known = [row for row in rows if row["score"] is not None and row[cost] is not None]
        ties = [[other["name"] in row["ties"] for other in known] for row in known]
        scores, costs = ([row[one] for row in known] for one in ("score", cost))
        front = pareto_front(scores, costs, ties, slack)
        for row in rows:
            row[key] = None
        for row, stands in zip(known, front, strict=True):
            row[key] = stands
    return rows
