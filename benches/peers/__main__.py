"""Run the comparison: ``python -m benches.peers``; needs ``pip install 'qcore-cpu[bench]'``.

With ``QCORE_ISA=avx2`` on a CPU that has more, the peers are held to AVX2 too: see `held`.
"""

# ruff: noqa: E402  the peers read the environment when they are imported

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

from benches.peers import held

#: Whether the peers are held to AVX2, because `QCORE_ISA` holds us to it.
HELD = os.environ.get("QCORE_ISA") == "avx2"
if HELD:
    held.hold()

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from pathlib import Path

from benches.peers import matmul, network, own, quantize
from benches.peers.report import markdown, plot
from benches.peers.rows import Row

from qcore import _core
from qcore._runtime.environment import environment

PEERS = ("numpy", "torch", "onnxruntime", "mkl", "numkong", "pypiquant")


def sections(options: argparse.Namespace) -> dict[str, Callable[[], Iterator[Row]]]:
    """Return what can be measured, by name."""
    seconds = options.seconds
    found = {
        "matmul": lambda: matmul.rows(seconds),
        "peak": lambda: own.peak_rows(seconds),
        "quantize": lambda: quantize.rows(seconds),
        "int4": lambda: own.int4_rows(seconds),
        "small": lambda: own.small_rows(seconds),
        "threads": lambda: own.thread_rows(seconds),
    }
    if options.weights and options.data:
        found["network"] = lambda: network.rows(options.weights, options.data, seconds)
    return found


def main() -> None:
    """Measure, print the tables, write them where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benches.peers", description=__doc__)
    parser.add_argument("--only", help="sections, between commas")
    parser.add_argument("--seconds", type=float, default=0.4, help="for each contender and case")
    parser.add_argument("--weights", type=Path, help="LeNet-300-100 as .npz: w0, b0, w1, ...")
    parser.add_argument("--data", type=Path, help="folder with MNIST's idx files")
    parser.add_argument("--out", type=Path, help="folder for peers.md, peers.svg and peers.json")
    options = parser.parse_args()
    _core.set_num_threads(1)
    facts = environment()
    versions = ", ".join(f"{name} {version(name)}" for name in PEERS)
    what = f"{facts['cpu']}, {facts['isa']}, {date.today()}; {versions}; one thread unless said."
    if HELD:
        held.check()
        what += " Peers held to AVX2 (benches/peers/held.py)."
    chosen = options.only.split(",") if options.only else None
    rows: list[Row] = []
    for name, section in sections(options).items():
        if chosen is None or name in chosen:
            sys.stderr.write(f"{name} ...\n")
            rows += section()
    # One table for each section, whatever the order of measurement.
    order = list(dict.fromkeys(row.section for row in rows))
    rows.sort(key=lambda row: order.index(row.section))
    text = markdown(rows, what)
    sys.stdout.write(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "peers.md").write_text(f"# qcore beside its peers\n\n{text}")
        plot(rows, options.out / "peers.svg")
        report = {"machine": what, "rows": [asdict(row) | {"met": row.met} for row in rows]}
        (options.out / "peers.json").write_text(json.dumps(report, indent=1) + "\n")


main()
