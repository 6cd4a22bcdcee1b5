"""The layouts whose weights are found: a new one is a file and a line here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qcore.errors import FormatError
from qcore.files.foreign.composed import bitmask, bitsandbytes, grouped, microscaling, ordered
from qcore.files.foreign.composed.weight import ComposedWeight, ComposedWeights, Find
from qcore.files.paths import open_regular
from qcore.files.source import TensorSource

__all__ = ["LAYOUTS", "composed"]

LAYOUTS: tuple[Find, ...] = (
    grouped.find,
    ordered.find,
    microscaling.find,
    bitsandbytes.find,
    bitmask.find,
)
_MAX_CONFIG_BYTES = 1 << 24


def composed(source: TensorSource, path: Path) -> TensorSource:
    """Return a checkpoint with its composed weights read as what they are.

    Raises
    ------
    FormatError
        If a weight's tensors do not belong together.
    """
    config = _config(path)
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


def _config(path: Path) -> Mapping[str, Any]:
    """Return the configuration beside a checkpoint, if there is one that can be read."""
    config = (path if path.is_dir() else path.parent) / "config.json"
    if not config.exists():
        return {}
    file, length = open_regular(config)
    with file:
        raw = file.read(min(length, _MAX_CONFIG_BYTES))
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
