"""Lay a static program and its arguments out as Bochs shall find them in memory.

``python image.py KERNEL PROGRAM OUT [ARGUMENT ...]``: the file OUT is for the address 0x100000.
Variables of the environment that start with QCORE, RUST or RAYON are passed on.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

START, TOLD, PROGRAM = 0x100000, 0x180000, 0x400000
PASSED = ("QCORE", "RUST", "RAYON")


def main() -> None:
    """Write the image."""
    kernel, program, out, *arguments = sys.argv[1:]
    code = Path(program).read_bytes()
    entry, headers = struct.unpack_from("<QQ", code, 24)
    # What may lie anywhere lies at PROGRAM.
    base = PROGRAM if struct.unpack_from("<H", code, 16)[0] == 3 else 0
    size, count = struct.unpack_from("<HH", code, 54)
    image = bytearray(Path(kernel).read_bytes())
    if START + len(image) > TOLD:
        raise SystemExit(f"{kernel} is longer than {TOLD - START} bytes")
    for index in range(count):
        at = headers + index * size
        kind, _, offset, address, _, length, whole = struct.unpack_from("<IIQQQQQ", code, at)
        if kind != 1:
            continue
        first = base - START + address
        image.extend(bytes(max(0, first + whole - len(image))))
        image[first : first + length] = code[offset : offset + length]
    variables = [f"{k}={v}" for k, v in os.environ.items() if k.startswith(PASSED)]
    texts = [Path(program).name, *arguments, *variables]
    strings = b"".join(text.encode() + b"\0" for text in texts)
    told = struct.pack(
        "<7Q",
        base + entry,
        base + headers,
        size,
        count,
        1 + len(arguments),
        TOLD + 56,
        len(variables),
    )
    image[TOLD - START : TOLD - START + len(told) + len(strings)] = told + strings
    Path(out).write_bytes(image)


if __name__ == "__main__":
    main()
