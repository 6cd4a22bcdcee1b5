"""What a graph does not bear as integers, found and left wide.

Some values of a network carry more than 8 bits hold: a mean that is squared, a sum of large and
small channels. Where a quantized graph answers otherwise than before, each group of values that
share their codes is made codes alone, on a few samples; those that cost the outputs most stay
floats, as many as it takes. What is lost then is the weights', of which some may stay floats too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from qcore._display.progress import EpochProgress, Progress
from qcore.estimators.graphs.batches import first_samples
from qcore.estimators.graphs.corrections import graph_disagreement, output_error, output_totals
from qcore.graph.classifier import labels_places
from qcore.graph.graph import BaseGraph

__all__ = ["LEAST", "MARGIN", "is_well", "least_judged", "wide_values", "wide_weights"]

#: The share of answers that is to stay the same, and that on samples which are given to judge by.
LEAST, JUDGED = 0.99, 0.995
#: How many times as far off outputs are made for that, and what changes divided by it: of a hundred
#: answers one more or less says nothing of the second half of a percent.
MARGIN = 4.0
#: Samples on which values are judged one by one.
SAMPLES = 8
#: What codes of values may lose beside what the weights lose anyway.
BESIDE = 1.0
#: The share of all weights' bytes that may stay floats.
SHARE = 0.25
#: What the other weights may lose, each alone, added up.
REST = 0.003


class _Part(NamedTuple):
    """What becomes floats together, and what the outputs lose by its codes alone."""

    lost: float
    names: tuple[str, ...]


def wide_values(
    before: BaseGraph, small: BaseGraph, X: Any, progress: Progress = "auto", *,
    least: float = LEAST, margin: float = 1.0,
) -> list[str]:  # fmt: skip
    """Return the values of a quantized graph that have to stay floats; none where it answers well.

    Parameters
    ----------
    before, small : BaseGraph
        In floats, and quantized.
    X : samples as `batches_of` takes them
    progress
    least : float
        The share of answers that is to stay the same.
    margin : float
        As in `output_totals`.
    """
    if not small.codes or is_well(before, small, X, least, margin):
        return []
    parts = _value_parts(before, small, X, progress)
    bare = output_totals(before, small.changed(codes={}), X, margin=margin)
    lost, by_weights = bare["output error"], graph_disagreement(bare, least) is not None

    def bears(count: int) -> bool:
        tried = _without_codes(small, parts[:count])
        totals = output_totals(before, tried, X, margin=margin)
        enough = by_weights and totals["output error"] <= lost * (1 + BESIDE)
        return enough or graph_disagreement(totals, least) is None

    return [name for part in parts[: _fewest(len(parts), bears)] for name in part.names]


def least_judged(before: BaseGraph) -> float:
    """Return the share of answers that is to stay the same on samples that are given to judge by.

    A text is dozens of answers, each of which has to stay for it to be the same.
    """
    return LEAST if labels_places(before) else JUDGED


def wide_weights(before: BaseGraph, small: BaseGraph) -> list[str]:
    """Return the weights to leave as floats where a graph does not answer well: the worst ones.

    As many as the rest, added up, loses little without, and no more than a share of all bytes.

    Parameters
    ----------
    before, small : BaseGraph
        In floats, and quantized, with the report of `Quantizer` on how much each weight loses.
    """
    lost = {
        row["tensor"]: float(row.get("output error", 0.0))
        for row in small.report_.rows
        if row["tensor"] in before.constants
    }
    room = SHARE * sum(value.nbytes for value in before.constants.values())
    left, found = sum(lost.values()), []
    for name in sorted(lost, key=lambda name: -lost[name]):
        nbytes = int(before.constants[name].nbytes)
        if left <= REST:
            break
        if lost[name] > 0 and nbytes <= room:
            room -= nbytes
            left -= lost[name]
            found.append(name)
    return found


def is_well(
    before: BaseGraph, small: BaseGraph, X: Any, least: float = LEAST, margin: float = 1.0
) -> bool:
    """Whether a quantized graph answers as it did before, as `compress` sees it."""
    return graph_disagreement(output_totals(before, small, X, margin=margin), least) is None


def _fewest(most: int, bears: Callable[[int], bool]) -> int:
    """Return about the least count that is borne: doubled until it is, then halved back."""
    low, high = 0, 1
    while high < most and not bears(high):
        low, high = high, 2 * high
    high = min(high, most)
    while high - low > max(1, low // 4):
        middle = (low + high) // 2
        low, high = (low, middle) if bears(middle) else (middle, high)
    return high


def _value_parts(before: BaseGraph, small: BaseGraph, X: Any, progress: Progress) -> list[_Part]:
    """Return the groups of values by what the outputs lose when one alone is codes, worst first."""
    batches = first_samples(before, X, SAMPLES)
    exact = [before.run(batch) for batch in batches]
    bare = small.changed(codes={})
    least = output_error(bare, batches, exact)
    groups: dict[tuple[bytes, bytes, bool], list[str]] = {}
    for name, params in small.codes.items():
        key = (np.asarray(params.scale).tobytes(), np.asarray(params.zero_point).tobytes())
        groups.setdefault((*key, params.signed), []).append(name)
    found = []
    with EpochProgress(progress, len(groups), "find what is to stay wide") as ticker:
        for done, names in enumerate(groups.values()):
            ticker.update(done, names[0])
            alone = bare.changed(codes={name: small.codes[name] for name in names})
            found.append(_Part(output_error(alone, batches, exact) - least, tuple(names)))
    return _worst_first(found)


def _worst_first(parts: Iterable[_Part]) -> list[_Part]:
    return sorted((part for part in parts if part.lost > 0), key=lambda part: -part.lost)


def _without_codes(small: BaseGraph, parts: Sequence[_Part]) -> BaseGraph:
    wide = {name for part in parts for name in part.names}
    return small.changed(
        codes={name: params for name, params in small.codes.items() if name not in wide}
    )
