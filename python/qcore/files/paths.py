"""Opening a file without waiting for one that is not a file."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO

from qcore.errors import FormatError

__all__ = ["open_regular"]


def open_regular(path: Path) -> tuple[BinaryIO, int]:
    """Open a regular file for reading, and tell its length.

    Opening a pipe would wait for its writer, so it is refused before. A missing file and a folder
    give the errors of `open`.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise FormatError(f"'{path}' is not a regular file")
    return path.open("rb"), found.st_size
