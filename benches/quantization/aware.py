"""Quantization-aware training from scratch, beside float networks of the same epochs and seed."""

import numpy as np
from common import TITLES, spread, table

import qcore as qc

SIZES = {"mlp128": (784, 128, 10), "lenet300": (784, 300, 100, 10)}


def rows(bench, names=("mlp128", "lenet300")):
    """4, 2 and 1 bits with learned steps, 8-bit activations; ten epochs, as the float network."""
    lines = []
    for name in names:
        floats, found = [], {bits: [] for bits in (4, 2, 1)}
        for seed in range(bench.seeds):
            floats.append(_score(bench, name, seed, None))
            for bits, scores in found.items():
                scores.append(_score(bench, name, seed, qc.Quantizer(bits)))
        for bits, scores in found.items():
            off = np.subtract(scores, floats)
            lines.append([
                TITLES[name], f"W{bits}A8", spread(floats), spread(scores), spread(off),
                f"{off.min():.2f}",
            ])  # fmt: skip
    table("`fit(quantize=Quantizer(bits))`, 10 epochs, linearly falling rate, against float",
          ["network", "bits", "float %", "quantized %", "less float, points", "worst seed"],
          lines)  # fmt: skip


def _score(bench, name, seed, quantizer):
    widths = SIZES[name]
    kinds = ["relu"] * (len(widths) - 2) + ["softmax"]
    net = qc.nn.Sequential(
        qc.nn.Dense(a, b, kind) for a, b, kind in zip(widths, widths[1:], kinds, strict=False)
    )
    net.fit(
        bench.train, bench.train_labels, epochs=10, random_state=seed, quantize=quantizer,
        learning_rate_schedule="linear", progress=False,
    )  # fmt: skip
    return 100 * net.score(bench.test, bench.labels)
