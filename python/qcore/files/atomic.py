"""Small files, written so that a reader sees the old one or the new one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qcore import _core

__all__ = ["write_bytes"]


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically; see `qcore.save`."""
    file = _core.AtomicFile(path)
    try:
        file.write_at(0, np.frombuffer(data, np.uint8))
        file.commit()
    finally:
        file.discard()
