"""Texts and bytes written whole or not at all, and what a process that has to go must remove."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qcore import _core

__all__ = ["remove_drafts", "write_bytes", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all.

    Parameters
    ----------
    path : Path
        Its folder must exist; a file that is there is replaced, where it is a link its target.
    data : bytes

    Raises
    ------
    OSError
        If it cannot be written; the old file stays as it was.
    """
    draft = _core.AtomicFile(path)
    try:
        draft.write_at(0, np.frombuffer(data, np.uint8))
        draft.commit()
    finally:
        draft.discard()


def remove_drafts() -> None:
    """Remove what this process is writing: for an exit that does not wait. No more is written."""
    _core.remove_drafts()
