"""Pruned convolutions beside dense ones: the 1x1 layers of MobileNetV1."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import qcore as qc
from qcore import _core
from qcore.arrays.params.qparams import QParams
from qcore.graph.node import Node
from qcore.graph.value import Value

#: Inputs, outputs and pixels along each side of the 1x1 layers of MobileNetV1 on images of 224.
LAYERS = (
    (32, 64, 112), (64, 128, 56), (128, 128, 56), (128, 256, 28), (256, 256, 28), (256, 512, 14),
    (512, 512, 14), (512, 512, 14), (512, 512, 14), (512, 512, 14), (512, 512, 14), (512, 1024, 7),
    (1024, 1024, 7),
)  # fmt: skip
#: The share of zeros, and how many outputs share their taps.
FORMS = {
    "80 %": (0.8, 1), "85 %": (0.85, 1), "90 %": (0.9, 1),
    "80 % in 4x1": (0.8, 4), "85 % in 4x1": (0.85, 4),
}  # fmt: skip
SECONDS = 0.4


def layer(
    inputs: int, outputs: int, side: int, kernel: int, sparsity: float, block: int
) -> qc.Graph:
    """Return a convolution from codes to codes, so much of whose weights are zeros."""
    rng = np.random.default_rng(0)
    shape = (outputs, inputs, kernel, kernel)
    weight = rng.standard_normal(shape).astype(np.float32)
    gone = rng.random((-(-outputs // block), *shape[1:])) < sparsity
    weight[np.repeat(gone, block, axis=0)[:outputs]] = 0
    codes = qc.quantize(weight, bits=8, axis=0)
    affine = QParams(np.float32(0.05), np.int32(3), signed=False)
    return qc.Graph(
        [
            Node("in", "DequantizeLinear", ("x", "scale", "zero"), ("h",)),
            Node("conv", "Conv", ("h", "w"), ("c",), {"pads": [kernel // 2] * 4}),
            Node("out", "QuantizeLinear", ("c", "scale", "zero"), ("y",)),
        ],
        inputs=[Value("x", "uint8", (1, inputs, side, side))],
        outputs=[Value("y", "uint8")],
        constants={"w": codes, "scale": np.float32(0.05), "zero": np.uint8(3)},
        codes={"h": affine, "c": affine},
    )  # fmt: skip


def best(nets: list[qc.Graph], x: np.ndarray) -> list[float]:
    """Return the least microseconds of each, taken in turns."""
    sessions = [net.session(threads=1) for net in nets]
    least = [np.inf] * len(nets)
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        for index, session in enumerate(sessions):
            start = time.perf_counter()
            session.run({"x": x})
            least[index] = min(least[index], time.perf_counter() - start)
    return [1e6 * seconds for seconds in least]


def rows(data: Path) -> None:
    """1x1 layers, and two of 3x3."""
    del data
    print(f"Convolutions on codes, one thread, {_core.active_isa()}: µs dense, and how many times")
    print("as fast those are of whose weights so many are zeros\n")
    print("| layer | dense µs | " + " | ".join(FORMS) + " |\n|" + "---|" * (2 + len(FORMS)))
    totals = np.zeros(1 + len(FORMS))
    for inputs, outputs, side in dict.fromkeys(LAYERS):
        found = timed(inputs, outputs, side, 1)
        totals += LAYERS.count((inputs, outputs, side)) * found
        line(f"1x1, {inputs} to {outputs}, {side}²", found)
    line("**all 1x1 of MobileNetV1**", totals)
    totals = np.zeros(1 + len(FORMS))
    for inputs, outputs, side in ((256, 64, 56), (512, 128, 28), (1024, 256, 14), (256, 1024, 14)):
        found = timed(inputs, outputs, side, 1)
        totals += found
        line(f"1x1, {inputs} to {outputs}, {side}²", found)
    line("**these of ResNet50**", totals)
    for inputs, outputs, side in ((64, 64, 56), (256, 256, 14)):
        line(f"3x3, {inputs} to {outputs}, {side}²", timed(inputs, outputs, side, 3))


def timed(inputs: int, outputs: int, side: int, kernel: int) -> np.ndarray:
    forms = [(0.0, 1), *FORMS.values()]
    nets = [layer(inputs, outputs, side, kernel, *form) for form in forms]
    x = np.random.default_rng(1).integers(0, 60, (1, inputs, side, side)).astype(np.uint8)
    return np.array(best(nets, x))


def line(name: str, found: np.ndarray) -> None:
    cells = " | ".join(f"{found[0] / part:.2f} ×" for part in found[1:])
    print(f"| {name} | {found[0]:,.0f} | {cells} |", flush=True)
