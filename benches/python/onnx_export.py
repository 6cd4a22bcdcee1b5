"""The digit networks in ONNX Runtime: logits and labels beside qcore's, scheme by scheme.

    python benches/python/onnx_export.py --weights DIR --data DIR [--seeds 5]

Reads the trained networks of DIR (mlp128.npz, lenet300.npz: s0_w0, s0_b0, ...) and MNIST's test
images; prints, for each scheme that ONNX can express, the greatest difference of a logit over all
seeds and images, the greatest logit, and how many labels differ.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import qcore as qc
from qcore.files.idx import read_mnist_part

NETWORKS = {"784-128-10": ("mlp128.npz", 2), "LeNet-300-100": ("lenet300.npz", 3)}
SCHEMES = {
    "float32": None,
    "int8, static": {},
    "int8, dynamic": {"activations": "dynamic"},
    "int8 weights": {"activations": None},
    "int8 weights, asymmetric": {"activations": None, "symmetric": False},
    "int4, static": {"bits": 4},
    "int4 weights, groups of 32": {"bits": 4, "group_size": 32, "activations": None},
    "int2, static": {"bits": 2},
    "16 shared values": {"scheme": "kmeans", "levels": 16},
}
CALIBRATION = 1000


def images(folder, part):
    """Return the images of a part as rows of 0 to 1."""
    found, _ = read_mnist_part(folder, part)
    return found.reshape(len(found), -1).astype(np.float32) / 255


def networks(folder, seeds):
    """Yield the name and a trained network for each seed."""
    for name, (file, count) in NETWORKS.items():
        with np.load(folder / file) as arrays:
            for seed in range(seeds):
                weights = [arrays[f"s{seed}_w{i}"] for i in range(count)]
                biases = [arrays[f"s{seed}_b{i}"] for i in range(count)]
                yield name, qc.nn.Sequential.from_arrays(weights, biases, layout="out_in")


def logits_of(net, x):
    """Return the logits that ONNX Runtime computes."""
    model = net.to_onnx()
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [None, 10])
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(["logits"], {session.get_inputs()[0].name: x})[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    seen, x = (images(options.data, part) for part in ("train", "t10k"))
    seen = seen[:CALIBRATION]
    found = {}
    for name, net in networks(options.weights, options.seeds):
        for scheme, quantizer in SCHEMES.items():
            small = net
            if quantizer is not None:
                small = qc.Quantizer(**quantizer).fit_transform(net, seen)
            ours, theirs = small.predict_logits(x), logits_of(small, x)
            worst, greatest, labels = found.get((name, scheme), (0.0, 0.0, 0))
            worst = max(worst, float(np.abs(ours - theirs).max()))
            greatest = max(greatest, float(np.abs(ours).max()))
            labels += int((ours.argmax(1) != theirs.argmax(1)).sum())
            found[name, scheme] = worst, greatest, labels
    print("| network | scheme | greatest difference of a logit | greatest logit | other labels |")
    print("|---|---|---|---|---|")
    for (name, scheme), (worst, greatest, labels) in found.items():
        print(f"| {name} | {scheme} | {worst:.1e} | {greatest:.0f} | {labels} |")


if __name__ == "__main__":
    main()
