"""The networks of MLPerf Tiny, single samples: our int8 beside LiteRT, OpenVINO and ONNX Runtime.

    python -m benches.peers.tiny [--data ../shared] [--threads 1 2] [--seconds 1] [--svg PATH]

Ours is calibrated from the float network; the int8 files of the benchmark are what LiteRT and
OpenVINO run as int8. All of one network run in one process and take turns.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from pathlib import Path

import numpy as np
from benches.peers import beside
from benches.peers.bars import bars

import qcore as qc
from qcore._runtime.environment import environment
from qcore.bench.model import contenders, samples_for, times_of

NETWORKS = {
    "ResNet8": "resnet8", "DS-CNN": "dscnn_kws", "MobileNetV1-0.25": "mobilenetv1_vww",
    "wake word": "wakeword", "autoencoder": "autoencoder",
}  # fmt: skip

#: The columns. "int8 file" is the benchmark's own int8 network.
CONTENDERS = (
    "qcore int8", "qcore int8 file", "qcore float", "LiteRT int8 file", "LiteRT float",
    "OpenVINO int8 file", "OpenVINO float", "ONNX Runtime int8",
)  # fmt: skip


def calls(data: Path, name: str, threads: int) -> dict[str, object]:
    """Return a call for each runtime and each form of a network."""
    found: dict[str, object] = {}
    plain, coded = (data / "tiny" / f"{name}_{kind}.tflite" for kind in ("float", "int8"))
    if plain.exists():
        net = qc.load(plain)
        inputs = samples_for(net)
        rng = np.random.default_rng(0)
        shape = [64 if isinstance(dim, str) else dim for dim in net.inputs[0].shape]
        x = rng.standard_normal(shape).astype(np.float32)
        small = qc.Quantizer(8, algorithm=(), progress=False).fit_transform(net, x)
        found["qcore int8"] = dict(contenders(small, inputs, threads=threads))["qcore"]
        for peer, run in contenders(net, inputs, source=plain, threads=threads):
            found[f"{peer} float"] = run
        exported = dict(contenders(small, inputs, threads=threads))
        if "ONNX Runtime" in exported:
            found["ONNX Runtime int8"] = exported["ONNX Runtime"]
    net = qc.load(coded)
    inputs = samples_for(net)
    for peer, run in contenders(net, inputs, source=coded, threads=threads):
        found[f"{peer} int8 file"] = run
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each contender")
    parser.add_argument("--svg", type=Path, help="draw the p50 of one sample as bars to this file")
    options = parser.parse_args()
    facts = environment()
    about = f"µs, p50 of single samples, {facts['cpu']}, {facts['isa']}"
    drawn: dict[str, dict[str, float]] = {}
    print(f"{about}\n\n{beside.heads(CONTENDERS, 'µs')}")
    for title, name in NETWORKS.items():
        for threads in options.threads:
            times = times_of(calls(options.data, name, threads), options.seconds)
            middles = {key: one.p50 for key, one in times.items()}
            drawn[f"{title}, {threads} thread{'s'[: threads - 1]}"] = middles
            print(beside.line(title, threads, middles, CONTENDERS), flush=True)
    if options.svg:
        options.svg.write_text(bars(drawn, about) + "\n", "utf-8")


if __name__ == "__main__":
    main()
