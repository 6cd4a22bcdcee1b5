"""The real networks that graphs are held against: files, and samples for them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

__all__ = ["SHARED", "onnx_models", "product", "samples_for", "tflite_models"]

SHARED = Path(__file__).parents[3] / "shared"
SIDE = {"ch_ppocr": (48, 192)}  # of inputs whose height and width are open


def torchvision_models(folder: Path) -> list[Path]:
    """Export torchvision's architectures with random weights."""
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


def onnx_models(folder: Path) -> list[Path]:
    """Return LeNet-5, rapidocr's classifier and torchvision's networks, those that are there."""
    paths = [SHARED / "weights" / "lenet5_s0.onnx"]
    spec = find_spec("rapidocr")
    if spec is not None and spec.origin:
        paths += sorted((Path(spec.origin).parent / "models").glob("*cls*.onnx"))
    paths = [path for path in paths if path.exists()]
    return paths + (torchvision_models(folder) if find_spec("torchvision") else [])


def tflite_models() -> list[Path]:
    """Return the float networks of MLPerf Tiny."""
    return sorted((SHARED / "tiny").glob("*_float.tflite"))


def product(folder: Path) -> Path:
    """Write the product 128 x 384 x 1536 as a graph."""
    import qcore as qc
    from qcore.graph.node import Node
    from qcore.graph.value import Value

    w = np.random.default_rng(0).standard_normal((384, 1536), np.float32)
    net = qc.Graph(
        [Node("product", "MatMul", ("x", "w"), ("y",))],
        inputs=[Value("x", "float32", (128, 384))],
        outputs=[Value("y", "float32", (128, 1536))],
        constants={"w": w},
    )
    net.to_onnx(folder / "product_128x384x1536.onnx")
    return folder / "product_128x384x1536.onnx"


def samples_for(net: object, name: str, batch: int) -> np.ndarray | None:
    """Return samples for a network of one input; None where it does not take so many."""
    shape = net.inputs[0].shape  # type: ignore[attr-defined]
    opened = iter(next((s for start, s in SIDE.items() if name.startswith(start)), ()))
    if isinstance(shape[0], int) and shape[0] != batch:
        return None
    rest = [dim if isinstance(dim, int) else next(opened) for dim in shape[1:]]
    return np.random.default_rng(batch).normal(size=(batch, *rest)).astype(np.float32)
