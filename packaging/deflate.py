"""Pack a wheel again, the same files in fewer bytes: ``python packaging/deflate.py WHEEL``.

Zopfli looks for the shortest deflate stream, which every unzip reads. Its result depends on
nothing but the bytes. A wheel that is too large ends in an error.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from zopfli.zlib import compress

#: A wheel is smaller than that.
LIMIT = 5_000_000


class Densest:
    """What zipfile asks of a compressor."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def compress(self, data: bytes) -> bytes:
        """Take a part; nothing comes out before all are there."""
        self._parts.append(bytes(data))
        return b""

    def flush(self) -> bytes:
        """Return the stream, without zlib's two bytes before it and its checksum behind it."""
        return compress(b"".join(self._parts), numiterations=1)[2:-4]


def main() -> None:
    """Write the wheel beside itself, then in its place."""
    wheel = Path(sys.argv[1])
    made = wheel.with_suffix(".dense")
    zipfile._get_compressor = lambda *_: Densest()  # type: ignore[attr-defined]
    with (
        zipfile.ZipFile(wheel) as read,
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as written,
    ):
        for info in read.infolist():
            written.writestr(info, read.read(info))
    with zipfile.ZipFile(made) as found:
        if (broken := found.testzip()) is not None:
            raise SystemExit(f"{broken} was not packed well")
    made.replace(wheel)
    size = wheel.stat().st_size
    sys.stdout.write(f"{wheel}: {size} bytes\n")
    if size >= LIMIT:
        raise SystemExit(f"{wheel} is {LIMIT} bytes or more")


if __name__ == "__main__":
    main()
