"""A large K-quant file as int8: ``python -m benches.formats.requantize [--gigabytes 1]``.

Writes a GGUF file of Q4_K matrices, turns it into int8 safetensors in a process of its own, prints
that process's peak of resident memory, and its time over that of ``dd conv=fsync`` of as many bytes
as it wrote; the two take turns, and the best of each counts. Needs five times the size of disk.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from qcore import _core
from qcore.files.foreign.gguf import gguf_header
from qcore.files.foreign.gguf_blocks import TYPES, encode_rows

SHAPE = (18432, 4096)
CHILD = """
import resource, sys
import qcore as qc
qc.compress(sys.argv[1], output=sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write(path: Path, gigabytes: float, kind: str) -> int:
    """Write matrices of one type, a matrix at a time; returns the file's bytes."""
    some = np.random.default_rng(0).standard_normal((256, SHAPE[1])).astype(np.float32)
    blocks = np.tile(encode_rows(some, kind), SHAPE[0] // len(some))
    count = max(1, round(gigabytes * 1e9 / blocks.size))
    assert blocks.size == SHAPE[0] * SHAPE[1] // TYPES[kind].elements * TYPES[kind].nbytes
    entries = [(f"blk.{i}.weight", kind, SHAPE, blocks.size) for i in range(count)]
    header, starts, length = gguf_header(entries, None)
    file = _core.AtomicFile(path)
    file.set_len(length)
    file.write_at(0, np.frombuffer(header, np.uint8))
    for start in starts:
        file.write_at(start, blocks)
    file.commit()
    return path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=1)
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    parser.add_argument("--type", default="Q4_K")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        source, target, other = (Path(name) / f for f in ("a.gguf", "b.safetensors", "c"))
        nbytes = write(source, options.gigabytes, options.type)
        best, peak = [np.inf, np.inf], 0
        for _ in range(options.rounds):
            start = perf_counter()
            words = [sys.executable, "-c", CHILD, str(source), str(target)]
            done = subprocess.run(words, check=True, capture_output=True, text=True)  # noqa: S603
            best[0] = min(best[0], perf_counter() - start)
            peak = max(peak, int(done.stdout.split()[-1]))
            start = perf_counter()
            words = ["dd", f"if={target}", f"of={other}", "bs=4M", "conv=fsync"]
            subprocess.run(words, check=True, capture_output=True)  # noqa: S603
            best[1] = min(best[1], perf_counter() - start)
            other.unlink()
        written = target.stat().st_size
    print(f"{nbytes / 1e6:.0f} MB of {options.type} to {written / 1e6:.0f} MB of int8:", end=" ")
    print(f"{peak / 1024:.0f} MB resident, {best[0]:.2f} s; dd takes {best[1]:.2f} s:", end=" ")
    print(f"{best[0] / best[1]:.2f} times")


if __name__ == "__main__":
    main()
