"""A checkpoint larger than memory's share: peak memory, and the bytes against a run in memory.

    python benches/python/large_checkpoint.py --gigabytes 12 [--folder DIR] [--bits 8]
    python benches/python/large_checkpoint.py --gigabytes 1 --compare

Writes a checkpoint of that size (matrices of 64 MB, normal values), compresses it in a process of
its own, and prints that process's peak of resident memory. ``--compare`` also compresses it in
memory and compares the two files. Needs one and a half times the size on the disk.
"""

from __future__ import annotations

import argparse
import filecmp
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import qcore as qc
from qcore import _core

MATRIX = (4096, 4096)  # 64 MB of float32
CHILD = """
import resource, sys
import qcore as qc
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
qc.compress(sys.argv[1], output=sys.argv[2], bits=int(sys.argv[3]))
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write_checkpoint(path: Path, gigabytes: float) -> int:
    """Write a checkpoint a matrix at a time; returns its bytes."""
    count = max(1, round(gigabytes * 1e9 / (4 * MATRIX[0] * MATRIX[1])))
    entries = [(f"layer{index:03}.weight", "F32", MATRIX) for index in range(count)]
    header, starts = _core.plan_tensor_file(entries, {})
    block = np.random.default_rng(0).standard_normal(MATRIX, np.float32)
    file = _core.AtomicFile(path)
    file.write_at(0, np.frombuffer(header, np.uint8))
    for index, start in enumerate(starts):
        block *= np.float32(1 + 1e-3 * (index % 7))  # no two alike
        file.write_at(start, block.reshape(-1).view(np.uint8))
    file.commit()
    return path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=12)
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--compare", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        source, target = Path(folder) / "large.safetensors", Path(folder) / "small.safetensors"
        nbytes = write_checkpoint(source, options.gigabytes)
        start = time.perf_counter()
        command = [sys.executable, "-c", CHILD, str(source), str(target), str(options.bits)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        seconds = time.perf_counter() - start
        before, peak = (int(number) * 1024 for number in done.stdout.split())
        print(f"{nbytes / 1e9:.2f} GB to {target.stat().st_size / 1e9:.2f} GB in {seconds:.1f} s")
        print(f"peak of resident memory: {peak / 1e6:.0f} MB, {before / 1e6:.0f} MB at the start")
        if options.compare:
            other = Path(folder) / "memory.safetensors"
            qc.save(other, qc.compress(qc.load_tensors(source), bits=options.bits))
            same = filecmp.cmp(target, other, shallow=False)
            print("the bytes equal those of a run in memory" if same else "THE BYTES DIFFER")
            sys.exit(not same)


if __name__ == "__main__":
    main()
