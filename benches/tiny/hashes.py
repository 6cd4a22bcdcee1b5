"""SHA-256 of the integers of each network under every instruction set, thread count and batch."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from benches.tiny import networks

import qcore as qc
from qcore import _core

SETS = ("scalar", "sse2", "avx2", "avx_vnni", "avx512", "avx512_vnni", "amx",
        "neon", "neon_dot", "neon_i8mm")  # fmt: skip
COUNT = 24


def samples(data: Path, name: str) -> np.ndarray:
    if name == "lenet5":
        return networks.digits(data).test[:COUNT]
    if name == "resnet8":
        return networks.images(data).test[:COUNT]
    if name == "dscnn_kws":
        return networks.keywords(data, 0).test[:COUNT]
    shape = [24 if dim == "batch" else dim for dim in networks.load(data, name).inputs[0].shape]
    return np.random.default_rng(3).uniform(0, 1, shape).astype(np.float32)


NETWORKS = ("resnet8", "dscnn_kws", "mobilenetv1_vww", "autoencoder", "lenet5")


def codes(net: qc.Graph, values: dict[str, np.ndarray]) -> bytes:
    """Return the integers of all values that are codes."""
    found = b""
    for name in sorted(values):
        params = net.codes[name]
        code = np.rint(values[name] / params.scale) + params.zero_point
        found += code.astype(np.uint8).tobytes()
    return found


def digest(net: qc.Graph, x: np.ndarray, batch: int) -> str:
    names = [name for name in net.codes if name in net.producers]
    parts = []
    for at in range(0, len(x), batch):
        parts.append(net.run({net.inputs[0].name: x[at : at + batch]}, names))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return hashlib.sha256(codes(net, joined)).hexdigest()


def child(data: Path, folder: Path) -> None:
    """Print the hashes of the networks in a folder, on the instruction set in force."""
    for name in NETWORKS:
        net, x = qc.load(folder / f"{name}.safetensors"), samples(data, name)
        for threads in (1, 2):
            _core.set_num_threads(threads)
            for batch in (1, 7, 24):
                print(name, threads, batch, digest(net, x, batch), flush=True)


def rows(data: Path) -> None:
    import tempfile

    print("SHA-256 of the codes of all values of int8 networks: one for each network\n")
    print("| network | instruction sets | runs | hashes | SHA-256 |\n|---|---|---|---|---|")
    found: dict[str, dict[str, set[str]]] = {name: {} for name in NETWORKS}
    runs = dict.fromkeys(NETWORKS, 0)
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            net = networks.load(data, name)
            few = samples(data, name)
            small = qc.Quantizer(8, progress=False, algorithm=()).fit_transform(net, few)
            small.save(Path(folder) / f"{name}.safetensors")
        for isa in SETS:
            code = f"from benches.tiny.hashes import child; from pathlib import Path; child(Path({str(data)!r}), Path({folder!r}))"  # noqa: E501
            done = subprocess.run(  # noqa: S603 - its own interpreter, its own code
                [sys.executable, "-c", code], env={**os.environ, "QCORE_ISA": isa},
                capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode and "not available" in done.stderr.lower():
                continue
            if done.returncode:
                if isa in done.stderr:
                    continue  # the CPU has it not
                raise SystemExit(done.stderr)
            for text in done.stdout.splitlines():
                name, _, _, digest_text = text.split()
                runs[name] += 1
                found[name].setdefault(digest_text, set()).add(isa)
    for name, hashes in found.items():
        sets = sorted(set().union(*hashes.values()))
        first = next(iter(hashes), "")
        print(f"| {name} | {', '.join(sets)} | {runs[name]} | {len(hashes)} | {first[:16]}… |")
