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
from numpy.typing import NDArray

from qcore._progress import EpochProgress, Progress
from qcore.estimators.graphs.batches import first_samples
from qcore.estimators.graphs.corrections import graph_disagreement, output_totals
from qcore.graph.graph import BaseGraph

__all__ = ["wide_values", "with_wide_weights"]

#: Samples on which values are judged one by one.
SAMPLES = 4
#: What codes of values may lose beside what the weights lose anyway.
BESIDE = 1.0
#: The share of all weights' bytes that may stay floats.
SHARE = 0.25


class _Part(NamedTuple):
    """What becomes floats together, and what the outputs lose by its codes alone."""

    lost: float
    names: tuple[str, ...]


def wide_values(
    before: BaseGraph, small: BaseGraph, X: Any, progress: Progress = "auto"
) -> list[str]:
    """Return the values of a quantized graph that have to stay floats; none where it answers well.

    Parameters
    ----------
    before, small : BaseGraph
        In floats, and quantized.
    X : samples as `batches_of` takes them
    progress
    """
    if not small.codes or _is_well(before, small, X):
        return []
    parts = _value_parts(before, small, X, progress)
    least = output_totals(before, small.changed(codes={}), X)["output error"]

    def bears(count: int) -> bool:
        tried = _without_codes(small, parts[:count])
        totals = output_totals(before, tried, X)
        enough = totals["output error"] <= least * (1 + BESIDE)
        return enough or graph_disagreement(totals) is None

    return [name for part in parts[: _fewest(len(parts), bears)] for name in part.names]


def with_wide_weights(before: BaseGraph, small: BaseGraph, X: Any) -> tuple[BaseGraph, list[str]]:
    """Return a quantized graph with as many weights as floats as make it answer well, and these.

    No more than a share of all: what is lost beyond that is told by whoever compares.

    Parameters
    ----------
    before, small : BaseGraph
        In floats, and quantized, with the report of `Quantizer` on how much each weight loses.
    X : samples as `batches_of` takes them
    """
    if _is_well(before, small, X):
        return small, []
    parts = _weight_parts(before, small)

    def bears(count: int) -> bool:
        return _is_well(before, _with_floats(before, small, parts[:count]), X)

    count = _fewest(len(parts), bears)
    if not count:
        return small, []
    wide = _with_floats(before, small, parts[:count])
    wide.report_ = small.report_
    return wide, [name for part in parts[:count] for name in part.names]


def _is_well(before: BaseGraph, small: BaseGraph, X: Any) -> bool:
    return graph_disagreement(output_totals(before, small, X)) is None


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
    batch = first_samples(before, X, SAMPLES)
    exact = {
        name: value.astype(np.float64)
        for name, value in before.run(batch).items()
        if value.dtype.kind == "f"
    }
    bare = small.changed(codes={})
    least = _lost(bare.run(batch), exact)
    groups: dict[tuple[bytes, bytes, bool], list[str]] = {}
    for name, params in small.codes.items():
        key = (np.asarray(params.scale).tobytes(), np.asarray(params.zero_point).tobytes())
        groups.setdefault((*key, params.signed), []).append(name)
    found = []
    with EpochProgress(progress, len(groups), "find what is to stay wide") as ticker:
        for done, names in enumerate(groups.values()):
            ticker.update(done, names[0])
            alone = bare.changed(codes={name: small.codes[name] for name in names})
            found.append(_Part(_lost(alone.run(batch), exact) - least, tuple(names)))
    return _worst_first(found)


def _weight_parts(before: BaseGraph, small: BaseGraph) -> list[_Part]:
    """Return the weights, worst first, of which a share may become floats again."""
    lost = {row["tensor"]: float(row.get("output error", 0.0)) for row in small.report_.rows}
    places = {slot.name: slot for slot in small.slots}
    room = SHARE * sum(value.nbytes for value in before.constants.values())
    found = []
    for part in _worst_first([_Part(lost.get(name, 0.0), (name,)) for name in places]):
        old, new = before.constants.get(part.names[0]), small.constants[part.names[0]]
        if old is None or new is old or tuple(old.shape) != tuple(new.shape):
            continue
        if old.nbytes <= room:
            room -= old.nbytes
            found.append(part)
    return found


def _worst_first(parts: Iterable[_Part]) -> list[_Part]:
    return sorted((part for part in parts if part.lost > 0), key=lambda part: -part.lost)


def _without_codes(small: BaseGraph, parts: Sequence[_Part]) -> BaseGraph:
    wide = {name for part in parts for name in part.names}
    return small.changed(
        codes={name: params for name, params in small.codes.items() if name not in wide}
    )


def _with_floats(before: BaseGraph, small: BaseGraph, parts: Sequence[_Part]) -> BaseGraph:
    """Return a quantized graph in which some weights are floats, with the biases they had."""
    constants = dict(small.constants)
    places = {slot.name: slot for slot in small.slots}
    for name in (name for part in parts for name in part.names):
        constants[name] = before.constants[name]
        bias = places[name].bias
        if bias in before.constants:
            constants[bias] = before.constants[bias]
        elif bias:  # it made up for codes that are no more
            constants[bias] = np.zeros_like(np.asarray(constants[bias]))
    return small.changed(constants=constants)


def _lost(found: dict[str, NDArray[Any]], exact: dict[str, NDArray[np.float64]]) -> float:
    """Return the squared error of outputs as a share of their variance."""
    lost = sum(float(np.sum((found[name] - value) ** 2)) for name, value in exact.items())
    spread = sum(float(np.sum((value - value.mean()) ** 2)) for value in exact.values())
    return lost / spread if spread else float(lost > 0)
