"""SHA-256 of what each model gives, under every instruction set, thread count and batch.

Each runs in floats and on integers (weights and activations of 8 bits), in a process for each
instruction set: with one thread all samples at once, with two one by one.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from benches.peers.sequences.catalogue import Arrays, models

import qcore as qc
from qcore import _core
from qcore._runtime.environment import environment

__all__ = ["hashes"]


def hashes(folder: Path, seconds: float, threads: int) -> Iterator[str]:
    """Yield a line for each model."""
    names = []
    for name, model in models(folder):
        names.append(name)
        place = f"{len(names) - 1}"
        model.net.save(folder / f"{place}.float.safetensors")
        quantizer = qc.Quantizer(
            8, activations=model.activations, algorithm=(), progress=False
        )  # what makes codes better changes no order of sums
        X = model.inputs if model.activations == "static" else None
        quantizer.fit_transform(model.net, X).save(folder / f"{place}.int8.safetensors")
        np.savez(folder / f"{place}.npz", **model.inputs)
    found: dict[tuple[str, str], dict[str, int]] = {}
    isas = environment()["isas"]
    for isa in reversed(isas):  # the widest ones first: the others take their time
        for line in _told_by_child(folder, isa):
            place, form, digest = json.loads(line)
            seen = found.setdefault((names[int(place)], form), {})
            seen[digest] = seen.get(digest, 0) + 1
    yield f"Instruction sets: {', '.join(isas)}; one thread, samples together; two, one by one.\n"
    yield "| model | form | runs | hashes | SHA-256 |"
    yield "| --- | --- | ---: | ---: | --- |"
    for (name, form), seen in found.items():
        runs, first = sum(seen.values()), next(iter(seen))
        yield f"| {name} | {form} | {runs} | {len(seen)} | {first[:16]}… |"


def _told_by_child(folder: Path, isa: str) -> list[str]:
    code = f"from benches.peers.sequences.hashes import child; child({str(folder)!r})"
    done = subprocess.run(  # noqa: S603  its own interpreter, its own code
        [sys.executable, "-c", code], env={**os.environ, "QCORE_ISA": isa},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"QCORE_ISA={isa}: {done.stderr}")
    return done.stdout.splitlines()


def child(folder: str) -> None:
    """Print a line of JSON for each run of each network in a folder."""
    for path in sorted(Path(folder).glob("*.safetensors")):
        place, form, _ = path.name.split(".")
        net = qc.load(path)
        with np.load(path.with_name(f"{place}.npz")) as file:
            inputs = {name: file[name] for name in file}
        by_one = _is_open(net) and len(next(iter(inputs.values()))) > 1
        for threads, apart in ((1, False), (2, by_one)):
            _core.set_num_threads(threads)
            found = _one_by_one(net, inputs) if apart else [net.run(inputs)]
            print(json.dumps((place, form, _digest(found))), flush=True)


def _is_open(net: qc.Graph) -> bool:
    """Whether a network takes any number of samples."""
    return all(value.shape and not isinstance(value.shape[0], int) for value in net.inputs)


def _one_by_one(net: qc.Graph, inputs: Arrays) -> list[Arrays]:
    count = len(next(iter(inputs.values())))
    return [
        net.run({name: array[at : at + 1] for name, array in inputs.items()}) for at in range(count)
    ]


def _digest(parts: list[Arrays]) -> str:
    digest = hashlib.sha256()
    for name in sorted(parts[0]):
        joined = np.concatenate([np.atleast_1d(part[name]) for part in parts])
        digest.update(np.ascontiguousarray(joined).tobytes())
    return digest.hexdigest()
