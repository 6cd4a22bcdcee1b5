"""Real networks beside ONNX Runtime: how far outputs are apart, and how long a run takes.

    python -m benches.graph [--threads 1] [MODEL.onnx ...]

Without files: LeNet-5 of ../shared, the OCR classifier of the rapidocr package, and torchvision's
ResNet18, MobileNetV2, MobileNetV3-small and a small ViT with random weights, exported by torch.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime as ort

import qcore as qc

ROUNDS = 20
SHARED = Path(__file__).parents[3] / "shared"
SIDE = {"ch_ppocr": (48, 192)}  # of inputs whose height and width are open


def torchvision_models(folder: Path) -> list[Path]:
    import torch
    from torchvision import models

    torch.manual_seed(0)
    vit = models.VisionTransformer(64, 16, 3, 4, 96, 192, num_classes=20)
    torch.nn.init.normal_(vit.heads.head.weight, std=0.1)
    made = {
        "resnet18": (models.resnet18(), 224), "mobilenet_v2": (models.mobilenet_v2(), 224),
        "mobilenet_v3_small": (models.mobilenet_v3_small(), 224), "vit": (vit, 64),
    }  # fmt: skip
    paths = []
    for name, (module, side) in made.items():
        with torch.no_grad():  # random weights need statistics of their own
            module.train()
            module(torch.randn(4, 3, side, side))
        module.eval()
        paths.append(folder / f"{name}.onnx")
        torch.onnx.export(
            module, (torch.randn(2, 3, side, side),), str(paths[-1]), dynamo=False,
            opset_version=17, input_names=["x"], dynamic_axes={"x": {0: "n"}},
        )  # fmt: skip
    return paths


def default_models(folder: Path) -> list[Path]:
    paths = [SHARED / "weights" / "lenet5_s0.onnx"]
    spec = find_spec("rapidocr")
    if spec is not None and spec.origin:
        paths += sorted((Path(spec.origin).parent / "models").glob("*cls*.onnx"))
    return [path for path in paths if path.exists()] + torchvision_models(folder)


def best(call: object, rounds: int = ROUNDS) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def row(path: Path, threads: int) -> None:
    net = qc.load(path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    peer = ort.InferenceSession(str(path), options)
    name = net.inputs[0].name
    sides = next((s for start, s in SIDE.items() if path.name.startswith(start)), ())
    for batch in (1, 8):
        opened = iter(sides)
        rest = [dim if isinstance(dim, int) else next(opened) for dim in net.inputs[0].shape[1:]]
        x = np.random.default_rng(batch).normal(size=(batch, *rest)).astype(np.float32)
        wanted, found = peer.run(None, {name: x})[0], net(x)
        gap = float(np.abs(found - wanted).max() / np.abs(wanted).max())
        ours = best(lambda x=x: net(x), 5)
        theirs = best(lambda x=x: peer.run(None, {name: x}), 5)
        ours = min(ours, best(lambda x=x: net(x)))
        theirs = min(theirs, best(lambda x=x: peer.run(None, {name: x})))
        print(
            f"| {path.stem} | {batch} | {len(net)} | {gap:.1e} | {ours:.2f} | {theirs:.2f} | "
            f"{ours / theirs:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| network | batch | nodes | gap, of the largest output | ms | ONNX Runtime | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        for path in given.models or default_models(Path(folder)):
            row(path, given.threads)


if __name__ == "__main__":
    main()
