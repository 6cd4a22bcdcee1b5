"""Classify images on integers: calibrate ResNet8 on 200 images, at 8 and at 4 bits.

``python examples/classify_images.py --data DIR`` reads ``resnet8_float.tflite``,
``cifar_calibration.npz`` and ``cifar_test.npz`` from DIR.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import qcore as qc

CALIBRATION = 200


def main() -> None:
    """Print the scores of the float network and of two quantized ones, and where most is lost."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the network and its images")
    options = parser.parse_args()

    net = qc.load(options.data / "resnet8_float.tflite")
    train = np.load(options.data / "cifar_calibration.npz")["x"][:CALIBRATION].astype(np.float32)
    test = np.load(options.data / "cifar_test.npz")
    x, y = test["x"].astype(np.float32), test["y"]

    exact = net.predict(x)
    print(f"float   {100 * np.mean(exact == y):.2f} %, {net.nbytes:,} bytes of weights")
    for bits in (8, 4):
        small = qc.compress(net, train, bits=bits)
        found = small.predict(x)
        right = (exact == y).astype(float) - (found == y)
        error = 100 * right.std(ddof=1) / np.sqrt(len(right))
        print(
            f"{bits} bits  {100 * np.mean(found == y):.2f} %, "
            f"{100 * right.mean():.2f} ± {error:.2f} points fewer, {small.nbytes:,} bytes"
        )
    # Which weight costs the answers most, alone: the first to leave wide.
    rows = [row for row in small.report_.rows if "output error" in row]
    worst = max(rows, key=lambda row: row["output error"])
    print(f"most is lost by {worst['tensor']}: {worst['output error']:.2%} of the answers' spread")


if __name__ == "__main__":
    main()
