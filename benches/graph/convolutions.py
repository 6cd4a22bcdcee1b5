"""Convolutional networks on int8 beside ONNX Runtime and OpenVINO, one process, turn by turn.

    python -m benches.graph.convolutions [--threads 1] [--rounds 30] [NAME ...]

torchvision's networks with random weights, batch 1. The peers' int8 is ONNX Runtime's static
quantization, by channel, uint8 activations; both read that file.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from benches.peers.beside import heads, line
from numpy.typing import NDArray

from qcore._runtime.environment import environment

SIDE = 224
NETWORKS = {"resnet18": "ResNet18", "resnet50": "ResNet50", "mobilenet_v2": "MobileNetV2"}
CONTENDERS = (
    "qcore int8", "qcore float", "OpenVINO int8", "OpenVINO float", "ONNX Runtime int8",
    "ONNX Runtime float",
)  # fmt: skip

Array = NDArray[np.float32]


def exported(name: str, folder: Path) -> Path:
    import torch
    from torchvision import models

    torch.manual_seed(0)
    module = getattr(models, name)()
    with torch.no_grad():  # random weights need statistics of their own
        module.train()
        module(torch.randn(2, 3, SIDE, SIDE))
    module.eval()
    path = folder / f"{name}.onnx"
    torch.onnx.export(
        module, (torch.randn(1, 3, SIDE, SIDE),), str(path), dynamo=False, opset_version=17,
        input_names=["x"],
    )  # fmt: skip
    return path


def quantized(path: Path, samples: Array) -> Path:
    """The peers' int8 network."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Samples(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter([{"x": sample[None]} for sample in samples])

        def get_next(self) -> dict[str, Array] | None:
            return next(self.rest, None)

    ready, made = path.with_suffix(".ready.onnx"), path.with_suffix(".int8.onnx")
    quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(ready), str(made), Samples(), per_channel=True,
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip
    return made


def onnxruntime_of(path: Path, x: Array, threads: int) -> Callable[[], Any]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(path), options)
    return lambda: session.run(None, {"x": x})


def openvino_of(path: Path, x: Array, threads: int) -> Callable[[], Any]:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    core = openvino.Core()
    request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
    return lambda: request.infer({0: x})


def candidates(name: str, threads: int, folder: Path) -> dict[str, Callable[[], Any]]:
    import qcore as qc

    path = exported(name, folder)
    samples = np.random.default_rng(0).normal(size=(4, 3, SIDE, SIDE)).astype(np.float32)
    x = samples[:1].copy()
    net = qc.load(path)
    small = qc.compress(net, samples, bits=8)
    calls = {}
    for kind, graph in (("float", net), ("int8", small)):
        session = graph.session()
        calls[f"qcore {kind}"] = lambda session=session: session.run({"x": x})
    for kind, file in (("float", path), ("int8", quantized(path, samples))):
        calls[f"ONNX Runtime {kind}"] = onnxruntime_of(file, x, threads)
        with contextlib.suppress(ImportError):
            calls[f"OpenVINO {kind}"] = openvino_of(file, x, threads)
    return calls


def times(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The best of each in ms."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ["QCORE_NUM_THREADS"] = str(given.threads)
    facts = environment()
    print(f"best of single images, {facts['cpu']}, {facts['isa']}\n\n{heads(CONTENDERS, 'ms')}")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.networks:
            best = times(candidates(name, given.threads, Path(folder)), given.rounds)
            print(line(NETWORKS[name], given.threads, best, CONTENDERS), flush=True)


if __name__ == "__main__":
    main()
