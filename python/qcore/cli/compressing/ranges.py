"""Ranges of activations, as ``qcore calibrate`` wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qcore.errors import FormatError
from qcore.files.paths import open_regular

__all__ = ["read_ranges"]

_MOST_RANGES = 1 << 24


def read_ranges(path: Path) -> dict[str, Any]:
    """Return the layers of a file that ``qcore calibrate`` wrote."""
    file, _ = open_regular(path)
    with file:
        try:
            found = json.loads(file.read(_MOST_RANGES))
            layers = found["layers"]
            if found["format"] != 1 or not all(type(v) is dict for v in layers.values()):
                raise ValueError("it is of another form")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise FormatError(f"'{path}' has no ranges: {error}") from error
    return dict(layers)
