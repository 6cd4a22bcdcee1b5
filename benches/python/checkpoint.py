"""A checkpoint file to int8 per channel and to int4 in groups of 32, beside those who do the same.

    python benches/python/checkpoint.py [--folder DIR] [--rounds N] [--cold]

Everyone reads the same safetensors file of 90 MB (the shapes of a six-layer sentence encoder,
normal values), quantizes its matrices and writes a file. "copy" reads the file and writes as many
bytes as qcore's result has, on as many threads, and computes nothing: what the memory, or the disk,
allows. Rounds are interleaved, the best of each counts; beside the time is that of all CPUs
together, which a busy machine spoils less. ``--cold`` drops the system's cache of the file before
each run; with ``--folder`` on a disk it shows how far the work hides behind the reading. PyTorch
and torchao take part where they are installed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import safetensors.numpy

import qcore as qc
from qcore._runtime.environment import environment
from qcore.streaming.compress import compress_file

GROUP = 32
BLOCK = 1 << 22


def encoder_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes of a sentence encoder: 22.6 million weights."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word.weight": (30522, 384),
        "embeddings.position.weight": (512, 384),
    }
    for layer in range(6):
        for part in ("query", "key", "value", "output"):
            shapes[f"layer.{layer}.{part}.weight"] = (384, 384)
            shapes[f"layer.{layer}.{part}.bias"] = (384,)
        shapes[f"layer.{layer}.up.weight"] = (1536, 384)
        shapes[f"layer.{layer}.down.weight"] = (384, 1536)
    return shapes


def by_qcore(bits: int) -> Callable[[Path, Path], object]:
    group = GROUP if bits == 4 else None
    recipe = qc.Quantizer(bits=bits, group_size=group, observer="minmax")
    return lambda source, target: compress_file(source, target, recipe)


def by_numpy(bits: int) -> Callable[[Path, Path], None]:
    def run(source: Path, target: Path) -> None:
        out = {}
        for name, w in safetensors.numpy.load_file(source).items():
            if w.ndim < 2:
                out[name] = w
                continue
            top = 127 if bits == 8 else 7
            x = w if bits == 8 else w.reshape(-1, GROUP)
            scale = np.abs(x).max(axis=1, keepdims=True) / np.float32(top)
            codes = np.clip(np.rint(x / scale), -top, top).astype(np.int8)
            if bits == 4:
                codes = (codes[:, 0::2] & 15) | (codes[:, 1::2] << 4)
            out[name], out[f"{name}:scale"] = codes, scale
        safetensors.numpy.save_file(out, target)

    return run


def by_torch(bits: int) -> Callable[[Path, Path], None]:
    import safetensors.torch
    import torch

    def run(source: Path, target: Path) -> None:
        out = {}
        for name, w in safetensors.torch.load_file(source).items():
            if w.ndim < 2:
                out[name] = w
                continue
            top = 127 if bits == 8 else 7
            x = w if bits == 8 else w.reshape(-1, GROUP)
            scale = x.abs().amax(dim=1, keepdim=True) / top
            codes = torch.clamp(torch.round(x / scale), -top, top).to(torch.int8)
            if bits == 4:
                codes = ((codes[:, 0::2] & 15) | (codes[:, 1::2] << 4)).contiguous()
            out[name], out[f"{name}:scale"] = codes, scale
        safetensors.torch.save_file(out, target)

    return run


def by_torchao(bits: int) -> Callable[[Path, Path], None]:
    import safetensors.torch
    import torch
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, quantize_
    from torchao.quantization.granularity import PerGroup

    def run(source: Path, target: Path) -> None:
        model = torch.nn.ModuleDict()
        for index, w in enumerate(safetensors.torch.load_file(source).values()):
            if w.ndim == 2:
                layer = torch.nn.Linear(w.shape[1], w.shape[0], bias=False, device="meta")
                layer.weight = torch.nn.Parameter(w, requires_grad=False)
                model[str(index)] = layer
        if bits == 8:
            quantize_(model, Int8WeightOnlyConfig())
        else:
            quantize_(model, IntxWeightOnlyConfig(torch.int4, PerGroup(GROUP)))
        torch.save(model.state_dict(), target)

    return run


def by_copy(nbytes: int, threads: int) -> Callable[[Path, Path], None]:
    """Read all of the source, write `nbytes`: what there is to do without computing anything."""

    def run(source: Path, target: Path) -> None:
        size = source.stat().st_size
        with source.open("rb") as file, target.open("wb") as out:
            out.truncate(nbytes)

            def one(start: int) -> None:
                stop = min(start + BLOCK, size)
                block = np.empty(stop - start, np.uint8)
                os.preadv(file.fileno(), [block], start)
                first, last = start * nbytes // size, stop * nbytes // size
                os.pwrite(out.fileno(), block[: last - first].data, first)

            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(one, range(0, size, BLOCK)))
            os.fsync(out.fileno())

    return run


def available(bits: int) -> dict[str, Callable[[Path, Path], object]]:
    found: dict[str, Callable[[Path, Path], object]] = {
        "qcore": by_qcore(bits), "NumPy": by_numpy(bits)
    }  # fmt: skip
    for name, maker in (("PyTorch", by_torch), ("torchao", by_torchao)):
        try:
            found[name] = maker(bits)
        except ImportError as error:
            print(f"without {name}: {error}")
    return found


def drop_cache(path: Path) -> None:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))  # noqa: S108
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--cold", action="store_true")
    options = parser.parse_args()
    facts = environment()
    print(f"{facts['cpu']}, {facts['threads']} threads, {facts['isa']}, {facts['build']} build")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        source = Path(folder) / "model.safetensors"
        rng = np.random.default_rng(0)
        safetensors.numpy.save_file(
            {n: rng.standard_normal(s, np.float32) for n, s in encoder_shapes().items()}, source
        )
        os.sync()
        for bits in (8, 4):
            measure(bits, source, Path(folder) / "out", options)


def measure(bits: int, source: Path, target: Path, options: argparse.Namespace) -> None:
    ways = available(bits)
    ways["qcore"](source, target)
    ways["copy"] = by_copy(target.stat().st_size, int(environment()["threads"]))
    best: dict[str, float] = {}
    busy: dict[str, float] = {}
    for _ in range(options.rounds):
        for name, run in list(ways.items()):
            target.unlink(missing_ok=True)
            if options.cold:
                drop_cache(source)
            start, cpu = time.perf_counter(), time.process_time()
            try:
                run(source, target)
            except Exception as error:  # a peer that cannot do it is told, and left out
                if name == "qcore":
                    raise
                print(f"without {name}: {type(error).__name__}: {str(error)[:90]}")
                del ways[name]
                continue
            best[name] = min(best.get(name, np.inf), time.perf_counter() - start)
            busy[name] = min(busy.get(name, np.inf), time.process_time() - cpu)
    title = "int8, one scale for each output" if bits == 8 else f"int4, groups of {GROUP}"
    print(f"\n{title}: {source.stat().st_size / 1e6:.0f} MB{', cold' if options.cold else ''}")
    for name, seconds in sorted(best.items(), key=lambda item: item[1]):
        ratio, cpu = seconds / best["qcore"], busy[name] / busy["qcore"]
        print(
            f"{name:8} {1e3 * seconds:8.1f} ms   {ratio:6.2f} × qcore's time"
            f"   CPU {1e3 * busy[name]:8.1f} ms   {cpu:6.2f} × qcore's"
        )


if __name__ == "__main__":
    main()
