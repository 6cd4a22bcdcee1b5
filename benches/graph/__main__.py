"""Real networks beside their own runtimes: how far outputs are apart, and how long a run takes.

    python -m benches.graph [MODEL.onnx MODEL.tflite ...]
    python -m benches.graph --speed [--threads 1 2] [--rounds 20]

Without files: LeNet-5 of ../shared, the OCR classifier of the rapidocr package, torchvision's
ResNet18, MobileNetV2, MobileNetV3-small and a small ViT with random weights, exported by torch, and
the float networks of MLPerf Tiny, in TFLite. ONNX is compared with ONNX Runtime, TFLite with LiteRT
on its own kernels. The gap is the greatest difference as a share of the greatest output.

``--speed`` times ResNet18, MobileNetV2, DS-CNN (as the ONNX that qcore writes) and the product
128 x 384 x 1536 beside ONNX Runtime: calls take turns, and best times count.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from benches.graph.models import SHARED, onnx_models, product, samples_for, tflite_models

import qcore as qc
from qcore import _core

Call = Callable[[np.ndarray], np.ndarray]


def ort_call(path: Path, threads: int = 1) -> Call:
    """Return ONNX Runtime's prediction of a model of one input and one output."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(path), options)
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def litert_call(path: Path) -> Call:
    """Return LiteRT's prediction, by its own kernels, sample by sample."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    runs = Interpreter(str(path), experimental_op_resolver_type=kernels)
    runs.allocate_tensors()
    given, made = runs.get_input_details()[0]["index"], runs.get_output_details()[0]["index"]

    def call(x: np.ndarray) -> np.ndarray:
        outputs = []
        for sample in x:
            runs.set_tensor(given, sample[None])
            runs.invoke()
            outputs.append(runs.get_tensor(made)[0].copy())
        return np.stack(outputs)

    return call


def gap_row(path: Path) -> None:
    """Print how far a network's outputs are from its own runtime's, for batches of 1 and 8."""
    net = qc.load(path)
    peer = litert_call(path) if path.suffix == ".tflite" else ort_call(path)
    gaps = []
    for batch in (1, 8):
        x = samples_for(net, path.name, batch)
        if x is None:
            gaps.append("")
            continue
        wanted, found = peer(x), net.run({net.inputs[0].name: x})[net.outputs[0].name]
        gaps.append(f"{np.abs(found - wanted).max() / np.abs(wanted).max():.1e}")
    nodes = len(net) if isinstance(net, qc.Graph) else len(net.layers)
    beside = "LiteRT" if path.suffix == ".tflite" else "ONNX Runtime"
    print(f"| {path.stem} | {nodes} | {beside} | {gaps[0]} | {gaps[1]} |", flush=True)


def speed_rows(path: Path, threads: list[int], rounds: int) -> None:
    """Print the best times of a network here and in ONNX Runtime, taken in turns."""
    net = qc.load(path)
    if not isinstance(net, qc.Graph):
        net = qc.from_onnx(path, exact="onnx")  # as a graph, a chain of layers too
    x = samples_for(net, path.name, net.inputs[0].shape[0] if "product" in path.stem else 1)
    names = {dim: 1 for dim in net.inputs[0].shape if isinstance(dim, str)}
    alone: list[float] = []
    for count in threads:
        _core.set_num_threads(max(threads))
        session = net.session(names, threads=count)
        peer = ort_call(path, count)
        calls = {
            "ours": lambda s=session: s.run({net.inputs[0].name: x}), "theirs": lambda p=peer: p(x)
        }  # fmt: skip
        best = dict.fromkeys(calls, float("inf"))
        for _ in range(rounds):
            for name, call in calls.items():
                for _ in range(3):
                    start = time.perf_counter()
                    call()
                    best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
        alone.append(best["ours"])
        print(
            f"| {path.stem} | {count} | {best['ours']:.3f} | {best['theirs']:.3f} | "
            f"{best['ours'] / best['theirs']:.2f} | {alone[0] / best['ours']:.2f} |", flush=True,
        )  # fmt: skip


def speed_models(folder: Path) -> list[Path]:
    """Return the networks of the speed table."""
    wanted = ("resnet18", "mobilenet_v2")
    paths = [path for path in onnx_models(folder) if path.stem in wanted]
    tiny = SHARED / "tiny" / "dscnn_kws_float.tflite"
    if tiny.exists():
        qc.load(tiny).to_onnx(folder / "dscnn.onnx")
        paths.append(folder / "dscnn.onnx")
    return [*paths, product(folder)]


def main() -> None:
    """Print one of the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.speed:
            print("| network | threads | ms | ONNX Runtime | ratio | times one thread |")
            print("| --- | ---: | ---: | ---: | ---: | ---: |")
            for path in given.models or speed_models(folder):
                speed_rows(path, given.threads, given.rounds)
            return
        print("| network | nodes | beside | gap, batch 1 | gap, batch 8 |")
        print("| --- | ---: | --- | ---: | ---: |")
        tiny = tflite_models() if find_spec("ai_edge_litert") and find_spec("tflite") else []
        for path in given.models or onnx_models(folder) + tiny:
            gap_row(path)


if __name__ == "__main__":
    main()
