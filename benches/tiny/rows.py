"""Scores of quantized and pruned networks beside those of the floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from benches.tiny import networks

import qcore as qc

DRAWS = 5
CALIBRATION = 500


def table(title: str, columns: list[str]) -> None:
    print(f"{title}\n\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)


def line(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def quantized(net: qc.Graph, x: np.ndarray, **options: object) -> qc.Graph:
    return qc.Quantizer(progress=False, **options).fit_transform(net, x)


def keywords(data: Path) -> None:
    """DS-CNN, calibrated on 200 keywords and judged on the other 500, five draws."""
    net = networks.load(data, "dscnn_kws")
    table(
        "DS-CNN, 12 keywords: five draws of 200 to calibrate, 500 to judge",
        ["bits", "float", "mean drop, points", "± paired", "agreement, mean", "least"],
    )
    for bits in (8, 4):
        floats, drops, same, errors = [], [], [], []
        for draw in range(DRAWS):
            samples = networks.keywords(data, draw)
            exact = networks.answers(net, samples.test)
            found = networks.answers(quantized(net, samples.calibration, bits=bits), samples.test)
            right = (exact == samples.labels).astype(float) - (found == samples.labels)
            floats.append(100 * np.mean(exact == samples.labels))
            drops.append(100 * right.mean())
            errors.append(100 * right.std(ddof=1) / np.sqrt(len(right)))
            same.append(100 * np.mean(exact == found))
        line(
            f"W{bits}A8", f"{np.mean(floats):.2f}", f"{np.mean(drops):.2f}",
            f"{np.mean(errors):.2f}", f"{np.mean(same):.2f} %", f"{min(same):.2f} %",
        )  # fmt: skip


def paired(net: qc.Graph, small: qc.Graph, samples: networks.Samples) -> list[str]:
    """Return scores of both, the drop, its paired standard error, and the agreement."""
    exact = networks.answers(net, samples.test)
    found = networks.answers(small, samples.test)
    right = (exact == samples.labels).astype(float) - (found == samples.labels)
    return [
        f"{100 * np.mean(exact == samples.labels):.2f}",
        f"{100 * np.mean(found == samples.labels):.2f}",
        f"{100 * right.mean():.2f}",
        f"{100 * right.std(ddof=1) / np.sqrt(len(right)):.2f}",
        f"{100 * np.mean(exact == found):.2f} %",
    ]


COLUMNS = ["network", "float", "score", "drop, points", "± paired", "agreement"]


def images(data: Path) -> None:
    """ResNet8, calibrated on training images."""
    net, samples = networks.load(data, "resnet8"), networks.images(data)
    table("ResNet8: calibrated on 500 training images, judged on 3,000 test images", COLUMNS)
    for bits in (8, 4):
        small = quantized(net, samples.calibration[:CALIBRATION], bits=bits)
        line(f"W{bits}A8", *paired(net, small, samples))


def digits(data: Path) -> None:
    """LeNet-5: 8 bits, 4 bits, and nine weights in ten gone."""
    net, samples = networks.load(data, "lenet5"), networks.digits(data)
    few = samples.calibration[:CALIBRATION]
    table("LeNet-5: calibrated on 500 training images, judged on 10,000 test images", COLUMNS)
    for bits in (8, 4):
        line(f"W{bits}A8", *paired(net, quantized(net, few, bits=bits), samples))
    small = qc.compress(net, samples.calibration, bits=None, sparsity=0.9)
    line("90 % pruned, floats", *paired(net, small, samples))
    small = qc.compress(net, samples.calibration, bits=8, sparsity=0.9)
    line("90 % pruned, W8A8", *paired(net, small, samples))


def observers(data: Path) -> None:
    """Each way to find the range of values, on both networks; weights are only rounded."""
    table(
        "Ranges of values by observer, 8 bits, weights rounded to the nearest",
        ["observer", "DS-CNN drop", "± paired", "ResNet8 drop", "± paired"],
    )
    nets = [networks.load(data, name) for name in ("dscnn_kws", "resnet8")]
    all_samples = [networks.keywords(data, 0), networks.images(data)]
    for observer in ("minmax", "percentile", "mse", "entropy"):
        cells = []
        for net, samples in zip(nets, all_samples, strict=True):
            few = samples.calibration[:CALIBRATION]
            small = quantized(net, few, bits=8, observer=observer, algorithm=())
            cells += paired(net, small, samples)[2:4]
        line(observer, *cells)


def pruned(data: Path) -> None:
    """Weights and channels of convolutions that go without training."""
    table("Pruned without training, then 8 bits", COLUMNS)
    nets = [("resnet8", networks.images(data)), ("dscnn_kws", networks.keywords(data, 0))]
    for name, samples in nets:
        net, few = networks.load(data, name), samples.calibration[:CALIBRATION]
        for sparsity in (0.3, 0.5, 0.7):
            small = qc.compress(net, few, bits=8, sparsity=sparsity)
            line(f"{name}, {sparsity:.0%} of the weights", *paired(net, small, samples))
        for share in (0.1, 0.2):
            pruner = qc.Pruner(share, pattern="neurons")
            small = qc.compact(pruner.fit_transform(net, few))
            line(f"{name}, {share:.0%} of the channels, floats", *paired(net, small, samples))
