"""Which mixture a target asks for: what widths cost is measured first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qcore.errors import ArgumentError
from qcore.estimators.mixed.mixed import Choices, Mixture

if TYPE_CHECKING:
    from qcore.chain.chain import Chain
    from qcore.graph.graph import BaseGraph

__all__ = ["TARGETS", "mixture_for", "the_target"]

#: What a mixture may be held to.
TARGETS = ("target_bits", "target_bytes", "target_us", "min_score")


def the_target(given: Mapping[str, float | None]) -> tuple[str, float]:
    """Return the one target that is given, and its value."""
    targets = {name: value for name, value in given.items() if value is not None}
    if len(targets) != 1:
        raise ValueError(f"a mixture needs one target, found {sorted(targets) or 'none'}")
    return next(iter(targets.items()))


def mixture_for(
    target: tuple[str, float],
    choices: Choices,
    net: Chain | BaseGraph,
    samples: Any,
    y: Any,
    quantized: Callable[[Mixture], Chain | BaseGraph],
) -> Mixture:
    """Return the best mixture under a target; `quantized` is the network with a mixture."""
    name, value = target
    if name == "target_bits":
        return choices.by_bits(value)
    if name == "target_us":
        return choices.by_time(value)
    if name == "target_bytes":
        taking_part = {part.name for part in choices.parts}
        weights = net.named_weights().items()
        fixed = sum(int(weight.nbytes) for name, weight in weights if name not in taking_part)
        return choices.by_bytes(int(value), fixed)
    labels = net.predict(samples) if y is None else y
    low, high = choices.range
    for bits in np.arange(low, high + 0.5, 0.5):
        mixture = choices.by_bits(float(bits))
        if quantized(mixture).score(samples, labels) >= value:
            return mixture
    raise ArgumentError(
        "min_score", f"min_score is {value}; no mixture of {choices.widths} bits reaches it"
    )
