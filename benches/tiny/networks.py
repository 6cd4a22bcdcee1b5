"""The networks, and the samples to calibrate and judge them on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

import qcore as qc
from qcore.files.idx import read_mnist_part


class Samples(NamedTuple):
    """What a network is calibrated on, and judged by."""

    calibration: np.ndarray
    test: np.ndarray
    labels: np.ndarray


def keywords(data: Path, draw: int) -> Samples:
    """Return 200 keywords to calibrate on and the other 500, by draw."""
    found = np.load(data / "tiny" / "kws_test.npz")
    x = (found["x"].astype(np.float32) - 83) * np.float32(0.58470)
    order = np.random.default_rng(draw).permutation(len(x))
    return Samples(x[order[:200]], x[order[200:]], found["y"][order[200:]])


def images(data: Path) -> Samples:
    """Return training images of CIFAR-10 and test images, pixels from 0 to 255."""
    train = np.load(data / "tiny" / "cifar_calibration.npz")
    test = np.load(data / "tiny" / "cifar_test.npz")
    return Samples(train["x"].astype(np.float32), test["x"].astype(np.float32), test["y"])


def digits(data: Path) -> Samples:
    """Return training images of MNIST, which LeNet-5 was trained on, and the test images."""
    x, _ = read_mnist_part(data / "mnist", "train")
    test, labels = read_mnist_part(data / "mnist", "t10k")
    scaled = [part.reshape(-1, 1, 28, 28).astype(np.float32) / 255 for part in (x[:2000], test)]
    return Samples(scaled[0], scaled[1], labels)


def load(data: Path, name: str) -> qc.Graph:
    """Return a float network by name."""
    if name == "lenet5":
        return qc.load(data / "weights" / "lenet5_s0.onnx")
    return qc.load(data / "tiny" / f"{name}_float.tflite")


def answers(net: qc.Graph, x: np.ndarray) -> np.ndarray:
    """Return the labels that a network gives."""
    name, output = net.inputs[0].name, net.outputs[0].name
    parts = [net.run({name: x[at : at + 100]})[output] for at in range(0, len(x), 100)]
    return np.concatenate(parts).argmax(axis=1)
