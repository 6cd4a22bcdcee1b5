"""The ``config.json`` of a model, beside its checkpoint or in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qcore.files.paths import open_regular

__all__ = ["MAX_CONFIG_BYTES", "config_path", "known_config"]

#: More than any configuration has.
MAX_CONFIG_BYTES = 1 << 24


def config_path(checkpoint: Path) -> Path:
    """Return where the configuration of a checkpoint is, if it has one."""
    return (checkpoint if checkpoint.is_dir() else checkpoint.parent) / "config.json"


def known_config(checkpoint: Path) -> dict[str, Any]:
    """Return the configuration; an empty one where there is none, or none that can be read."""
    path = config_path(checkpoint)
    if not path.exists():
        return {}
    file, length = open_regular(path)
    with file:
        raw = file.read(min(length, MAX_CONFIG_BYTES))
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
