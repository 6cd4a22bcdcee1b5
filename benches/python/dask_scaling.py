"""One Dask worker against two, on the same checkpoint: seconds, and whether the bytes are the same.

    python benches/python/dask_scaling.py [--gigabytes 1] [--folder DIR] [--bits 8] [--rounds 3]

Workers are processes with one thread each, started before the clock. The file is in the system's
cache for both. Needs ``pip install '.[dask]'`` and two CPUs that nothing else uses.
"""

from __future__ import annotations

import argparse
import filecmp
import tempfile
import time
from pathlib import Path

from distributed import Client, LocalCluster
from large_checkpoint import write_checkpoint

import qcore as qc
from qcore.streaming.compress import compress_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1)
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    seconds: dict[int, float] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        source = Path(folder) / "large.safetensors"
        write_checkpoint(source, options.gigabytes)
        for workers in (1, 2):
            target = Path(folder) / f"{workers}.safetensors"
            cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
            with cluster, Client(cluster) as client:
                client.wait_for_workers(workers)
                seconds[workers] = min(
                    timed(source, target, options.bits, client) for _ in range(options.rounds)
                )
            print(f"{workers} of one thread: {seconds[workers]:.2f} s")
        same = filecmp.cmp(*(Path(folder) / f"{n}.safetensors" for n in (1, 2)), shallow=False)
    print(f"{seconds[1] / seconds[2]:.2f} times as fast; the bytes are the same: {same}")


def timed(source: Path, target: Path, bits: int, client: Client) -> float:
    """Return the seconds of one compression."""
    start = time.perf_counter()
    compress_file(source, target, qc.Quantizer(bits), dask=client, progress=False)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
