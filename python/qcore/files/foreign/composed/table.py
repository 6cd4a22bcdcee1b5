"""The layouts whose weights are found: a new one is a file and a line here."""

from __future__ import annotations

from pathlib import Path

from qcore.errors import FormatError
from qcore.files.foreign.composed import (
    bitmask,
    bitsandbytes,
    grouped,
    hqq,
    marlin24,
    microscaling,
    ordered,
)
from qcore.files.foreign.composed.weight import ComposedWeight, ComposedWeights, Find
from qcore.files.foreign.config import known_config
from qcore.files.source import TensorSource

__all__ = ["LAYOUTS", "composed"]

LAYOUTS: tuple[Find, ...] = (
    marlin24.find,
    grouped.find,
    ordered.find,
    microscaling.find,
    bitsandbytes.find,
    bitmask.find,
    hqq.find,
)


def composed(source: TensorSource, path: Path) -> TensorSource:
    """Return a checkpoint with its composed weights read as what they are.

    Raises
    ------
    FormatError
        If a weight's tensors do not belong together.
    """
    config = known_config(path)
    weights: dict[str, ComposedWeight] = {}
    for find in LAYOUTS:
        try:
            found = find(source, config)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise FormatError(f"'{path}' is corrupt: {error}") from error
        for name, weight in found.items():
            if name in weights:
                raise FormatError(f"'{path}' has {name!r} twice, in different layouts")
            weights[name] = weight
    return ComposedWeights(source, weights, path) if weights else source
