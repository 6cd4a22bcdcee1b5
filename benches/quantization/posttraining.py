"""Post-training quantization: what `qc.compress` chooses, what each part of it brings."""

import time

import numpy as np
from common import TITLES, accuracy, logit_error, spread, table
from plain_gptq import quantize_network

import qcore as qc


def rows(bench):
    """W8A8 and W4, W3, W2 by plain `qc.compress(net, X, bits=b)`, beside plain GPTQ."""
    lines = []
    for name in bench.names:
        for bits in (8, 4, 3, 2):
            lines.append(_row(bench, name, bits))
    columns = [
        "network", "bits", "float %", "drop, points", "worst seed", "plain GPTQ, 1,000 images",
        "10,000 images", "logit error", "plain, 1,000", "plain, 10,000", "lower on seeds", "s",
    ]  # fmt: skip
    table("`qc.compress(net, X, bits=b)`, 1,000 training images without labels, 8-bit activations",
          columns, lines)  # fmt: skip


def _row(bench, name, bits):
    floats, drops, errors, seconds = [], [], [], []
    plain = {1000: ([], []), 10_000: ([], [])}
    for seed, net in bench.networks(name):
        exact = net.predict_logits(bench.test)
        floats.append(accuracy(exact, bench.labels))
        started = time.perf_counter()
        small = qc.compress(net, bench.calibration(seed), bits=bits)
        seconds.append(time.perf_counter() - started)
        found, error = bench.judge(small, exact)
        drops.append(floats[-1] - found)
        errors.append(error)
        for count, (plain_drops, plain_errors) in plain.items():
            if bits == 8:
                continue
            other = quantize_network(net, bench.calibration(seed, count), bits)
            found, error = bench.judge(other, exact)
            plain_drops.append(floats[-1] - found)
            plain_errors.append(error)
    lower = [
        sum(mine < theirs for mine, theirs in zip(errors, errors_of, strict=False))
        for _, errors_of in plain.values()
    ]
    has = bits < 8
    return [
        TITLES[name], f"W{bits}A8", spread(floats), spread(drops), f"{max(drops):.2f}",
        *(spread(d) if has else "" for d, _ in plain.values()), f"{np.mean(errors):.5f}",
        *(f"{np.mean(e):.5f}" if has else "" for _, e in plain.values()),
        f"{lower[0]}, {lower[1]} of {len(errors)}" if has else "", f"{np.mean(seconds):.1f}",
    ]  # fmt: skip


#: What rounding is compared with.
LAYER_ALGORITHMS = {
    "gptq": "gptq",
    "gptq, adaround": ("gptq", "adaround"),
    "all": ("gptq", "clip_search", "coordinate_descent"),
    "all, adaround": ("gptq", "clip_search", "coordinate_descent", "adaround"),
}


def layers(bench):
    """GPTQ against rounding to nearest, layer by layer, on inputs that it did not see."""
    lines = []
    for name in bench.names:
        for bits in (4, 3):
            ratios = {}
            for seed, net in bench.networks(name):
                seen, held = bench.calibration(seed), bench.test
                for layer in net.layers:
                    stats = qc.InputStats().update(seen)
                    for what, algorithm in LAYER_ALGORITHMS.items():
                        errors = [
                            _layer_error(
                                layer, held, qc.quantize(layer.weight, bits=bits, axis=0, **o)
                            )
                            for o in ({}, {"algorithm": algorithm, "stats": stats})
                        ]
                        ratios.setdefault((layer.name, what), []).append(errors[0] / errors[1])
                    seen, held = layer.forward(seen), layer.forward(held)
            for (layer, what), found in ratios.items():
                lines.append([
                    TITLES[name], layer, bits, what, f"{np.mean(found):.2f}", f"{min(found):.2f}",
                ])  # fmt: skip
    table("Output error of rounding to nearest, divided by that of the algorithm, on test images",
          ["network", "layer", "bits", "", "mean of seeds", "least"], lines)  # fmt: skip


def _layer_error(layer, inputs, q):
    exact = inputs @ layer.weight.T
    return logit_error(inputs @ q.dequantize().T, exact)
