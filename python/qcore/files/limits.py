"""What a file may ask for before anything of it is built: small files are not to cost gigabytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qcore._arguments.validation import check_int
from qcore.errors import LimitError

__all__ = ["UNLIMITED", "USUAL", "Limits"]

# What a file decodes to is at most so many times its bytes, or so many bytes whatever its own.
_MOST_TIMES = 64
_ALWAYS = 1 << 28


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a reader, each of which a caller can raise.

    Attributes
    ----------
    max_bytes : int or None
        The most that the tensors of a file may take decoded; None: 64 times the file's bytes, and
        256 MiB whatever these are.
    max_tensors : int or None
        The most tensors of a file; None: 200,000.
    max_name_bytes : int or None
        The most bytes of a tensor's name; None: 4,096.
    """

    max_bytes: int | None = None
    max_tensors: int | None = None
    max_name_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_tensors", "max_name_bytes"):
            value = getattr(self, name)
            if value is not None:
                check_int(value, name, 0)

    def most_bytes(self, stored: int) -> int:
        """Return the most that a file of so many bytes may decode to."""
        return max(_ALWAYS, _MOST_TIMES * stored) if self.max_bytes is None else self.max_bytes

    def check_bytes(self, path: Path, decoded: int, stored: int) -> None:
        """Refuse a file whose tensors take too many bytes.

        Parameters
        ----------
        path : Path
        decoded, stored : int
            Bytes of the tensors as they load, and of the file.

        Raises
        ------
        LimitError
        """
        most = self.most_bytes(stored)
        if decoded > most:
            raise LimitError(
                f"'{path}' has {stored} bytes and decodes to {decoded}, max_bytes is {most}"
            )


#: Where nobody asks for others.
USUAL = Limits()
#: For a file that was admitted before.
UNLIMITED = Limits(max_bytes=1 << 62, max_tensors=1 << 62, max_name_bytes=1 << 62)
